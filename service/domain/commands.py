"""Commands: what a caller asks for."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from msgspec import Struct, structs

from service.domain.fingerprints import request_fingerprint
from service.domain.operations import Operation
from service.domain.rights import DebitLimit


class Command(Struct, frozen=True, kw_only=True, gc=False):
    """What every command carries: ``client_id`` and ``idempotency_key`` name the decision on it for ever;
    ``request_id`` is what the request is called, and decides nothing. ``fingerprint`` is a digest of the
    request, by which another request under the same key is told apart. Where it is not given, it covers the operation
    and all that is asked for. ``debit_limit`` is that of the caller's token, None for any account.
    """

    operation: ClassVar[Operation]

    ledger_id: int
    client_id: str
    idempotency_key: str
    request_id: str | None = None
    fingerprint: bytes = b""
    debit_limit: DebitLimit | None = None

    def __post_init__(self) -> None:
        if not self.fingerprint:
            digest = request_fingerprint(self.operation, self, aside=_IDENTITY)
            structs.force_setattr(self, "fingerprint", digest)  # the command is still being made

    def terms(self) -> dict[str, object]:
        """Return what is asked for, by name, without what was left out."""
        given = {name: getattr(self, name) for name in self.__struct_fields__ if name not in _IDENTITY}
        return {name: value for name, value in given.items() if value is not None and value != {}}


_IDENTITY = frozenset(Command.__struct_fields__)


class PostTransfer(Command, frozen=True, kw_only=True, gc=False):
    """Move ``amount`` minor units of ``currency`` between two accounts.

    ``at_most``: move what is available, up to ``amount`` and at least 1. ``effective_at`` is the value date, None for
    now.
    """

    operation = "post_transfer"

    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    currency: str
    at_most: bool = False
    reference: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}
    effective_at: datetime | None = None


class OpenHold(Command, frozen=True, kw_only=True, gc=False):
    """Reserve ``amount`` minor units of ``currency`` for a later transfer between two accounts.

    It expires at ``expires_at``, or ``expires_in_seconds`` after it is opened, or after the policy's usual time.
    """

    operation = "open_hold"

    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    currency: str
    expires_at: datetime | None = None
    expires_in_seconds: int | None = None
    reference: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}


class CaptureHold(Command, frozen=True, kw_only=True, gc=False):
    """Post ``amount`` (None: all that is left) of what a hold reserves; ``final`` frees the rest."""

    operation = "capture_hold"

    hold_id: UUID
    amount: int | None = None
    final: bool = True
    reference: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}
    effective_at: datetime | None = None


class VoidHold(Command, frozen=True, kw_only=True, gc=False):
    """Free all that a hold still reserves."""

    operation = "void_hold"

    hold_id: UUID


class ReverseTransfer(Command, frozen=True, kw_only=True, gc=False):
    """Move ``amount`` (None: all that is not reversed yet) of a transfer back."""

    operation = "reverse_transfer"

    transfer_id: UUID
    amount: int | None = None
    reference: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}
    effective_at: datetime | None = None


class FenceKey(Command, frozen=True, kw_only=True, gc=False):
    """Make the idempotency key unusable for ever, unless it was used before."""

    operation = "fence_key"


class ExpireHold(Struct, frozen=True, kw_only=True, gc=False):
    """Free what a hold past its time still reserves. The service's own command: it has no key and is no decision."""

    hold_id: UUID


AnyCommand = PostTransfer | OpenHold | CaptureHold | VoidHold | ReverseTransfer | FenceKey | ExpireHold
