"""Problems (RFC 9457): the catalogue of every error code, and how exceptions become answers.

Every error the service gives, without exception, is ``application/problem+json`` and comes from here.
"""

import logging
from collections.abc import Iterable
from typing import Annotated, Any, Literal, cast
from urllib.parse import quote

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import Meta, Struct

from service.api.paths import ESCAPED_SLASH
from service.api.problem_members import ProblemMembers
from service.domain.rejections import Rejection
from service.engine.queue import OverloadedError
from service.engine.settle import SettlementError
from service.storage.errors import StorageError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1

Outcome = Literal["not_applied", "unknown"]


class ProblemType(Struct, frozen=True):
    """One kind of problem: what the page under ``/problems/`` says of it."""

    status: int
    title: str
    explanation: str
    retryable: bool = False


class ProblemDetails(ProblemMembers, kw_only=True, frozen=True):
    """An error (RFC 9457). Further members explain it, each kind of error by its own."""

    type: Annotated[str, Meta(description="A path under /problems/ that serves this problem's explanation.")]
    title: str
    status: int
    detail: str
    instance: Annotated[str, Meta(description="The path that was asked for.")]
    code: Annotated[str, Meta(description="The problem's stable name.")]
    retryable: Annotated[bool, Meta(description="Whether the same request, with the same key, may succeed later.")]
    outcome: Annotated[
        Outcome, Meta(description="not_applied: certainly nothing changed. unknown: ask again under the same key.")
    ]


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
        "The key was made unusable before it was used: nothing was or will be applied under it.",
    ),
    "version_mismatch": ProblemType(
        412, "The resource has changed", "If-Match names a state that is no longer current: read, decide, send again."
    ),
    "request_too_large": ProblemType(413, "The request is too large", "The body is larger than this operation takes."),
    "unsupported_media_type": ProblemType(
        415, "The body is not JSON", "Send JSON, and call it so: `Content-Type: application/json`."
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
        422, "The currencies differ", "An account holds one currency; the transfer names another."
    ),
    "currency_unknown": ProblemType(
        422, "The currency is unknown", "ISO 4217 has no such currency, or gives it no minor unit."
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
        "The time in `field` must lie between `earliest` and `latest` (by the database's clock when it was decided).",
    ),
    "same_account": ProblemType(
        422, "Debit and credit account are the same", "A transfer moves money between two accounts."
    ),
    "idempotency_key_reused": ProblemType(
        422,
        "The idempotency key was used for another request",
        "A key stands for one request for ever. Send the new request under a new key.",
    ),
    "batch_rejected": ProblemType(
        422,
        "The batch was refused",
        "Its transfers apply together or not at all, and one of them was refused (`refused_code`).",
    ),
    "precondition_required": ProblemType(
        428, "An If-Match header is required", "Read the resource, and send its ETag (or `*`) as If-Match."
    ),
    "internal_error": ProblemType(
        500, "The service failed", "A fault of the service. It has been logged; the same key may be sent again."
    ),
    "overloaded": ProblemType(
        503,
        "The service is overloaded",
        "The queue is full. Nothing was applied; try again after Retry-After.",
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
    "not_ready": ProblemType(
        503, "Not ready", "A part of the service is not ready; `checks` says which.", retryable=True
    ),
}


class ProblemError(Exception):
    """Raised where a request must be answered with the problem ``code``; ``members`` explain it further."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        members: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        outcome: Outcome = "not_applied",
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.members = members or {}
        self.headers = headers or {}
        self.outcome = outcome

    @classmethod
    def from_rejection(cls, rejection: Rejection, *, replayed: bool = False) -> "ProblemError":
        """Return the problem that tells a caller of ``rejection``."""
        headers = {"Idempotency-Replayed": "true"} if replayed else {}
        return cls(rejection.code, rejection.detail, members=rejection.members, headers=headers)


def malformed(pointer: str, reason: str) -> ProblemError:
    """Return the problem of one fault at ``pointer`` (RFC 6901, from the body, `query` or `header`)."""
    return ProblemError(
        "malformed_request",
        f"{pointer or 'The body'}: {reason}",
        members={"errors": [{"pointer": pointer, "reason": reason}]},
    )


def problem_content(
    code: str, detail: str | None, *, instance: str, members: dict[str, Any], outcome: Outcome = "not_applied"
) -> dict[str, Any]:
    """Return the body of a problem; ``members`` never replace the standard ones."""
    kind = CATALOGUE[code]
    standard = {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail or kind.explanation,
        "instance": instance,
        "code": code,
        "retryable": kind.retryable,
        "outcome": outcome,
    }
    return standard | {name: value for name, value in members.items() if name not in standard}


def rejection_problem(stored: dict[str, Any], ledger: str, idempotency_key: str) -> ProblemDetails:
    """Return the problem of a rejection that was remembered; its instance is the key that it stands under."""
    rejection = msgspec.convert(stored, Rejection)
    instance = f"/v1/ledgers/{ledger}/idempotency-keys/{quote(idempotency_key, safe='')}"
    # Answers carry members that the type cannot name; they are encoded as they are.
    return cast(
        "ProblemDetails",
        problem_content(rejection.code, rejection.detail, instance=instance, members=rejection.members),
    )


def answer_problem(request: Request[Any, Any, Any], error: ProblemError) -> Response[dict[str, Any]]:
    """Answer with the problem that ``error`` names."""
    kind = CATALOGUE[error.code]
    headers = dict(error.headers)
    if kind.status == 503:  # noqa: PLR2004
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if kind.status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        problem_content(
            error.code,
            error.detail,
            instance=request.scope["path"].replace(ESCAPED_SLASH, "%2F"),
            members=error.members,
            outcome=error.outcome,
        ),
        status_code=kind.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def answer_storage_error(request: Request[Any, Any, Any], error: StorageError) -> Response[dict[str, Any]]:
    """Answer that the database failed for long, and whether the request may have been applied."""
    outcome: Outcome = "unknown" if error.outcome_unknown else "not_applied"
    return answer_problem(request, ProblemError(error.failure.value, outcome=outcome))


def answer_settlement_error(request: Request[Any, Any, Any], error: SettlementError) -> Response[dict[str, Any]]:
    """Answer that the engine failed on the batch; the engine has logged why."""
    outcome: Outcome = "unknown" if error.outcome_unknown else "not_applied"
    return answer_problem(request, ProblemError("internal_error", outcome=outcome))


def answer_overloaded(request: Request[Any, Any, Any], error: OverloadedError) -> Response[dict[str, Any]]:
    """Answer that the engine takes no more now."""
    return answer_problem(request, ProblemError("overloaded", f"Nothing was applied: {error}."))


_FRAMEWORK_CODES = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
}


def answer_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    """Answer what the framework refuses: unknown paths and methods, bodies too large, wrong parameters."""
    code = _FRAMEWORK_CODES.get(error.status_code)
    if code is not None:
        return answer_problem(request, ProblemError(code, headers=dict(error.headers or {})))
    if error.status_code >= 500:  # noqa: PLR2004
        return answer_unexpected(request, error)
    faults = list(_framework_faults(error))
    detail = f"{faults[0]['pointer'] or 'The body'}: {faults[0]['reason']}"
    return answer_problem(request, ProblemError("malformed_request", detail, members={"errors": faults}))


def answer_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """Answer a fault of ours, log it with its traceback, tell the caller nothing of it.

    The engine answers every command it took, so a fault met here leaves a writing request's outcome unknown.
    """
    logger.error("unexpected error", exc_info=error, extra={"method": request.method, "path": request.scope["path"]})
    outcome: Outcome = "not_applied" if request.method == "GET" else "unknown"
    return answer_problem(request, ProblemError("internal_error", outcome=outcome))


def _framework_faults(error: HTTPException) -> Iterable[dict[str, str]]:
    faults = error.extra if isinstance(error.extra, list) else []
    for fault in faults:
        key = str(fault.get("key", ""))
        if key == "data":
            yield {"pointer": "", "reason": "a body is required"}
        else:
            source = getattr(fault.get("source"), "value", "request")
            yield {"pointer": f"/{source}/{key}", "reason": str(fault.get("message", error.detail))}
    if not faults:
        yield {"pointer": "", "reason": error.detail}


EXCEPTION_HANDLERS: dict[Any, Any] = {
    ProblemError: answer_problem,
    StorageError: answer_storage_error,
    SettlementError: answer_settlement_error,
    OverloadedError: answer_overloaded,
    HTTPException: answer_http_exception,
    Exception: answer_unexpected,
}

_COMMON = (
    "unauthenticated",
    "forbidden",
    "internal_error",
    "overloaded",
    "database_unavailable",
    "contention",
)


def responses(*codes: str, common: Iterable[str] = _COMMON) -> dict[int, ResponseSpec]:
    """Describe for OpenAPI the problems ``codes`` of one operation, and those that every operation can meet."""
    by_status: dict[int, list[str]] = {}
    for code in (*codes, *common):
        by_status.setdefault(CATALOGUE[code].status, []).append(code)
    return {
        status: ResponseSpec(
            data_container=ProblemDetails,
            media_type=MEDIA_TYPE,
            description="Problem: " + ", ".join(f"`{code}`" for code in names),
            generate_examples=False,
        )
        for status, names in sorted(by_status.items())
    }


@get(
    "/problems/{code:str}",
    media_type=MediaType.TEXT,
    opt={"scope": None},
    operation_id="explainProblem",
    tags=["Problems"],
    responses=responses("not_found", common=("internal_error",)),
)
async def explain_problem(code: FromPath[str]) -> str:
    """Explain one problem in plain text: what a problem's `type` points at."""
    kind = CATALOGUE.get(code)
    if kind is None:
        raise ProblemError("not_found")
    retry = "The same request may succeed later." if kind.retryable else "The same request is refused again."
    return f"{kind.title}\n\ncode: {code}\nstatus: {kind.status}\n\n{kind.explanation}\n{retry}\n"
