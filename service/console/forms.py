"""Forms: bodies of POST, and what shows that a page of ours sent them."""

import hmac
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from litestar import Request

from service.console.sessions import Session
from service.errors import ProblemError
from service.wire.errors import MalformedError
from service.wire.reasons import Forbidden, UnsupportedMediaType

_FIELDS_MAX = 100
_MEDIA_TYPE = "application/x-www-form-urlencoded"

Form = dict[str, str]


async def read_form(request: Request[Any, Any, Any]) -> Form:
    """Return the fields of a form that a page of this origin sent; empty ones are left out.

    Raises ProblemError for one that came from elsewhere, or in another media type, and MalformedError.
    """
    _refuse_foreign(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _MEDIA_TYPE:
        raise ProblemError(UnsupportedMediaType(), "A form is sent as application/x-www-form-urlencoded.")
    try:
        text = (await request.body()).decode("ascii")
        fields = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=_FIELDS_MAX
        )
    except ValueError:
        raise MalformedError("", "this is no form of a page of the console") from None
    form = dict(fields)
    if len(form) < len(fields):
        raise MalformedError("", "a form has each of its fields once")
    # Browsers send the line breaks of a text as CR LF.
    return {name: plain for name, value in form.items() if (plain := value.replace("\r\n", "\n").strip())}


def refuse_forged(form: Form, session: Session) -> None:
    """Check that ``form`` was rendered for ``session``. Raises ProblemError."""
    if not hmac.compare_digest(form.pop("session", "").encode(), session.name.encode()):
        raise ProblemError(
            Forbidden(), "This form is not of your session. Open its page again, and send it from there."
        )


def _refuse_foreign(request: Request[Any, Any, Any]) -> None:
    """Check that the browser says that a page of this origin sends the request. Raises ProblemError.

    Sec-Fetch-Site says so where the browser sends it; Origin is ``null`` then, because pages ask for no referrer.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None:
        origin = urlsplit(request.headers.get("origin", ""))
        same = bool(origin.netloc) and origin.netloc == request.headers.get("host")
    else:
        same = site == "same-origin"
    if not same:
        raise ProblemError(Forbidden(), "A form must be sent from a page of the console itself.")
