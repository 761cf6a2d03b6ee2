"""Why a request is refused or fails, other than by a rule: a type for each code, with the members that explain it.

What the rules reject is in ``domain.rejections``. Three of those codes stand here a second time, because answers say
more of them than the rules do: where to read the earlier request, and what became of the items of a batch.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from ..domain import earlier_requests
from ..domain.reasons import Reason
from .health import Check


class Fault(Struct, frozen=True):
    """One thing that is wrong with a request."""

    pointer: Annotated[
        str,
        Meta(description="A JSON pointer (RFC 6901) into the body; under /query, /header or /path for parameters."),
    ]
    reason: str


class EarlierRequest(earlier_requests.EarlierRequest, frozen=True, kw_only=True):
    """The request that an idempotency key stands for."""

    path: Annotated[
        str | UnsetType,
        Meta(description="Where to read it: what it made, or the key. Absent for a ledger that was not created."),
    ] = UNSET


class MalformedRequest(Reason, frozen=True):
    """Something of the request is not what the API describes; the HTTP server names no single faults."""

    errors: Annotated[list[Fault] | UnsetType, Meta(description="Every fault.")] = UNSET


class IdempotencyKeyRequired(Reason, frozen=True):
    """The header Idempotency-Key is missing."""


class IdempotencyKeyInvalid(Reason, frozen=True):
    """The key is not one string of 1 to 255 visible ASCII characters."""


class CursorInvalid(Reason, frozen=True):
    """The cursor does not belong to this list with these filters."""


class Unauthenticated(Reason, frozen=True):
    """There is no token that is valid."""


class Forbidden(Reason, frozen=True):
    """The token is valid, and not for this."""

    required_scope: Annotated[str | UnsetType, Meta(description="What the token lacks.")] = UNSET


class LedgerNotFound(Reason, frozen=True):
    """No ledger has this name, or the token is not for it."""


class EntryNotFound(Reason, frozen=True):
    """The ledger's history has no entry with this id."""

    entry_id: UUID


class CheckpointNotFound(Reason, frozen=True):
    """The ledger's log has no checkpoint of this size, or none yet."""


class LogNotSigned(Reason, frozen=True):
    """The installation has no key for its logs."""


class NotFound(Reason, frozen=True):
    """Nothing is served under the path."""


class MethodNotAllowed(Reason, frozen=True):
    """The path has other methods."""


class RequestTimeout(Reason, frozen=True):
    """The request came too slowly."""


class VersionNotReached(Reason, frozen=True):
    """The account is not yet at the version that the caller has seen elsewhere."""

    account_id: UUID
    version: Annotated[int, Meta(description="Where the account is.")]
    min_version: Annotated[int, Meta(description="What was asked for.")]


class RequestTooLarge(Reason, frozen=True):
    """The body is too large."""


class UriTooLong(Reason, frozen=True):
    """The path with its query is too long."""


class RequestHeaderTooLarge(Reason, frozen=True):
    """The head has too many headers, or too long ones."""


class UnsupportedMediaType(Reason, frozen=True):
    """The body is not plain JSON."""


class PreconditionRequired(Reason, frozen=True):
    """The header If-Match is missing."""


class RateLimited(Reason, frozen=True):
    """The client asks for too much at a time or in a second."""


class InternalError(Reason, frozen=True):
    """A fault of the service."""


class Overloaded(Reason, frozen=True):
    """The service takes no more now."""


class DatabaseUnavailable(Reason, frozen=True):
    """The database does not answer."""


class NotSealed(Reason, frozen=True):
    """The entry is not in the ledger's log yet."""

    entry_id: UUID


class Contention(Reason, frozen=True):
    """The accounts stayed locked for too long."""


class LedgerDamaged(Reason, frozen=True):
    """Damage was found in the ledger, and the installation stops there."""


class NotReady(Reason, frozen=True):
    """A part of the service is not ready."""

    checks: Annotated[Mapping[str, Check] | UnsetType, Meta(description="The service's parts.")] = UNSET


class KeyFenced(Reason, frozen=True):
    """``rejections.KeyFenced``, with where to read what stands under the key."""

    idempotency_key: str
    earlier_request: Annotated[EarlierRequest, Meta(description="What stands under the key.")]


class IdempotencyKeyReused(Reason, frozen=True):
    """``rejections.IdempotencyKeyReused``, with where to read what stands under the key, unless it is not shown."""

    idempotency_key: str
    earlier_request: Annotated[EarlierRequest | UnsetType, Meta(description="What stands under the key.")] = UNSET


class BatchRejected(Reason, frozen=True):
    """Of an item that shares a group with a rejected one (``rejections.BatchRejected``), the rejected item; of an
    atomic batch as a whole, what became of every item.
    """

    refused_idempotency_key: Annotated[
        str | UnsetType, Meta(description="Of one item's problem: the item that was refused.")
    ] = UNSET
    refused_code: Annotated[
        str | UnsetType, Meta(description="Of one item's problem: why that other item was refused.")
    ] = UNSET
    posted: Annotated[int | UnsetType, Meta(description="Of a batch: how many items are posted.")] = UNSET
    rejected: Annotated[int | UnsetType, Meta(description="Of a batch: how many items were refused.")] = UNSET
    results: Annotated[
        list[Any] | UnsetType,
        Meta(
            description="Of a batch: what became of each item, in order.",
            extra_json_schema={"items": {"$ref": "#/components/schemas/BatchResult"}},
        ),
    ] = UNSET
