"""The application of the operations listener: what machines that watch the service ask, and nothing else."""

from typing import Any

from litestar import Litestar
from litestar.enums import ScopeType

from service.server.refusals import Refusal, Refuse

_PATHS = ("/health/", "/problems/")


def only_operations(app: Litestar, refuse: Refuse) -> Any:
    """Return an ASGI application that serves of ``app`` what watches over the service; the rest is not found here."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"].startswith(_PATHS):
            await app(scope, receive, send)
            return
        status, headers, body = refuse(Refusal.NOT_FOUND, "", scope)
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return serve
