"""The catalogue of problems: every error code with its status and what the page under ``/problems/`` says of it."""

from msgspec import Struct


class ProblemType(Struct, frozen=True):
    """One kind of problem: what the page under ``/problems/`` says of it."""

    status: int
    title: str
    explanation: str
    retryable: bool = False


CATALOGUE: dict[str, ProblemType] = {
    "malformed_request": ProblemType(
        400,
        "The request is malformed",
        "The body, a parameter or a header is not what the API describes. `errors` lists each fault with a JSON"
        " pointer into the request and the reason. Nothing is remembered: correct the request and send it again.",
    ),
    "idempotency_key_required": ProblemType(
        400,
        "An Idempotency-Key header is required",
        "Every POST that creates needs the header, so that a request whose answer was lost can be sent again.",
    ),
    "idempotency_key_invalid": ProblemType(
        400,
        "The Idempotency-Key header is invalid",
        "A key has 1 to 255 visible ASCII characters, bare or as a quoted string, in one header.",
    ),
    "cursor_invalid": ProblemType(
        400, "The cursor is invalid", "A cursor is opaque: use `next_cursor` of the page before, with the same filters."
    ),
    "unauthenticated": ProblemType(
        401,
        "A valid bearer token is required",
        "Send `Authorization: Bearer …` with a token that was issued here, and is neither revoked nor expired.",
    ),
    "forbidden": ProblemType(
        403, "The token does not allow this", "The token lacks the scope that this operation needs (`required_scope`)."
    ),
    "ledger_not_found": ProblemType(
        404, "No such ledger", "There is no ledger of this name, or the token is not for it."
    ),
    "account_not_found": ProblemType(404, "No such account", "The ledger has no account with this id."),
    "transfer_not_found": ProblemType(404, "No such transfer", "The ledger has no transfer with this id."),
    "hold_not_found": ProblemType(404, "No such hold", "The ledger has no hold with this id."),
    "not_found": ProblemType(404, "Not found", "Nothing is served under this path."),
    "method_not_allowed": ProblemType(
        405, "Method not allowed", "The path exists, but not for this method; the Allow header lists those it has."
    ),
    "request_timeout": ProblemType(
        408,
        "The request did not arrive in time",
        "Its head or its body came too slowly, and nothing was applied. Send it again, whole.",
        retryable=True,
    ),
    "account_closed": ProblemType(409, "The account is closed", "A closed account never moves money or changes again."),
    "account_frozen": ProblemType(409, "The account is frozen", "A frozen account takes neither debits nor credits."),
    "account_not_empty": ProblemType(
        409, "The account is not empty", "Only an account with a balance of zero and no holds can be closed."
    ),
    "reference_taken": ProblemType(
        409, "The reference is taken", "Another account of the ledger has this reference (or another ledger this name)."
    ),
    "hold_not_open": ProblemType(
        409, "The hold is not open", "The hold has met its end before: `hold_status` says whether captured or voided."
    ),
    "hold_expired": ProblemType(
        409, "The hold has expired", "The hold's time (`expires_at`) is over; what it reserved is free again."
    ),
    "already_reversed": ProblemType(
        409, "The transfer is reversed already", "All of the transfer has been moved back before."
    ),
    "reversal_not_reversible": ProblemType(
        409,
        "A reversal cannot be reversed",
        "A reversal is final (`reverses_id` names what it reversed). Move the money again by a new transfer.",
    ),
    "key_fenced": ProblemType(
        409,
        "The idempotency key is fenced",
        "The key was made unusable before it was used: nothing was or will be applied under it. `earlier_request` says"
        " since when.",
    ),
    "version_not_reached": ProblemType(
        409,
        "The account has not reached this version",
        "`min_version` is above the account's `version`, which was read where it is written.",
    ),
    "version_mismatch": ProblemType(
        412, "The resource has changed", "If-Match names a state that is no longer current: read, decide, send again."
    ),
    "request_too_large": ProblemType(413, "The request is too large", "The body is larger than this operation takes."),
    "uri_too_long": ProblemType(414, "The target is too long", "The path with its query has at most 8 KiB."),
    "request_header_too_large": ProblemType(
        431, "The request's head is too large", "A request has at most 100 headers, and they at most 32 KiB in all."
    ),
    "unsupported_media_type": ProblemType(
        415,
        "The body is not plain JSON",
        "Send JSON, call it so (`Content-Type: application/json`), and do not compress it.",
    ),
    "insufficient_funds": ProblemType(
        422,
        "Insufficient funds",
        "The transfer would take the account's available balance below its minimum. `account_id`, `available_balance`,"
        " `minimum_balance`, `amount` and `shortfall` say by how much (minor units).",
    ),
    "balance_limit_exceeded": ProblemType(
        422,
        "The balance limit would be exceeded",
        "The transfer would take the account's balance above its maximum, or the bounds asked for exclude the balance"
        " or each other. The numbers are members (minor units).",
    ),
    "balance_overflow": ProblemType(
        422, "The account's counters are full", "The sum of all debits or credits would exceed a 64-bit integer."
    ),
    "currency_mismatch": ProblemType(
        422,
        "The currencies differ",
        "An account holds one currency (`account_currency`); the transfer names another, or one that does not exist.",
    ),
    "currency_unknown": ProblemType(
        422,
        "The currency is unknown",
        "ISO 4217 has no such currency, or gives it no minor unit. That is asked when an account is opened; accounts in"
        " a currency that was withdrawn later work on.",
    ),
    "capture_exceeds_hold": ProblemType(
        422,
        "The capture exceeds the hold",
        "More was to be captured than the hold still reserves: `hold_amount`, `captured_amount`, `amount`, `excess`.",
    ),
    "reversal_exceeds_transfer": ProblemType(
        422,
        "The reversal exceeds the transfer",
        "More was to be moved back than is left: `transfer_amount`, `reversed_amount`, `amount`, `excess`.",
    ),
    "time_out_of_range": ProblemType(
        422,
        "The time is out of range",
        "The time in `field` must lie between `earliest` and `latest`, by the database's clock when it was decided: in"
        " the window that the installation sets, and for a value date not before the day (UTC) on which the accounts"
        " were opened, the opening of the hold that is captured, or the value date of the transfer that is reversed.",
    ),
    "same_account": ProblemType(
        422, "Debit and credit account are the same", "A transfer moves money between two accounts."
    ),
    "idempotency_key_reused": ProblemType(
        422,
        "The idempotency key was used for another request",
        "A key stands for one request for ever. This request was not carried out; `earlier_request` says what became of"
        " the one that the key stands for: when it was applied, that stands. Read it (`path`) before you send this"
        " request under a new key: a retry whose body has changed would move the money twice.",
    ),
    "batch_rejected": ProblemType(
        422,
        "The batch was refused",
        "Its transfers apply together or not at all, and one of them was refused (`refused_code`).",
    ),
    "precondition_required": ProblemType(
        428, "An If-Match header is required", "Read the resource, and send its ETag (or `*`) as If-Match."
    ),
    "rate_limited": ProblemType(
        429,
        "Too much for one client",
        "The client has as many requests under way, or sent as many in a second, as one client may. Nothing was"
        " applied; try again after Retry-After.",
        retryable=True,
    ),
    "internal_error": ProblemType(
        500, "The service failed", "A fault of the service. It has been logged; the same key may be sent again."
    ),
    "overloaded": ProblemType(
        503,
        "The service is overloaded",
        "The queue, or the places for this kind of work, are full. Nothing was applied; try again after Retry-After.",
        retryable=True,
    ),
    "database_unavailable": ProblemType(
        503,
        "The database is unavailable",
        "The database did not answer. If `outcome` is unknown the transfer may have been applied: send the same"
        " request with the same key, and it is answered exactly once.",
        retryable=True,
    ),
    "contention": ProblemType(
        503,
        "Too much contention",
        "The accounts stayed locked by others for too long. Nothing was applied.",
        retryable=True,
    ),
    "clock_behind": ProblemType(
        503,
        "The database's clock is behind",
        "The last change of the account (`account_id`, `last_change`) lies ahead of the database's clock by more than"
        " the installation follows: the clock was set back, or was ahead before. Nothing was applied and nothing is"
        " remembered under the key; other accounts are not concerned. The same request passes when the clock is right"
        " again, or has caught up (`ahead_seconds`).",
        retryable=True,
    ),
    "not_ready": ProblemType(
        503, "Not ready", "A part of the service is not ready; `checks` says which.", retryable=True
    ),
}
