"""Pages: how they are rendered, and what a browser may do with them (docs/decisions/0101)."""

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Request, Response, get
from litestar.datastructures import Cookie
from litestar.params import FromPath
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Redirect, Template
from litestar.template import TemplateConfig
from msgspec import Struct

from service.api.http.paths import public_prefix
from service.console import formats
from service.console.headers import HEADERS
from service.errors import ProblemError
from service.wire.reasons import NotFound

_FOLDER = Path(__file__).parent
_ASSETS_SECONDS = 31_536_000

SECTIONS = (
    ("", "Overview"),
    ("accounts", "Accounts"),
    ("transfers", "Transfers"),
    ("holds", "Holds"),
    ("declined", "Declined"),
    ("trial-balance", "Trial balance"),
    ("history", "History"),
    ("integrity", "Integrity"),
)
"""The parts of a ledger in the navigation: the last segment of the path, and the title."""


class Asset(Struct, frozen=True):
    """A file that pages load, under a name that changes with its content."""

    name: str
    media_type: str
    content: bytes


def _assets() -> dict[str, Asset]:
    kinds = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
    found = {}
    for path in sorted((_FOLDER / "static").iterdir()):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        found[path.name] = Asset(f"{path.stem}-{digest}{path.suffix}", kinds[path.suffix], content)
    return found


_ASSETS = _assets()
_BY_NAME = {asset.name: asset for asset in _ASSETS.values()}


@get("/assets/{name:str}")
async def get_asset(name: FromPath[str]) -> Response[bytes]:
    """Return a file that pages load. It never changes: its name has the hash of its content."""
    asset = _BY_NAME.get(name)
    if asset is None:
        raise ProblemError(NotFound())
    caching = {"Cache-Control": f"public, max-age={_ASSETS_SECONDS}, immutable"}
    return Response(asset.content, media_type=asset.media_type, headers=HEADERS | caching)


def template_config() -> TemplateConfig[JinjaTemplateEngine]:
    """Return how pages are rendered: everything is escaped, and a name that is not there is a fault."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= formats.FILTERS
    environment.globals |= {"sections": SECTIONS, "service_version": version("funds-transfer-service")}
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment))


def console_url(request: Request[Any, Any, Any], *segments: object, **query: Any) -> str:
    """Return the path of a page of the console, with what is not empty of ``query``."""
    path = "/".join([public_prefix(request.scope), "console", *(quote(str(one), safe="") for one in segments)])
    if not path.startswith("/"):
        path = f"/{path}"
    given = urlencode([(name, value) for name, value in query.items() if value not in {None, ""}])
    return f"{path}?{given}" if given else path


def page(
    request: Request[Any, Any, Any],
    template: str,
    *,
    status: int = 200,
    cookies: Iterable[Cookie] = (),
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> Template:
    """Return the page that ``template`` makes of ``context``."""
    known = {
        "url": lambda *segments, **query: console_url(request, *segments, **query),
        "asset": lambda name: console_url(request, "assets", _ASSETS[name].name),
        "visit": None,
        "ledger": None,
        "section": None,
    }
    return Template(
        template,
        context=known | context,
        status_code=status,
        cookies=list(cookies),
        headers=HEADERS | dict(headers or {}),
        media_type=MediaType.HTML,
    )


def download(content: bytes, name: str, media_type: str) -> Response[bytes]:
    """Return the answer that a browser keeps as a file."""
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=HEADERS | disposition)


def redirect(location: str, *, cookies: Iterable[Cookie] = ()) -> Redirect:
    """Return the answer that sends a browser to read ``location``, also after a form."""
    return Redirect(location, status_code=303, cookies=list(cookies), headers=HEADERS)
