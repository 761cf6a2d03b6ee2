"""Intents: what a caller asks for, with its key, as plain values that can be kept before anything is sent.

A kept intent is resumed by any process at any time, and is applied once at most. Its key belongs to the client whose
token sends it, so whoever resumes it needs a token of the same client.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from .batches import ItemResult, all_decided, any_for_now, chunks, groups_of, read_results
from .courses import Conditions, Write, writing
from .errors import FundsError, IntentError, OutcomeUnknownError
from .exchange import Answer, Course, Request, segment
from .wire.accounts import AccountPatch, AccountRequest
from .wire.batches import ITEMS_MAX, BatchItem, BatchMode, BatchRequest
from .wire.decoding import decode
from .wire.errors import MalformedError
from .wire.holds import CaptureRequest, HoldRequest
from .wire.scalars import IdempotencyKey, LedgerName
from .wire.transfers import ReversalRequest, TransferRequest
from .wire.views import AccountView, HoldView, TransferView

T = TypeVar("T")
S = TypeVar("S")

JSON = {"Content-Type": "application/json"}


class Intent(Struct, Generic[T], frozen=True, kw_only=True, tag_field="operation"):
    """What a caller asks for in a ledger, whose result is a T."""

    ledger: LedgerName

    def to_bytes(self) -> bytes:
        """Return the intent as JSON, for ``from_bytes``."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_bytes(content: bytes) -> "Intent[Any]":
        """Return the intent that was written so. Raises IntentError for anything else."""
        try:
            kind = _KINDS[_tagged.decode(content).operation]
            return decode(msgspec.json.Decoder(kind), content)
        except (MalformedError, msgspec.MsgspecError, LookupError) as error:
            raise IntentError(f"This is no intent: {error}") from None

    def course(self, conditions: Conditions, *, in_doubt: bool) -> Course[T]:
        """Have it applied once at most. ``in_doubt``: it may have been sent before."""
        raise NotImplementedError


class KeyedIntent(Intent[T], frozen=True, kw_only=True):
    """What stands under one key."""

    result: ClassVar[type[Any]]

    idempotency_key: IdempotencyKey

    def target(self) -> Request:
        """Return the request, with its path under the ledger and without its key."""
        raise NotImplementedError

    def course(self, conditions: Conditions, *, in_doubt: bool) -> Course[T]:
        """Have it applied once at most. ``in_doubt``: it may have been sent before."""
        target = self.target()
        request = Request(
            method=target.method,
            path=f"{_path(self.ledger)}/{target.path}",
            headers={**JSON, "Idempotency-Key": _quoted(self.idempotency_key), **target.headers},
            body=target.body,
        )
        write: Write[T] = Write(
            request=request,
            read=self._read,
            fences=[_fence(self.ledger, self.idempotency_key)],
            intent=self,
            idempotency_key=self.idempotency_key,
        )
        return writing(write, conditions, in_doubt=in_doubt)

    def _read(self, answer: Answer) -> T:
        read: T = msgspec.json.decode(answer.body, type=self.result)
        return read


class TransferIntent(KeyedIntent[TransferView], frozen=True, kw_only=True, tag="post_transfer"):
    """A transfer to post."""

    result = TransferView

    terms: TransferRequest

    def target(self) -> Request:
        """Return the request, with its path under the ledger and without its key."""
        return Request(method="POST", path="transfers", body=msgspec.json.encode(self.terms))


class HoldIntent(KeyedIntent[HoldView], frozen=True, kw_only=True, tag="open_hold"):
    """A hold to open."""

    result = HoldView

    terms: HoldRequest

    def target(self) -> Request:
        """Return the request, with its path under the ledger and without its key."""
        return Request(method="POST", path="holds", body=msgspec.json.encode(self.terms))


class CaptureIntent(KeyedIntent[TransferView], frozen=True, kw_only=True, tag="capture_hold"):
    """A hold to capture, in part or whole."""

    result = TransferView

    hold_id: UUID
    terms: CaptureRequest

    def target(self) -> Request:
        """Return the request, with its path under the ledger and without its key."""
        return Request(method="POST", path=f"holds/{self.hold_id}/captures", body=msgspec.json.encode(self.terms))


class VoidIntent(KeyedIntent[HoldView], frozen=True, kw_only=True, tag="void_hold"):
    """A hold to void."""

    result = HoldView

    hold_id: UUID

    def target(self) -> Request:
        """Return the request, with its path under the ledger and without its key."""
        return Request(method="POST", path=f"holds/{self.hold_id}/void")


class ReversalIntent(KeyedIntent[TransferView], frozen=True, kw_only=True, tag="reverse_transfer"):
    """A transfer to move back, in part or whole."""

    result = TransferView

    transfer_id: UUID
    terms: ReversalRequest

    def target(self) -> Request:
        """Return the request, with its path under the ledger and without its key."""
        path = f"transfers/{self.transfer_id}/reversals"
        return Request(method="POST", path=path, body=msgspec.json.encode(self.terms))


class AccountIntent(KeyedIntent[AccountView], frozen=True, kw_only=True, tag="create_account"):
    """An account to open."""

    result = AccountView

    terms: AccountRequest

    def target(self) -> Request:
        """Return the request, with its path under the ledger and without its key."""
        return Request(method="POST", path="accounts", body=msgspec.json.encode(self.terms))


class RevisionIntent(KeyedIntent[AccountView], frozen=True, kw_only=True, tag="revise_account"):
    """An account to revise, while it is in the state that ``etag`` names; in any, with ``*``."""

    result = AccountView

    account_id: UUID
    etag: str
    terms: AccountPatch

    def target(self) -> Request:
        """Return the request, with its path under the ledger and without its key."""
        path, body = f"accounts/{self.account_id}", msgspec.json.encode(self.terms)
        return Request(method="PATCH", path=path, headers={"If-Match": self.etag}, body=body)


class BatchIntent(Intent[list[ItemResult]], frozen=True, kw_only=True, tag="post_batch"):
    """Transfers to post and holds to open, each under a key of its own. Any number: they are sent in several requests.
    One by one and in groups (``independent``), or all or none of 10,000 at most (``atomic``).
    """

    items: Annotated[list[BatchItem], Meta(min_length=1)]
    mode: BatchMode = "independent"

    @property
    def groups(self) -> list[list[int]]:
        """The places of the items that apply together or not at all."""
        return groups_of(self.items, atomic=self.mode == "atomic")

    def course(self, conditions: Conditions, *, in_doubt: bool) -> Course[list[ItemResult]]:
        """Have it applied once at most. ``in_doubt``: it may have been sent before."""
        results: dict[int, ItemResult] = {}
        for places in chunks(self.groups, conditions.settings.batch_items_max):
            try:
                answered = yield from writing(self._write(places), conditions, in_doubt=in_doubt)
            except FundsError as error:
                if not results or isinstance(error, OutcomeUnknownError):
                    raise
                raise OutcomeUnknownError(self) from error  # what was sent before it stands
            results.update(zip(places, answered, strict=True))
        return [results[place] for place in range(len(self.items))]

    def _write(self, places: Sequence[int]) -> Write[list[ItemResult]]:
        items = [self.items[place] for place in places]
        groups = groups_of(items, atomic=self.mode == "atomic")
        return Write(
            request=Request(
                method="POST",
                path=f"{_path(self.ledger)}/transfers/batch",
                headers=JSON,
                body=msgspec.json.encode(BatchRequest(transfers=items, mode=self.mode)),
            ),
            read=read_results,
            fences=[_fence(self.ledger, items[group[0]].idempotency_key) for group in groups],
            intent=self,
            decided=all_decided,
            passes=any_for_now,
        )


class _Tagged(Struct, frozen=True):
    operation: str


_tagged = msgspec.json.Decoder(_Tagged)
_ALL: list[type[Intent[Any]]] = [*KeyedIntent.__subclasses__(), BatchIntent]
_KINDS = {str(kind.__struct_config__.tag): kind for kind in _ALL}


def checked(value: S) -> S:
    """Return ``value``, which is part of a request, held to the rules that the service has for it.

    Raises IntentError for what the service would refuse as malformed.
    """
    try:
        return decode(msgspec.json.Decoder(type(value)), msgspec.json.encode(value))
    except (MalformedError, TypeError, ValueError) as error:
        raise IntentError(f"The service does not take this: {error}") from None


def checked_batch(intent: BatchIntent) -> BatchIntent:
    """Return ``intent``, whose keys differ and whose groups are not too large. Raises IntentError."""
    if len({item.idempotency_key for item in intent.items}) < len(intent.items):
        raise IntentError("Two items have the same key.")
    if intent.mode == "atomic" and any(item.group is not None for item in intent.items):
        raise IntentError("An atomic batch is one group; leave the groups out.")
    largest = max(map(len, intent.groups), default=0)
    if not 1 <= largest <= ITEMS_MAX:
        raise IntentError(f"What applies together has 1 to {ITEMS_MAX} items.")
    return intent


def _path(ledger: str) -> str:
    return f"/v1/ledgers/{segment(ledger)}"


def _fence(ledger: str, key: str) -> Request:
    return Request(method="POST", path=f"{_path(ledger)}/idempotency-keys/{segment(key)}/fence")


def _quoted(key: str) -> str:
    """Return a key as a header has it: a quoted string (RFC 9651, section 3.3.3)."""
    return '"' + key.replace("\\", r"\\").replace('"', r"\"") + '"'
