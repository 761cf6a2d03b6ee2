"""Calls of the application as a server makes them, for paths and bodies that no client library would send."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.support.application import Application


@dataclass(frozen=True)
class Sent:
    """A request as the server hands it over; without a told length, its body comes in the parts given."""

    method: str
    path: str
    body: bytes | Sequence[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_off: bool = False


@dataclass(frozen=True)
class Answered:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


async def call(application: Application, sent: Sent) -> Answered:
    """Call the application as a server does."""
    parts = [sent.body] if isinstance(sent.body, bytes) else list(sent.body)
    headers = {"host": "funds", "authorization": f"Bearer {application.settings.admin_token}"}
    if not isinstance(sent.body, bytes):
        headers["transfer-encoding"] = "chunked"
    elif sent.body:
        headers["content-length"] = str(len(sent.body))
    path, _, query = sent.path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": sent.method,
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers | sent.headers).items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    incoming: list[Any] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    incoming[-1]["more_body"] = sent.cut_off
    outgoing: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        outgoing.append(message)

    await application.app(scope, receive, send)  # type: ignore[arg-type]
    start, *rest = outgoing
    body = b"".join(message.get("body", b"") for message in rest)
    return Answered(start["status"], sorted(tuple(header) for header in start["headers"]), body)
