"""Every exception of the client, in one tree.

    FundsError                 the base. After all but OutcomeUnknownError, nothing was applied or is on its way
    ├── ProblemError               the service said why: `reason` has the numbers, `problem` what all problems say
    │   ├── RejectedError              the rules said no; a class for each reason
    │   ├── RefusedError               turned away before any decision; a class for each reason
    │   └── OtherProblemError          for a reason that this version of the client does not know
    ├── IntentError                what is asked for is not what the service takes (also a ValueError)
    ├── UnreachableError           there was no connection, and nothing was sent
    ├── AnswerLostError            no answer, or none of the service; of a request that only reads
    ├── OutcomeUnknownError        it was applied or not; `intent` finds out, whenever it is resumed
    └── ReceiptError               a receipt does not prove what it should

What a reason is, is shared with the service: its classes are those of the service's rules.
"""

from typing import Any, Generic, TypeVar, get_args

from msgspec import Struct

from .domain import rejections
from .wire import reasons
from .wire.problems import Problem

R = TypeVar("R")


class FundsError(Exception):
    """A call did not succeed."""


class ProblemError(FundsError, Generic[R]):
    """The service answered with a problem (RFC 9457)."""

    def __init__(self, problem: Problem, reason: R) -> None:
        super().__init__(problem, reason)
        self.problem = problem
        self.reason: R = reason

    def __str__(self) -> str:
        return f"{self.code}: {self.problem.detail}"

    @property
    def code(self) -> str:
        """What the reason is called, as in `insufficient_funds`."""
        return str(getattr(self.reason, "code", ""))


class RejectedError(ProblemError[R]):
    """The rules decided against it. The decision stands under the key: ask anew under another one."""


class RefusedError(ProblemError[R]):
    """Turned away before any decision, after the retries that `problem.retryable` allowed."""


class OtherReason(Struct, frozen=True):
    """A reason that this version does not know."""

    code: str
    members: dict[str, Any]


class OtherProblemError(ProblemError[OtherReason]):
    """A problem with a code that this version does not know; `reason.members` has what the answer says."""


class IntentError(FundsError, ValueError):
    """What is asked for is not what the service takes. Nothing was sent."""


class UnreachableError(FundsError):
    """The service could not be reached. Nothing was sent."""


class AnswerLostError(FundsError):
    """No answer came in time, or one that is not the service's."""


class OutcomeUnknownError(FundsError):
    """It was applied once or not at all, and nobody could be asked. Keep `intent`, and resume it: it is applied once at
    most, and the answer tells.
    """

    def __init__(self, intent: Any) -> None:
        super().__init__(intent)
        self.intent = intent

    def __str__(self) -> str:
        return "The outcome is unknown; resume the intent."


class ReceiptError(FundsError):
    """A receipt does not prove what it should."""


class MalformedRequestError(RefusedError[reasons.MalformedRequest]):
    """The request is not what the API describes; `reason.errors` names each fault."""


class IdempotencyKeyRequiredError(RefusedError[reasons.IdempotencyKeyRequired]):
    """A request that writes had no key."""


class IdempotencyKeyInvalidError(RefusedError[reasons.IdempotencyKeyInvalid]):
    """The key is not one string of 1 to 255 visible ASCII characters."""


class CursorInvalidError(RefusedError[reasons.CursorInvalid]):
    """The cursor does not belong to this list."""


class UnauthenticatedError(RefusedError[reasons.Unauthenticated]):
    """The token is missing, unknown, expired or revoked."""


class ForbiddenError(RefusedError[reasons.Forbidden]):
    """The token lacks the scope `reason.required_scope`."""


class DebitNotAllowedError(RejectedError[rejections.DebitNotAllowed]):
    """The token may not debit this account."""


class LedgerNotFoundError(RefusedError[reasons.LedgerNotFound]):
    """There is no such ledger, or the token is not for it."""


class AccountNotFoundError(RejectedError[rejections.AccountNotFound]):
    """The ledger has no such account."""


class TransferNotFoundError(RejectedError[rejections.TransferNotFound]):
    """The ledger has no such transfer."""


class HoldNotFoundError(RejectedError[rejections.HoldNotFound]):
    """The ledger has no such hold."""


class EntryNotFoundError(RefusedError[reasons.EntryNotFound]):
    """The history has no such entry."""


class CheckpointNotFoundError(RefusedError[reasons.CheckpointNotFound]):
    """The log has no such checkpoint."""


class LogNotSignedError(RefusedError[reasons.LogNotSigned]):
    """The installation signs no logs."""


class NotFoundError(RefusedError[reasons.NotFound]):
    """Nothing is served under this path."""


class MethodNotAllowedError(RefusedError[reasons.MethodNotAllowed]):
    """The path has other methods."""


class RequestTimeoutError(RefusedError[reasons.RequestTimeout]):
    """The request came too slowly."""


class AccountClosedError(RejectedError[rejections.AccountClosed]):
    """The account is closed."""


class AccountFrozenError(RejectedError[rejections.AccountFrozen]):
    """The account is frozen."""


class PeriodClosedError(RejectedError[rejections.PeriodClosed]):
    """The value date lies in a closed period."""


class AccountNotEmptyError(RejectedError[rejections.AccountNotEmpty]):
    """The account has a balance or holds."""


class ReferenceTakenError(RejectedError[rejections.ReferenceTaken]):
    """Another account has this reference."""


class HoldNotOpenError(RejectedError[rejections.HoldNotOpen]):
    """The hold has met its end before."""


class HoldExpiredError(RejectedError[rejections.HoldExpired]):
    """The time of the hold is over."""


class AlreadyReversedError(RejectedError[rejections.AlreadyReversed]):
    """All of the transfer has been moved back."""


class ReversalNotReversibleError(RejectedError[rejections.ReversalNotReversible]):
    """A reversal cannot be reversed."""


class KeyFencedError(RejectedError[reasons.KeyFenced]):
    """The key is fenced: nothing was or will be applied under it."""


class VersionNotReachedError(RefusedError[reasons.VersionNotReached]):
    """The account has not reached the version that was asked for."""


class VersionMismatchError(RejectedError[rejections.VersionMismatch]):
    """The account is no longer in the state that the revision names."""


class RequestTooLargeError(RefusedError[reasons.RequestTooLarge]):
    """The body is too large."""


class UriTooLongError(RefusedError[reasons.UriTooLong]):
    """The path with its query is too long."""


class RequestHeaderTooLargeError(RefusedError[reasons.RequestHeaderTooLarge]):
    """The head of the request is too large."""


class UnsupportedMediaTypeError(RefusedError[reasons.UnsupportedMediaType]):
    """The body is not plain JSON."""


class InsufficientFundsError(RejectedError[rejections.InsufficientFunds]):
    """The account lacks `reason.shortfall`."""


class BalanceLimitExceededError(RejectedError[rejections.BalanceLimitExceeded]):
    """The balance would lie above the maximum, by `reason.excess`."""


class BalanceOverflowError(RejectedError[rejections.BalanceOverflow]):
    """A counter of the account is full."""


class CurrencyMismatchError(RejectedError[rejections.CurrencyMismatch]):
    """The account holds another currency."""


class CurrencyUnknownError(RejectedError[rejections.CurrencyUnknown]):
    """There is no such currency."""


class CaptureExceedsHoldError(RejectedError[rejections.CaptureExceedsHold]):
    """The hold reserves less, by `reason.excess`."""


class ReversalExceedsTransferError(RejectedError[rejections.ReversalExceedsTransfer]):
    """Less is left of the transfer, by `reason.excess`."""


class TimeOutOfRangeError(RejectedError[rejections.TimeOutOfRange]):
    """The time in `reason.field` is out of range."""


class ReasonMissingError(RejectedError[rejections.ReasonMissing]):
    """A closed period is opened again by who says why."""


class SameAccountError(RejectedError[rejections.SameAccount]):
    """A transfer needs two accounts."""


class IdempotencyKeyReusedError(RejectedError[reasons.IdempotencyKeyReused]):
    """The key stands for another request, `reason.earlier_request`; this one was not carried out."""


class BatchRejectedError(RejectedError[reasons.BatchRejected]):
    """Applied together or not at all, and one item was rejected: `reason.refused_code`, or `reason.results`."""


class PreconditionRequiredError(RefusedError[reasons.PreconditionRequired]):
    """A revision named no state to start from."""


class RateLimitedError(RefusedError[reasons.RateLimited]):
    """The client asks for too much at a time or in a second."""


class InternalError(RefusedError[reasons.InternalError]):
    """A fault of the service."""


class OverloadedError(RefusedError[reasons.Overloaded]):
    """The service took no more."""


class DatabaseUnavailableError(RefusedError[reasons.DatabaseUnavailable]):
    """The service's database did not answer."""


class NotSealedError(RefusedError[reasons.NotSealed]):
    """The entry is not in the ledger's log yet."""


class ContentionError(RefusedError[reasons.Contention]):
    """The accounts stayed locked by others for too long."""


class ClockBehindError(RejectedError[rejections.ClockBehind]):
    """The ledger's last change lies ahead of the database's clock."""


class LedgerDamagedError(RefusedError[reasons.LedgerDamaged]):
    """Damage was found in the ledger, which is not written to until it is mended."""


class NotReadyError(RefusedError[reasons.NotReady]):
    """A part of the service was not ready."""


def _by_reason() -> dict[str, type[ProblemError[Any]]]:
    kinds: list[type[ProblemError[Any]]] = [*RejectedError.__subclasses__(), *RefusedError.__subclasses__()]
    bases: list[Any] = [vars(kind)["__orig_bases__"][0] for kind in kinds]  # types.get_original_bases is of 3.12
    return {get_args(base)[0].code: kind for base, kind in zip(bases, kinds, strict=True)}


PROBLEM_ERRORS = _by_reason()
"""The class of every code."""
