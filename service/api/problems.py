"""Problems (RFC 9457): how exceptions become answers.

Every error the service gives, without exception, is ``application/problem+json`` and comes from here.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, cast
from urllib.parse import quote

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import Meta

from service.api.catalogue import CATALOGUE
from service.api.paths import asked_path, public_prefix
from service.api.problem_members import ProblemMembers
from service.domain.rejections import Rejection
from service.engine.queue import OverloadedError
from service.engine.settle import SettlementError
from service.server.refusals import Answer, Refuse
from service.storage.errors import StorageError, reason
from service.storage.places import NoPlaceError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1

NOT_STORED = (b"cache-control", b"no-store, no-transform")
"""No cache keeps an answer, for balances are nobody else's, and no proxy changes one: it would weaken the tag."""

BODY_REQUIRED = "a body is required: a JSON object, {} where every member may be left out"

SHOWN_LENGTH_MAX = 64
"""How many characters of a name of the client's an answer repeats."""

Outcome = Literal["not_applied", "unknown"]


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
        Outcome,
        Meta(
            description="Of this request alone. not_applied: it certainly changed nothing (what an earlier one under"
            " the same key did is in `earlier_request`). unknown: ask again under the same key."
        ),
    ]


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
    def from_rejection(
        cls, rejection: Rejection, *, path_prefix: str, ledger: str | None, replayed: bool = False
    ) -> "ProblemError":
        """Return the problem that tells a caller of ``rejection`` in ``ledger`` (None: of ledgers themselves)."""
        members = rejection_members(rejection, path_prefix=path_prefix, ledger=ledger)
        return cls(rejection.code, rejection.detail, members=members, headers=replay_header(replayed=replayed))


def rejection_members(rejection: Rejection, *, path_prefix: str, ledger: str | None) -> dict[str, Any]:
    """Return the members that explain ``rejection``; what it says of an earlier request also says where to read it."""
    members = rejection.members
    earlier = members.get("earlier_request")
    if earlier is None:
        return members
    if "ledger" in earlier:
        steps = [earlier["ledger"]]
    elif ledger is None:
        return members
    else:
        kinds = {"transfer_id": "transfers", "hold_id": "holds", "account_id": "accounts"}
        made = next(([kind, earlier[name]] for name, kind in kinds.items() if name in earlier), None)
        steps = [ledger, *(made or ["idempotency-keys", quote(members["idempotency_key"], safe="")])]
    return members | {"earlier_request": earlier | {"path": f"{path_prefix}/v1/ledgers/{'/'.join(steps)}"}}


def replay_header(*, replayed: bool) -> dict[str, str]:
    """Return the header that tells a replayed answer, a problem or not, from a first one."""
    return {"Idempotency-Replayed": "true"} if replayed else {}


def shown(text: str) -> str:
    """Return a text of the client's as an answer repeats it: cut."""
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}…"


def pointer_to(*steps: str) -> str:
    """Return the JSON pointer (RFC 6901) that takes ``steps``, each cut as it is shown."""
    return "".join("/" + shown(step).replace("~", "~0").replace("/", "~1") for step in steps)


def malformed(pointer: str, reason: str) -> ProblemError:
    """Return the problem of one fault at ``pointer`` (RFC 6901, from the body, `query` or `header`)."""
    return malformed_in_places([pointer], reason)


def malformed_in_places(pointers: Sequence[str], reason: str) -> ProblemError:
    """Return the problem of one fault that lies in what stands at ``pointers`` together."""
    return ProblemError(
        "malformed_request",
        f"{' and '.join(pointers) or 'The body'}: {reason}",
        members={"errors": [{"pointer": pointer, "reason": reason} for pointer in pointers]},
    )


def problem_content(
    code: str,
    detail: str | None,
    *,
    path_prefix: str,
    instance: str,
    members: dict[str, Any],
    outcome: Outcome = "not_applied",
) -> dict[str, Any]:
    """Return the body of a problem; ``members`` never replace the standard ones, and ``instance`` has the prefix."""
    kind = CATALOGUE[code]
    standard = {
        "type": f"{path_prefix}/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail or kind.explanation,
        "instance": instance,
        "code": code,
        "retryable": kind.retryable,
        "outcome": outcome,
    }
    return standard | {name: value for name, value in members.items() if name not in standard}


def rejection_problem(stored: dict[str, Any], *, path_prefix: str, ledger: str, idempotency_key: str) -> ProblemDetails:
    """Return the problem of a rejection that was remembered; its instance is the key that it stands under."""
    rejection = msgspec.convert(stored, Rejection)
    instance = f"{path_prefix}/v1/ledgers/{ledger}/idempotency-keys/{quote(idempotency_key, safe='')}"
    # Answers carry members that the type cannot name; they are encoded as they are.
    return cast(
        "ProblemDetails",
        problem_content(
            rejection.code,
            rejection.detail,
            path_prefix=path_prefix,
            instance=instance,
            members=rejection.members,
        ),
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
            path_prefix=public_prefix(request.scope),
            instance=asked_path(request.scope),
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


def answer_no_place(request: Request[Any, Any, Any], error: NoPlaceError) -> Response[dict[str, Any]]:
    """Answer that there is no place for expensive work now, or none for this client."""
    if error.own_share:
        retry_after = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return answer_problem(
            request, ProblemError("rate_limited", f"Nothing was applied: {error}.", headers=retry_after)
        )
    return answer_problem(request, ProblemError("overloaded", f"Nothing was applied: {error}."))


def answer_overloaded(request: Request[Any, Any, Any], error: OverloadedError) -> Response[dict[str, Any]]:
    """Answer that the engine takes no more now."""
    return answer_problem(request, ProblemError("overloaded", f"Nothing was applied: {error}."))


def refusals(path_prefix: str) -> Refuse:
    """Return what makes the answers that are given without Litestar, by the HTTP server for one: status, headers and
    body of the problem of a code, with a detail ("" for the usual explanation) and the path that was asked for.
    """

    def refuse(code: str, detail: str, path: str) -> Answer:
        kind = CATALOGUE[code]
        content = problem_content(code, detail, path_prefix=path_prefix, instance=path, members={})
        headers = [(b"content-type", MEDIA_TYPE.encode()), NOT_STORED]
        if kind.status == 503:  # noqa: PLR2004
            headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
        return kind.status, headers, msgspec.json.encode(content)

    return refuse


_FRAMEWORK_FAULTS_MAX = 8
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
    place = {"method": request.method, "path": request.scope["path"]}
    logger.error("unexpected error", exc_info=error, extra=place | {"reason": reason(error)})
    outcome: Outcome = "not_applied" if request.method == "GET" else "unknown"
    return answer_problem(request, ProblemError("internal_error", outcome=outcome))


def _framework_faults(error: HTTPException) -> Iterable[dict[str, str]]:
    """Yield the faults that the framework found; its own words speak of Python, and are not repeated."""
    faults = error.extra if isinstance(error.extra, list) else []
    for fault in faults[:_FRAMEWORK_FAULTS_MAX]:
        key = str(fault.get("key", ""))
        if key == "data":
            yield {"pointer": "", "reason": BODY_REQUIRED}
        else:
            source = getattr(fault.get("source"), "value", "request")
            yield {"pointer": pointer_to(source, key), "reason": "missing, or not what this operation takes; see /docs"}
    if not faults:
        yield {"pointer": "", "reason": "the request is not one that this operation takes; see /docs"}


EXCEPTION_HANDLERS: dict[Any, Any] = {
    ProblemError: answer_problem,
    StorageError: answer_storage_error,
    SettlementError: answer_settlement_error,
    OverloadedError: answer_overloaded,
    NoPlaceError: answer_no_place,
    HTTPException: answer_http_exception,
    Exception: answer_unexpected,
}


def answer_exception(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """Answer with the problem that ``error`` stands for, by the nearest of its classes that has a handler."""
    kind = next(kind for kind in type(error).__mro__ if kind in EXCEPTION_HANDLERS)
    answer: Response[dict[str, Any]] = EXCEPTION_HANDLERS[kind](request, error)
    return answer


_COMMON = (
    "unauthenticated",
    "forbidden",
    "rate_limited",
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
