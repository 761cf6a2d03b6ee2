"""Problems (RFC 9457): how exceptions become answers.

Every error the service gives, without exception, is ``application/problem+json`` and comes from here.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import UNSET, structs

from service.api.context import LedgerRef
from service.api.http.paths import asked_path, public_prefix
from service.domain import rejections
from service.domain.earlier_requests import EarlierRequest
from service.domain.reasons import Reason
from service.domain.rejections import Rejection
from service.errors import (
    BatchFailedError,
    Certainty,
    Explains,
    FileUnfinishedError,
    KeysMissingError,
    LedgerDamagedError,
    NoSlotError,
    OverloadedError,
    ProblemError,
    RateLimitedError,
    StorageError,
    UnauthenticatedError,
)
from service.server.refusals import Answer, Refusal, Refuse, Scope
from service.storage.errors import reason
from service.telemetry import metrics
from service.telemetry.records import record_of
from service.wire import reasons
from service.wire.catalogue import CATALOGUE, KINDS
from service.wire.errors import MalformedError, pointer_to
from service.wire.problems import MEDIA_TYPE, PROBLEM_TYPES, Problem, union_of

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 1

NOT_STORED = (b"cache-control", b"no-store, no-transform")
"""No cache keeps an answer, since balances are private, and no proxy changes one, since that would weaken the tag."""

NO_PATH = "/"
"""Stands for the path of a request whose head was not understood."""

BODY_REQUIRED = "a body is required: a JSON object, {} where every member may be left out"


_REASONS: dict[str, type[Reason]] = {reason.code: reason for reason in KINDS}
"""By the codes that failures of storage and refusals of the HTTP server have as their values."""


def problem_of(
    reason: Explains, detail: str | None, *, path_prefix: str, instance: str, outcome: Certainty = "not_applied"
) -> Problem:
    """Return the problem of ``reason``, in the catalogue's words without ``detail``; ``instance`` has the prefix."""
    code, kind = reason.code, CATALOGUE[reason.code]
    return PROBLEM_TYPES[code](
        type=f"{path_prefix}/problems/{code}",
        title=kind.title,
        status=kind.status,
        detail=detail or kind.explanation,
        instance=instance,
        retryable=kind.retryable,
        outcome=outcome,
        **reason.members(),
    )


def rejected(rejection: Rejection, ledger: LedgerRef, *, replayed: bool = False) -> ProblemError:
    """Return the problem that tells a caller of ``rejection`` in ``ledger``."""
    return ProblemError(located(rejection, ledger), rejection.detail, headers=replay_header(replayed=replayed))


def located(rejection: Rejection, ledger: LedgerRef) -> Reason:
    """Return ``rejection`` as a caller is told of it: of an earlier request it also says where to read it."""
    match rejection:
        case rejections.KeyFenced(idempotency_key=key, earlier_request=earlier):
            return reasons.KeyFenced(key, _located(earlier, key, ledger))
        case rejections.IdempotencyKeyReused(idempotency_key=key, earlier_request=earlier):
            return reasons.IdempotencyKeyReused(key, _located(earlier, key, ledger))
    return rejection


def _located(earlier: EarlierRequest, key: str, ledger: LedgerRef) -> reasons.EarlierRequest:
    told = reasons.EarlierRequest(**structs.asdict(earlier))
    if earlier.ledger is not UNSET:
        steps = [earlier.ledger]
    elif not ledger.name:
        return told
    else:
        made = {"transfers": earlier.transfer_id, "holds": earlier.hold_id, "accounts": earlier.account_id}
        place = next(([kind, str(made_id)] for kind, made_id in made.items() if made_id is not UNSET), None)
        steps = [ledger.name, *(place or ["idempotency-keys", quote(key, safe="")])]
    return structs.replace(told, path=f"{ledger.path_prefix}/v1/ledgers/{'/'.join(steps)}")


def replay_header(*, replayed: bool) -> dict[str, str]:
    """Return the header that tells a replayed answer, a problem or not, from a first one."""
    return {"Idempotency-Replayed": "true"} if replayed else {}


def malformed_in_places(pointers: Sequence[str], reason: str) -> ProblemError:
    """Return the problem of one fault that lies in what stands at ``pointers`` together."""
    return ProblemError(
        reasons.MalformedRequest([reasons.Fault(pointer, reason) for pointer in pointers]),
        f"{' and '.join(pointers) or 'The body'}: {reason}",
    )


def stored_problem(rejection: Rejection, ledger: LedgerRef, idempotency_key: str) -> Problem:
    """Return the problem of a rejection that was remembered; its instance is the key that it stands under."""
    instance = f"{ledger.path}/idempotency-keys/{quote(idempotency_key, safe='')}"
    return problem_of(rejection, rejection.detail, path_prefix=ledger.path_prefix, instance=instance)


def answer_problem(
    request: Request[Any, Any, Any], error: ProblemError, *, cause: str | None = None
) -> Response[Problem]:
    """Answer with the problem that ``error`` names; ``cause`` is told in the log instead of what the caller is told."""
    record = record_of(request.scope)
    record.code, record.reason = error.reason.code, cause or error.detail
    problem = problem_of(
        error.reason,
        error.detail,
        path_prefix=public_prefix(request.scope),
        instance=asked_path(request.scope),
        outcome=error.outcome,
    )
    if problem.outcome == "unknown":
        metrics.unknown_outcomes.add()
    headers = dict(error.headers)
    if problem.status == 503:  # noqa: PLR2004
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if problem.status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = "Bearer"
    return Response(problem, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def answer_malformed(request: Request[Any, Any, Any], error: MalformedError) -> Response[Problem]:
    """Answer that something in the request is not what belongs there."""
    return answer_problem(request, malformed_in_places([error.pointer], error.reason))


def answer_storage_error(request: Request[Any, Any, Any], error: StorageError) -> Response[Problem]:
    """Answer that the database failed for long, and whether the request may have been applied."""
    outcome: Certainty = "unknown" if error.in_doubt else "not_applied"
    return answer_problem(request, ProblemError(_REASONS[error.failure](), outcome=outcome), cause=reason(error))


def answer_batch_failed(request: Request[Any, Any, Any], error: BatchFailedError) -> Response[Problem]:
    """Answer that the batch failed; the committer has logged why."""
    outcome: Certainty = "unknown" if error.in_doubt else "not_applied"
    return answer_problem(request, ProblemError(reasons.InternalError(), outcome=outcome), cause=reason(error))


def answer_unauthenticated(request: Request[Any, Any, Any], error: UnauthenticatedError) -> Response[Problem]:
    """Answer that the request has no token that is valid, without saying what is wrong with the one it has."""
    return answer_problem(request, ProblemError(reasons.Unauthenticated()), cause=str(error))


def answer_keys_missing(request: Request[Any, Any, Any], error: KeysMissingError) -> Response[Problem]:
    """Answer that a token of the issuer cannot be verified now."""
    detail = "The keys of the issuer of this token are not there yet. Nothing was applied; try again after Retry-After."
    return answer_problem(request, ProblemError(reasons.NotReady(), detail), cause=str(error))


def rate_headers(per_second: int, left: int) -> dict[str, str]:
    """Return the headers that tell a client its limit (draft -11 of the IETF's RateLimit header fields): q requests in
    w seconds; r are left, and t seconds until there are q again.
    """
    return {"RateLimit-Policy": f'"client";q={per_second};w=1', "RateLimit": f'"client";r={left};t=1'}


def answer_rate_limited(request: Request[Any, Any, Any], error: RateLimitedError) -> Response[Problem]:
    """Answer that the client asks for too much, and what its limit is."""
    headers = {} if error.per_second is None else rate_headers(error.per_second, left=0)
    headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer_problem(request, ProblemError(reasons.RateLimited(), str(error), headers=headers))


def answer_no_slot(request: Request[Any, Any, Any], error: NoSlotError) -> Response[Problem]:
    """Answer that there is no slot for expensive work now, or none for this client."""
    if error.own_share:
        retry_after = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return answer_problem(
            request, ProblemError(reasons.RateLimited(), f"Nothing was applied: {error}.", headers=retry_after)
        )
    return answer_problem(request, ProblemError(reasons.Overloaded(), f"Nothing was applied: {error}."))


def answer_file_unfinished(request: Request[Any, Any, Any], error: FileUnfinishedError) -> Response[Problem]:
    """Answer that a file, nothing of which is sent, took too long to make."""
    return answer_problem(request, ProblemError(reasons.Overloaded(), f"Ask for less of it, or for pages: {error}."))


def answer_damaged(request: Request[Any, Any, Any], _: LedgerDamagedError) -> Response[Problem]:
    """Answer that the ledger is stopped."""
    return answer_problem(request, ProblemError(reasons.LedgerDamaged()))


def answer_overloaded(request: Request[Any, Any, Any], error: OverloadedError) -> Response[Problem]:
    """Answer that the queue takes no more now."""
    return answer_problem(request, ProblemError(reasons.Overloaded(), f"Nothing was applied: {error}."))


_SOME_WAS_APPLIED = "Some of this request was applied before. Send it again under the same keys: the answer tells all."


@contextmanager
def after_a_commit(*, sent: bool = True) -> Iterator[None]:
    """Tell of what fails in here that the outcome is unknown, where some of the request was committed before it
    (``sent``): raises the failure with that said of it.
    """
    if not sent:
        yield
        return
    try:
        yield
    except StorageError as error:
        raise StorageError(error.failure, in_doubt=True) from error
    except BatchFailedError as error:
        raise BatchFailedError(in_doubt=True) from error
    except LedgerDamagedError as error:
        raise ProblemError(reasons.LedgerDamaged(), _SOME_WAS_APPLIED, outcome="unknown") from error
    except OverloadedError as error:
        raise ProblemError(reasons.Overloaded(), _SOME_WAS_APPLIED, outcome="unknown") from error


def refusals(path_prefix: str) -> Refuse:
    """Return what makes the answers that are given without Litestar, by the HTTP server for one: status, headers and
    body of the problem of a code, with a detail ("" for the usual explanation) and the path that was asked for.
    """

    def refuse(code: Refusal, detail: str, scope: Scope | None) -> Answer:
        path = NO_PATH if scope is None else scope["path"]
        problem = problem_of(_REASONS[code](), detail, path_prefix=path_prefix, instance=path)
        headers = [(b"content-type", MEDIA_TYPE.encode()), NOT_STORED]
        if problem.status == 503:  # noqa: PLR2004
            headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
        return problem.status, headers, msgspec.json.encode(problem)

    return refuse


_FRAMEWORK_FAULTS_MAX = 8
_FRAMEWORK_REASONS: dict[int, type[Reason]] = {
    401: reasons.Unauthenticated,
    403: reasons.Forbidden,
    404: reasons.NotFound,
    405: reasons.MethodNotAllowed,
    413: reasons.RequestTooLarge,
}


def answer_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    """Answer what the framework refuses: unknown paths and methods, bodies too large, wrong parameters."""
    reason_type = _FRAMEWORK_REASONS.get(error.status_code)
    if reason_type is not None:
        return answer_problem(request, ProblemError(reason_type(), headers=dict(error.headers or {})))
    if error.status_code >= 500:  # noqa: PLR2004
        return answer_unexpected(request, error)
    faults = list(_framework_faults(error))
    detail = f"{faults[0].pointer or 'The body'}: {faults[0].reason}"
    return answer_problem(request, ProblemError(reasons.MalformedRequest(faults), detail))


def answer_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Answer a fault of ours, log it with its traceback, tell the caller nothing of it.

    The committer answers every command that it took, so the outcome of a writing request that failed here is unknown.
    """
    place = {"method": request.method, "route": record_of(request.scope).route}
    logger.error("unexpected error", exc_info=error, extra=place | {"reason": reason(error)})
    outcome: Certainty = "not_applied" if request.method == "GET" else "unknown"
    return answer_problem(request, ProblemError(reasons.InternalError(), outcome=outcome), cause=reason(error))


def _framework_faults(error: HTTPException) -> Iterable[reasons.Fault]:
    """Yield the faults that the framework found; its own words speak of Python, and are not repeated."""
    faults = error.extra if isinstance(error.extra, list) else []
    for fault in faults[:_FRAMEWORK_FAULTS_MAX]:
        key = str(fault.get("key", ""))
        if key == "data":
            yield reasons.Fault("", BODY_REQUIRED)
        else:
            source = getattr(fault.get("source"), "value", "request")
            yield reasons.Fault(pointer_to(source, key), "missing, or not what this operation takes; see /docs")
    if not faults:
        yield reasons.Fault("", "the request is not one that this operation takes; see /docs")


EXCEPTION_HANDLERS: dict[Any, Any] = {
    ProblemError: answer_problem,
    UnauthenticatedError: answer_unauthenticated,
    KeysMissingError: answer_keys_missing,
    RateLimitedError: answer_rate_limited,
    MalformedError: answer_malformed,
    StorageError: answer_storage_error,
    BatchFailedError: answer_batch_failed,
    OverloadedError: answer_overloaded,
    NoSlotError: answer_no_slot,
    FileUnfinishedError: answer_file_unfinished,
    LedgerDamagedError: answer_damaged,
    HTTPException: answer_http_exception,
    Exception: answer_unexpected,
}


def answer_exception(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Answer with the problem that ``error`` stands for, by the handler of the nearest of its classes."""
    kind = next(kind for kind in type(error).__mro__ if kind in EXCEPTION_HANDLERS)
    answer: Response[Problem] = EXCEPTION_HANDLERS[kind](request, error)
    return answer


_COMMON: tuple[type[Reason], ...] = (
    reasons.Unauthenticated,
    reasons.Forbidden,
    reasons.RateLimited,
    reasons.InternalError,
    reasons.Overloaded,
    reasons.DatabaseUnavailable,
    reasons.Contention,
    reasons.NotReady,
)


def responses(*specific: type[Reason], common: Iterable[type[Reason]] = _COMMON) -> dict[int, ResponseSpec]:
    """Describe for OpenAPI the problems of one operation (a rule that is checked twice is named once), and those that
    every operation can meet.
    """
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(one.code for one in (*specific, *common)):
        by_status.setdefault(CATALOGUE[code].status, []).append(code)
    return {
        status: ResponseSpec(
            data_container=union_of(codes),
            media_type=MEDIA_TYPE,
            description="Problem: " + ", ".join(f"`{code}`" for code in codes),
            generate_examples=False,
        )
        for status, codes in sorted(by_status.items())
    }


def write_responses(*specific: type[Reason]) -> dict[int, ResponseSpec]:
    """Describe for OpenAPI the problems of one operation that writes to a ledger."""
    return responses(*specific, reasons.LedgerDamaged)


@get(
    "/problems/{code:str}",
    media_type=MediaType.TEXT,
    opt={"scope": None},
    operation_id="explainProblem",
    tags=["Problems"],
    responses=responses(reasons.NotFound, common=(reasons.InternalError,)),
)
async def explain_problem(code: FromPath[str]) -> str:
    """Explain one problem in plain text: what a problem's `type` points at."""
    kind = CATALOGUE.get(code)
    if kind is None:
        raise ProblemError(reasons.NotFound())
    retry = "The same request may succeed later." if kind.retryable else "The same request is refused again."
    return f"{kind.title}\n\ncode: {code}\nstatus: {kind.status}\n\n{kind.explanation}\n{retry}\n"
