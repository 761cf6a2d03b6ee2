"""Paths with an escaped slash: it belongs to a segment, and routing must not split there."""

import re
from typing import Any, cast
from urllib.parse import unquote

from litestar import Litestar
from litestar.types import LifeSpanReceive, LifeSpanScope, LifeSpanSend, Receive, Scope, Send

ESCAPED_SLASH = "\x1f"
"""Stands for an escaped slash in a segment of a path; no key or name that the API takes can contain it."""

_PERCENT_ENCODED = re.compile(rb"%2f", re.IGNORECASE)


class Application(Litestar):
    """Litestar, which routes by the decoded path, with escaped slashes kept apart from those between segments."""

    async def __call__(
        self, scope: Scope | LifeSpanScope, receive: Receive | LifeSpanReceive, send: Send | LifeSpanSend
    ) -> None:
        """Serve one connection."""
        http = cast("dict[str, Any]", scope)
        raw_path: bytes = http.get("raw_path") or b""
        if b"%2" in raw_path and _PERCENT_ENCODED.search(raw_path):
            escaped = _PERCENT_ENCODED.sub(ESCAPED_SLASH.encode(), raw_path.partition(b"?")[0])
            http["path"] = unquote(escaped.decode("latin-1"))
        await super().__call__(scope, receive, send)
