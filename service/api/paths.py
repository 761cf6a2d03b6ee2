"""Paths with an escaped slash: it belongs to a segment, and routing must not split there."""

import re
from urllib.parse import unquote

from litestar.types import HTTPScope

ESCAPED_SLASH = "\x1f"
"""Stands for an escaped slash in a segment of a path; no key or name that the API takes can contain it."""

_PERCENT_ENCODED = re.compile(rb"%2f", re.IGNORECASE)


def keep_escaped_slashes(scope: HTTPScope) -> None:
    """Tell escaped slashes apart from those between segments: Litestar routes by the decoded path."""
    raw_path = scope.get("raw_path") or b""
    if b"%2" in raw_path and _PERCENT_ENCODED.search(raw_path):
        escaped = _PERCENT_ENCODED.sub(ESCAPED_SLASH.encode(), raw_path.partition(b"?")[0])
        scope["path"] = unquote(escaped.decode("latin-1"))
