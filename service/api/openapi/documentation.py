"""The OpenAPI document and its page, which works without internet. The page's scripts and styles come with the extra
``docs``; where that is not installed, /docs answers the document itself.
"""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from litestar import Request, Router, get
from litestar.datastructures import CacheControlHeader
from litestar.enums import OpenAPIMediaType
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Server
from litestar.static_files import create_static_files_router

from service.api.openapi.document import Document
from service.errors import ProblemError
from service.wire.reasons import NotFound

_ASSETS_PATH = "/docs/assets"
_ASSETS_SECONDS = 3600
_BEARER = "A token of `funds tokens create`, or of an issuer that the installation names."


def openapi_config(path_prefix: str) -> OpenAPIConfig:
    """Return what the document says of the service as a whole, and where it is served: callers find it under
    ``path_prefix``.
    """
    return OpenAPIConfig(
        title="Funds transfer service",
        version=version("funds-transfer-service"),
        description=(
            "Moves money between accounts so that no failure, race or retry loses, invents or doubles a cent. Amounts"
            " are integers in minor units (ISO 4217). Every error is a problem (RFC 9457). HEAD"
            " is answered wherever GET is, without the body; OPTIONS lists the methods of any path. A path has one"
            " spelling, and no answer may be cached."
        ),
        use_handler_docstrings=True,
        servers=[Server(url=path_prefix or "/")],
        components=Components(
            security_schemes={"token": SecurityScheme(type="http", scheme="bearer", description=_BEARER)}
        ),
        security=[{"token": []}],
        openapi_router=Router(
            "/docs",
            route_handlers=[],
            before_request=prepare_page,
            opt={"scope": None},
            include_in_schema=False,
        ),
        render_plugins=[_page(path_prefix) if _assets() else JsonRenderPlugin(path="/")],
    )


def _page(path_prefix: str) -> OpenAPIRenderPlugin:
    """Return what makes the page, which loads what it needs from below ``path_prefix``."""
    assets = f"{path_prefix}{_ASSETS_PATH}"
    return SwaggerRenderPlugin(
        path="/",
        js_url=f"{assets}/swagger-ui-bundle.js",
        css_url=f"{assets}/swagger-ui.css",
        standalone_preset_js_url=f"{assets}/swagger-ui-standalone-preset.js",
        favicon=f"<link rel='icon' type='image/png' href='{assets}/favicon-32x32.png'>",
    )


def _assets() -> list[Path]:
    """Return the folder of the page's scripts and styles, in the package that carries them; none without it."""
    spec = find_spec("swagger_ui")
    return [] if spec is None or spec.origin is None else [Path(spec.origin).parent / "static"]


async def prepare_page(request: Request[Any, Any, Any]) -> None:
    """Have the document made that the page shows, and keep Litestar from answering an unknown page under /docs in HTML.

    Raises ProblemError (not_found).
    """
    if request.path_params:
        raise ProblemError(NotFound())
    await _document(request).text()


@get("/openapi.json", opt={"scope": None}, include_in_schema=False, media_type=OpenAPIMediaType.OPENAPI_JSON)
async def get_openapi(request: Request[Any, Any, Any]) -> bytes:
    """Return the OpenAPI document."""
    return await _document(request).text()


def _document(request: Request[Any, Any, Any]) -> Document:
    document: Document = request.app.state.document
    return document


def assets_routers() -> list[Router]:
    """Serve the page's scripts and styles, where they are installed."""
    return [
        create_static_files_router(
            path=_ASSETS_PATH,
            directories=[directory],
            cache_control=CacheControlHeader(public=True, max_age=_ASSETS_SECONDS),
            opt={"scope": None},
            include_in_schema=False,
        )
        for directory in _assets()
    ]
