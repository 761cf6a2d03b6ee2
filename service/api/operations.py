"""The application of the operations listener: what machines that watch the service ask, and nothing else."""

import asyncio
from typing import Any

from litestar import Litestar
from litestar.enums import ScopeType

from service.api.http.problems import NOT_STORED
from service.server.refusals import Refusal, Refuse

_PATHS = ("/health/", "/problems/")
METRICS_PATH = "/metrics"


def only_operations(app: Litestar, refuse: Refuse, *, metrics: bool) -> Any:
    """Return an ASGI application that serves of ``app`` what watches over the service, and the ``metrics``, if there
    are any; the rest is not found here. Scrapes are neither logged nor counted.
    """

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"].startswith(_PATHS):
            await app(scope, receive, send)
            return
        if metrics and scope["path"] == METRICS_PATH and scope["method"] in {"GET", "HEAD"}:
            await _send_metrics(scope, send)
            return
        status, headers, body = refuse(Refusal.NOT_FOUND, "", scope)
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return serve


async def _send_metrics(scope: Any, send: Any) -> None:
    from service.telemetry.exposition import exposition  # noqa: PLC0415 - who has no metrics need not load it

    accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
    body, media_type = await asyncio.to_thread(exposition, accept)
    headers = [(b"content-type", media_type.encode()), NOT_STORED, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
