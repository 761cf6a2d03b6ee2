"""Visits: who looks at a page, what they may do, and what the page is made of."""

from typing import Any

from litestar import Request, Response
from litestar.datastructures import State
from litestar.response import Template

from service.access.authenticator import Authenticator
from service.access.principal import Principal
from service.api.http import problems
from service.api.http.paths import asked_path
from service.console.calls import Api
from service.console.forms import Form, read_form, refuse_forged
from service.console.headers import HEADERS
from service.console.links import SignInLink
from service.console.pages import console_url, page, redirect
from service.console.problems import code_of
from service.console.sessions import Session, Sessions, no_cookie
from service.errors import ApiRefusedError, SignInNeededError, UnauthenticatedError
from service.telemetry.records import record_of
from service.wire.problems import Problem

FORM = {"form": True}
"""The options of a route that takes a form, where all others take JSON or no body."""
IN_PLACE = "hx-request"
"""The header of a request by which a page refreshes a part of itself: it keeps no session alive."""


class Visit:
    """A request of whoever is signed in. ``api`` is the API as they may use it."""

    def __init__(self, request: Request[Any, Any, Any], session: Session, principal: Principal) -> None:
        self.request = request
        self.session = session
        self.principal = principal
        self.api = Api(request, session.token)

    @property
    def client(self) -> str:
        """Who is signed in."""
        return self.principal.client

    @property
    def scopes(self) -> str:
        """What they may do, as the names of scopes."""
        return ", ".join(sorted(self.principal.scopes))

    def may(self, scope: str) -> bool:
        """Whether they have ``scope``, or one that includes it."""
        return self.principal.may(scope)

    async def form(self) -> Form:
        """Return the fields of a form of theirs. Raises ProblemError for one that is forged."""
        form = await read_form(self.request)
        refuse_forged(form, self.session)
        return form

    def page(self, template: str, *, status: int = 200, **context: Any) -> Template:
        """Return the page that ``template`` makes of ``context``. It goes on with the session."""
        cookies = []
        sessions = sessions_of(self.request.app.state)
        if IN_PLACE not in self.request.headers and sessions.is_due(self.session):
            renewed = sessions.cookie(self.session, host_of(self.request))
            cookies = [] if renewed is None else [renewed]
        return page(self.request, template, status=status, cookies=cookies, visit=self, **context)


async def provide_visit(request: Request[Any, Any, Any]) -> Visit:
    """Return the visit of whoever is signed in. Raises SignInNeededError, and what the API raises for their token: one
    that was revoked ends its sessions as soon as it is refused anywhere.
    """
    session = sessions_of(request.app.state).read(request.cookies, host_of(request))
    if session is None:
        raise SignInNeededError
    principal = await authenticate(request, session.token)
    record_of(request.scope).client = principal.client
    return Visit(request, session, principal)


async def authenticate(request: Request[Any, Any, Any], token: str) -> Principal:
    """Return who has ``token``. Raises UnauthenticatedError."""
    authenticator: Authenticator = request.app.state.authenticator
    return await authenticator.authenticate(f"Bearer {token}", (), request.scope["client"])


def sessions_of(state: State) -> Sessions:
    """Return what makes and reads the cookies of sessions."""
    sessions: Sessions = state.console_sessions
    return sessions


def link_of(state: State) -> SignInLink | None:
    """Return the link that signs the operator in once, where there is one."""
    link: SignInLink | None = state.sign_in_link
    return link


def host_of(request: Request[Any, Any, Any]) -> str:
    """Return the host, and its port, that the browser has asked."""
    return request.headers.get("host", "")


def answer_sign_in_needed(request: Request[Any, Any, Any], _: Exception) -> Response[Any]:
    """Send whoever is not signed in to do so, and then back to the page that was asked for."""
    query = request.scope["query_string"].decode("latin-1")
    asked = f"{asked_path(request.scope)}?{query}" if query else asked_path(request.scope)
    to = asked if request.method == "GET" and IN_PLACE not in request.headers else None
    sign_in, cookies = console_url(request, "sign-in", to=to), [no_cookie(host_of(request))]
    if IN_PLACE in request.headers:  # the browser would follow a redirect before the page learns of it
        return Response(b"", status_code=204, headers=HEADERS | {"HX-Redirect": sign_in}, cookies=cookies)
    return redirect(sign_in, cookies=cookies)


def answer_refused(request: Request[Any, Any, Any], error: ApiRefusedError) -> Response[Any]:
    """Show the problem that the API answered."""
    record_of(request.scope).code = error.code
    if error.status == 401:  # noqa: PLR2004 - the token was revoked a moment ago
        return answer_sign_in_needed(request, error)
    return _error_page(request, error, error.code)


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Show the problem that the API would answer."""
    answered = problems.answer_exception(request, error)
    problem: Problem = answered.content
    if isinstance(error, UnauthenticatedError):
        return answer_sign_in_needed(request, error)
    kept = {name: value for name, value in answered.headers.items() if name in {"Retry-After", "Allow"}}
    return _error_page(request, problem, code_of(problem), kept)


def _error_page(
    request: Request[Any, Any, Any], problem: Any, code: str, headers: dict[str, str] | None = None
) -> Response[Any]:
    return page(request, "error.html", status=problem.status, headers=headers, problem=problem, code=code)


EXCEPTION_HANDLERS: dict[Any, Any] = {
    **dict.fromkeys(problems.EXCEPTION_HANDLERS, answer_error),
    SignInNeededError: answer_sign_in_needed,
    ApiRefusedError: answer_refused,
}
