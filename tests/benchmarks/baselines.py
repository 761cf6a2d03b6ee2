"""What the server can do at most: an application that does nothing, with Litestar and without anything."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Litestar, get

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_BODY = b'{"ok":true}'


@get("/{path:path}")
async def answer() -> dict[str, bool]:
    """Answer with a little JSON."""
    return {"ok": True}


def empty_litestar() -> Litestar:
    """Return a Litestar application with one handler that does nothing."""
    return Litestar([answer], openapi_config=None)


async def bare_asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer every request with 201 and a little JSON: the ceiling of server and load generator together."""
    del scope
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY, "more_body": False})
