"""Fingerprints: telling apart the requests that come under one idempotency key.

They are stored for ever, so what a request says must always come out the same, however many members requests get.
"""

from collections.abc import Callable, Iterable
from functools import cache
from hashlib import blake2b
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct

_encode = msgspec.msgpack.Encoder(order="deterministic").encode

FIRST_MEMBERS: dict[str, tuple[str, ...]] = {
    "capture_hold": ("amount", "description", "effective_at", "final", "hold_id", "metadata", "reference"),
    "create_account": (
        "currency",
        "reference",
        "name",
        "normal_side",
        "minimum_balance",
        "maximum_balance",
        "metadata",
    ),
    "create_ledger": ("name", "description"),
    "open_hold": (
        "amount",
        "credit_account_id",
        "currency",
        "debit_account_id",
        "description",
        "expires_at",
        "expires_in_seconds",
        "metadata",
        "reference",
    ),
    "post_transfer": (
        "amount",
        "at_most",
        "credit_account_id",
        "currency",
        "debit_account_id",
        "description",
        "effective_at",
        "metadata",
        "reference",
    ),
    "reverse_transfer": ("amount", "description", "effective_at", "metadata", "reference", "transfer_id"),
    "void_hold": ("hold_id",),
}
"""The members that the first fingerprints of each operation covered, in their order there. Never add to it: these are
covered whatever they are, every member that came later only where it is not at its default.
"""


def fingerprint(operation: str, *parts: Any) -> bytes:
    """Return a digest of 16 bytes that is equal for equal parts; the order of a dictionary's members is ignored."""
    return blake2b(_encode((operation, parts)), digest_size=16).digest()


def request_fingerprint(operation: str, request: Struct, *context: Any, aside: frozenset[str] = frozenset()) -> bytes:
    """Return a digest of 16 bytes that is equal for equal requests in equal ``context``: defaults filled in.

    The members in ``aside`` say nothing of what is asked for. An optional member that the request's type gets later
    (one that is not in FIRST_MEMBERS) changes no fingerprint of requests that leave it out.
    """
    shape, values, later = _covering(operation, type(request), aside)
    said = shape(*values(request))
    if later:
        more = {name: value for name, default in later if (value := getattr(request, name)) != default}
        if more:
            return fingerprint(operation, *context, said, more)
    return fingerprint(operation, *context, said)


def group_fingerprint(members: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a digest of a group of several: of the key and the fingerprint of each of its commands, in order."""
    return fingerprint("unit", list(members))


def member_fingerprint(group: bytes, own: bytes) -> bytes:
    """Return the fingerprint of a command in a group: it covers the whole group, so that a key that was decided in a
    group stands for that group, and a group replays whole or not at all.
    """
    return fingerprint("member", group, own)


_Later = tuple[tuple[str, Any], ...]


@cache
def _covering(
    operation: str, kind: type[Struct], aside: frozenset[str]
) -> tuple[type[Struct], Callable[[Struct], tuple[Any, ...]], _Later]:
    """Return how requests of ``kind`` are covered: the shape of the members that always are, what reads these, and the
    others with their defaults.
    """
    members = {field.name: field for field in msgspec.structs.fields(kind) if field.name not in aside}
    first = FIRST_MEMBERS.get(operation)
    if first is None:
        first = tuple(sorted(name for name, field in members.items() if field.required))
    later = tuple(
        (name, field.default if field.default_factory is NODEFAULT else field.default_factory())
        for name, field in members.items()
        if name not in first
    )
    return msgspec.defstruct("Said", first), _reads(first), later


def _reads(names: tuple[str, ...]) -> Callable[[Struct], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda request: tuple(getattr(request, name) for name in names)
