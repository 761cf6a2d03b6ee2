"""The catalogue of problems: every reason with its HTTP status and what the page under ``/problems/`` says of it."""

from msgspec import Struct

from ..domain import rejections
from ..domain.reasons import Reason
from . import reasons


class ProblemKind(Struct, frozen=True):
    """What all problems of one code have in common."""

    status: int
    title: str
    explanation: str
    retryable: bool = False


KINDS: dict[type[Reason], ProblemKind] = {
    reasons.MalformedRequest: ProblemKind(
        400,
        "The request is malformed",
        "The body, a parameter or a header is not what the API describes. `errors` lists each fault with a JSON"
        " pointer into the request and the reason. Nothing is remembered: correct the request and send it again.",
    ),
    reasons.IdempotencyKeyRequired: ProblemKind(
        400,
        "An Idempotency-Key header is required",
        "Every POST that creates needs the header, so that a request whose answer was lost can be sent again.",
    ),
    reasons.IdempotencyKeyInvalid: ProblemKind(
        400,
        "The Idempotency-Key header is invalid",
        "A key has 1 to 255 visible ASCII characters, bare or as a quoted string, in one header.",
    ),
    reasons.CursorInvalid: ProblemKind(
        400, "The cursor is invalid", "A cursor is opaque: use `next_cursor` of the page before, with the same filters."
    ),
    reasons.Unauthenticated: ProblemKind(
        401,
        "A valid bearer token is required",
        "Send `Authorization: Bearer …` with a token that was issued here, and is neither revoked nor expired.",
    ),
    reasons.Forbidden: ProblemKind(
        403, "The token does not allow this", "The token lacks the scope that this operation needs (`required_scope`)."
    ),
    rejections.DebitNotAllowed: ProblemKind(
        403,
        "The token does not allow this debit",
        "The token is limited to debiting certain accounts, and this one (`account_id`) is not among them: neither by"
        " its id nor by the code that it has now. Nothing was applied, and nothing is remembered under the key.",
    ),
    reasons.LedgerNotFound: ProblemKind(
        404, "No such ledger", "There is no ledger of this name, or the token is not for it."
    ),
    rejections.AccountNotFound: ProblemKind(404, "No such account", "The ledger has no account with this id."),
    rejections.TransferNotFound: ProblemKind(404, "No such transfer", "The ledger has no transfer with this id."),
    rejections.HoldNotFound: ProblemKind(404, "No such hold", "The ledger has no hold with this id."),
    reasons.EntryNotFound: ProblemKind(404, "No such entry", "The ledger's history has no entry with this id."),
    reasons.CheckpointNotFound: ProblemKind(
        404, "No such checkpoint", "The ledger's log has no checkpoint of this size; `log/checkpoint` has the latest."
    ),
    reasons.LogNotSigned: ProblemKind(
        404, "The log is not signed", "This installation has no key for its logs (FUNDS_LOG_KEY): it seals none."
    ),
    reasons.NotFound: ProblemKind(404, "Not found", "Nothing is served under this path."),
    reasons.MethodNotAllowed: ProblemKind(
        405, "Method not allowed", "The path exists, but not for this method; the Allow header lists those it has."
    ),
    reasons.RequestTimeout: ProblemKind(
        408,
        "The request did not arrive in time",
        "Its head or its body came too slowly, and nothing was applied. Send it again, whole.",
        retryable=True,
    ),
    rejections.AccountClosed: ProblemKind(
        409, "The account is closed", "A closed account never moves money or changes again."
    ),
    rejections.AccountFrozen: ProblemKind(
        409, "The account is frozen", "A frozen account takes neither debits nor credits."
    ),
    rejections.PeriodClosed: ProblemKind(
        409,
        "The period is closed",
        "Nothing more is dated before `closed_until`. Date it later, or leave the value date out for now. Who has the"
        " scope admin can open the period again, and has to say why.",
    ),
    rejections.AccountNotEmpty: ProblemKind(
        409, "The account is not empty", "Only an account with a balance of zero and no holds can be closed."
    ),
    rejections.ReferenceTaken: ProblemKind(
        409, "The reference is taken", "Another account of the ledger has this reference (or another ledger this name)."
    ),
    rejections.HoldNotOpen: ProblemKind(
        409, "The hold is not open", "The hold has met its end before: `hold_status` says whether captured or voided."
    ),
    rejections.HoldExpired: ProblemKind(
        409, "The hold has expired", "The hold's time (`expires_at`) is over; what it reserved is free again."
    ),
    rejections.AlreadyReversed: ProblemKind(
        409, "The transfer is reversed already", "All of the transfer has been moved back before."
    ),
    rejections.ReversalNotReversible: ProblemKind(
        409,
        "A reversal cannot be reversed",
        "A reversal is final (`reverses_id` names what it reversed). Move the money again by a new transfer.",
    ),
    reasons.KeyFenced: ProblemKind(
        409,
        "The idempotency key is fenced",
        "The key was made unusable before it was used: nothing was or will be applied under it. `earlier_request` says"
        " since when.",
    ),
    reasons.VersionNotReached: ProblemKind(
        409,
        "The account has not reached this version",
        "`min_version` is above the account's `version`, which was read where it is written.",
    ),
    rejections.VersionMismatch: ProblemKind(
        412, "The resource has changed", "If-Match names a state that is no longer current: read, decide, send again."
    ),
    reasons.RequestTooLarge: ProblemKind(
        413, "The request is too large", "The body is larger than this operation takes."
    ),
    reasons.UriTooLong: ProblemKind(414, "The target is too long", "The path with its query has at most 8 KiB."),
    reasons.RequestHeaderTooLarge: ProblemKind(
        431, "The request's head is too large", "A request has at most 100 headers, and they at most 32 KiB in all."
    ),
    reasons.UnsupportedMediaType: ProblemKind(
        415,
        "The body is not plain JSON",
        "Send JSON, call it so (`Content-Type: application/json`), and do not compress it.",
    ),
    rejections.InsufficientFunds: ProblemKind(
        422,
        "Insufficient funds",
        "The transfer would take the account's available balance below its minimum. `account_id`, `available_balance`,"
        " `minimum_balance`, `amount` and `shortfall` say by how much (minor units).",
    ),
    rejections.BalanceLimitExceeded: ProblemKind(
        422,
        "The balance limit would be exceeded",
        "The transfer would take the account's balance above its maximum, or the bounds asked for exclude the balance"
        " or each other. The numbers are members (minor units).",
    ),
    rejections.BalanceOverflow: ProblemKind(
        422, "The account's counters are full", "The sum of all debits or credits would exceed a 64-bit integer."
    ),
    rejections.CurrencyMismatch: ProblemKind(
        422,
        "The currencies differ",
        "An account holds one currency (`account_currency`); the transfer names another, or one that does not exist.",
    ),
    rejections.CurrencyUnknown: ProblemKind(
        422,
        "The currency is unknown",
        "ISO 4217 has no such currency, or gives it no minor unit. That is asked when an account is opened; accounts in"
        " a currency that was withdrawn later work on.",
    ),
    rejections.CaptureExceedsHold: ProblemKind(
        422,
        "The capture exceeds the hold",
        "More was to be captured than the hold still reserves: `hold_amount`, `captured_amount`, `amount`, `excess`.",
    ),
    rejections.ReversalExceedsTransfer: ProblemKind(
        422,
        "The reversal exceeds the transfer",
        "More was to be moved back than is left: `transfer_amount`, `reversed_amount`, `amount`, `excess`.",
    ),
    rejections.TimeOutOfRange: ProblemKind(
        422,
        "The time is out of range",
        "The time in `field` must lie between `earliest` and `latest`, by the database's clock when it was decided: in"
        " the window that the installation sets, and for a value date not before the day (UTC) on which the accounts"
        " were opened, the opening of the hold that is captured, or the value date of the transfer that is reversed.",
    ),
    rejections.ReasonMissing: ProblemKind(
        422,
        "A reason is missing",
        "A period that is closed (`closed_until`) is opened again by who says why: send `reason`.",
    ),
    rejections.SameAccount: ProblemKind(
        422, "Debit and credit account are the same", "A transfer moves money between two accounts."
    ),
    reasons.IdempotencyKeyReused: ProblemKind(
        422,
        "The idempotency key was used for another request",
        "A key stands for one request for ever. This request was not carried out; `earlier_request` says what became of"
        " the one that the key stands for: when it was applied, that stands. Read it (`path`) before you send this"
        " request under a new key: a retry whose body has changed would move the money twice.",
    ),
    reasons.BatchRejected: ProblemKind(
        422,
        "The batch was refused",
        "Its transfers apply together or not at all, and one of them was refused (`refused_code`).",
    ),
    reasons.PreconditionRequired: ProblemKind(
        428, "An If-Match header is required", "Read the resource, and send its ETag (or `*`) as If-Match."
    ),
    reasons.RateLimited: ProblemKind(
        429,
        "Too much for one client",
        "The client has as many requests under way, or sent as many in a second, as one client may. Nothing was"
        " applied; try again after Retry-After.",
        retryable=True,
    ),
    reasons.InternalError: ProblemKind(
        500, "The service failed", "A fault of the service. It has been logged; the same key may be sent again."
    ),
    reasons.Overloaded: ProblemKind(
        503,
        "The service is overloaded",
        "The queue, or the places for this kind of work, are full. Nothing was applied; try again after Retry-After.",
        retryable=True,
    ),
    reasons.DatabaseUnavailable: ProblemKind(
        503,
        "The database is unavailable",
        "The database did not answer. If `outcome` is unknown the transfer may have been applied: send the same"
        " request with the same key, and it is answered exactly once.",
        retryable=True,
    ),
    reasons.NotSealed: ProblemKind(
        503,
        "The entry is not sealed yet",
        "It is in the ledger's history, and within about a second in its log: ask again.",
        retryable=True,
    ),
    reasons.Contention: ProblemKind(
        503,
        "Too much contention",
        "The accounts stayed locked by others for too long. Nothing was applied.",
        retryable=True,
    ),
    rejections.ClockBehind: ProblemKind(
        503,
        "The database's clock is behind",
        "The last change of the ledger (`last_change`) lies ahead of the database's clock by more than the installation"
        " follows: the clock was set back, or was ahead before. Nothing is written to the ledger until the clock is"
        " right again, or has caught up (`ahead_seconds`); then the same request passes. Nothing was applied, and"
        " nothing is remembered under the key.",
        retryable=True,
    ),
    reasons.LedgerDamaged: ProblemKind(
        503,
        "Damage was found in the ledger",
        "Verification found rows that do not agree (`GET …/integrity` names them), and this installation writes nothing"
        " to such a ledger until it is found sound. Nothing was applied; what is there can be read.",
        retryable=True,
    ),
    reasons.NotReady: ProblemKind(
        503, "Not ready", "A part of the service is not ready; `checks` says which.", retryable=True
    ),
}

CATALOGUE: dict[str, ProblemKind] = {reason.code: kind for reason, kind in KINDS.items()}
"""The kinds by code."""
