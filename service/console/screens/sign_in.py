"""Signing in with a token, or once by the link that ``funds serve`` printed; signing out."""

import re
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Redirect, Template

from service.api.http.paths import public_prefix
from service.console.forms import read_form
from service.console.pages import console_url, page, redirect
from service.console.sessions import no_cookie
from service.console.visits import FORM, Visit, authenticate, host_of, link_of, sessions_of
from service.errors import UnauthenticatedError
from service.telemetry.records import record_of

_OURS = re.compile(r"/console(?:/[A-Za-z0-9_~.:/-]*)?(?:\?[A-Za-z0-9_~.:%&=+-]*)?")

_NOT_TAKEN = "This token is unknown, revoked or past its end."
_TOO_LONG = "This token is too long for a session: a browser's cookie cannot hold it."
_LINK_USED = "This link was used, or its ten minutes are over. Sign in with a token, or start the service again."


@get("/sign-in")
async def show_sign_in(request: Request[Any, Any, Any], to: FromQuery[str | None] = None) -> Template:
    """Show the form that takes a token."""
    return _form(request, to)


@post("/sign-in", opt=FORM)
async def sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    """Begin a session with a token, and go to the page that was asked for."""
    form = await read_form(request)
    to, token = form.get("to"), form.get("token", "")
    return await _begin(request, token, to)


@get("/sign-in/link")
async def show_link(request: Request[Any, Any, Any], code: FromQuery[str] = "") -> Template:
    """Ask whether to use the link: whatever fetches it unasked, to show what is behind it, does not use it up."""
    link = link_of(request.app.state)
    if link is None or not link.is_usable(code):
        return _form(request, None, status=401, wrong=_LINK_USED)
    return page(request, "sign_in_link.html", code=code)


@post("/sign-in/link", opt=FORM)
async def use_link(request: Request[Any, Any, Any]) -> Response[Any]:
    """Begin a session of the operator, once."""
    code = (await read_form(request)).get("code", "")
    link = link_of(request.app.state)
    token = None if link is None else link.use(code)
    if token is None:
        return _form(request, None, status=401, wrong=_LINK_USED)
    return await _begin(request, token, None)


@post("/sign-out", opt=FORM)
async def sign_out(request: Request[Any, Any, Any], visit: NamedDependency[Visit]) -> Redirect:
    """End the session."""
    await visit.form()
    sessions_of(request.app.state).end(visit.session)
    return redirect(console_url(request, "sign-in"), cookies=[no_cookie(host_of(request))])


async def _begin(request: Request[Any, Any, Any], token: str, to: str | None) -> Response[Any]:
    try:
        principal = await authenticate(request, token)
    except UnauthenticatedError as error:
        record = record_of(request.scope)
        record.code, record.reason = "unauthenticated", str(error)
        return _form(request, to, status=401, wrong=_NOT_TAKEN)
    record_of(request.scope).client = principal.client
    sessions = sessions_of(request.app.state)
    cookie = sessions.cookie(sessions.begin(token), host_of(request))
    if cookie is None:
        return _form(request, to, status=400, wrong=_TOO_LONG)
    return redirect(_place(request, to), cookies=[cookie])


def _form(request: Request[Any, Any, Any], to: str | None, *, status: int = 200, wrong: str = "") -> Template:
    return page(request, "sign_in.html", status=status, to=to or "", wrong=wrong)


def _place(request: Request[Any, Any, Any], to: str | None) -> str:
    """Return where to go: ``to``, if that is a page of the console."""
    prefix = public_prefix(request.scope)
    if to is not None and to.startswith(prefix) and _OURS.fullmatch(to.removeprefix(prefix)):
        return to
    return console_url(request)
