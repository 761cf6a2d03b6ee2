"""Asking the service of this process, as a caller with the admin's token does, without a connection."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from funds_testing.errors import AskedInVainError
from funds_testing.server.faults import Application

_BAD_REQUEST = 400


class Asking:
    """Asks ``app`` with ``token``."""

    def __init__(self, app: Application, token: str) -> None:
        self._app = app
        self._authorization = b"authorization", f"Bearer {token}".encode()

    async def get(self, path: str, **query: Any) -> Any:
        """Return what is answered to a GET. Raises AskedInVainError."""
        return await self._ask("GET", path, query, b"", [])

    async def post(self, path: str, body: Mapping[str, Any], *, key: str) -> Any:
        """Return what is answered to a POST under an idempotency key. Raises AskedInVainError."""
        headers = [(b"content-type", b"application/json"), (b"idempotency-key", key.encode())]
        return await self._ask("POST", path, {}, msgspec.json.encode(body), headers)

    async def _ask(
        self, method: str, path: str, query: Mapping[str, Any], body: bytes, headers: list[tuple[bytes, bytes]]
    ) -> Any:
        status, content = 0, b""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Mapping[str, Any]) -> None:
            nonlocal status, content
            status = message.get("status", status)
            content += message.get("body", b"")

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(query).encode(),
            "root_path": "",
            "headers": [self._authorization, *headers],
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 0),
            "state": {},
        }
        await self._app(scope, receive, send)
        if status >= _BAD_REQUEST:
            raise AskedInVainError(content.decode())
        return msgspec.json.decode(content)
