"""What an installation allows within the rules."""

from datetime import timedelta

from msgspec import Struct


class Policy(Struct, frozen=True, kw_only=True):
    """How long a hold lives when its request does not say, and at most; how far from now a value date may lie;
    by how much the last change of a ledger may lie ahead of the clock.
    """

    hold_duration_default: timedelta
    hold_duration_max: timedelta
    effective_past_max: timedelta
    effective_future_max: timedelta
    clock_ahead_max: timedelta
