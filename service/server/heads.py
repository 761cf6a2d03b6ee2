"""Checks of a request's head that the parser leaves to its user (RFC 9112)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from service.server.errors import RefusedError
from service.server.limits import HEADERS_MAX
from service.server.refusals import Refusal

TARGET_BYTES_MAX = 8 * 1024

Header = tuple[bytes, bytes]
"""A name in lower case, and its value."""

_VERSIONS = frozenset({"1.0", "1.1"})
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"https?://[^/?]*", re.IGNORECASE)
_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})


def check_head(version: str, headers: Sequence[Header], values: Mapping[bytes, bytes]) -> None:
    """Check that a head has a version that is served, one valid Host, no transfer coding but ``chunked``, and at most
    HEADERS_MAX headers.

    ``values`` are the headers by name. Raises RefusedError.
    """
    if version not in _VERSIONS:
        raise RefusedError(Refusal.MALFORMED, "HTTP/1.1 and HTTP/1.0 are served, no other version.")
    if len(headers) > HEADERS_MAX:
        raise RefusedError(Refusal.HEAD_TOO_LARGE, f"A request has at most {HEADERS_MAX} headers.")
    host = values.get(b"host")
    if host is None:
        if version == "1.1":
            raise RefusedError(Refusal.MALFORMED, "A request of HTTP/1.1 needs a Host header.")
    elif not _is_host(host):
        raise RefusedError(Refusal.MALFORMED, "The Host header must be a host and perhaps a port.")
    if len(values) != len(headers) and sum(name == b"host" for name, _ in headers) > 1:
        raise RefusedError(Refusal.MALFORMED, "The Host header came more than once.")
    coding = values.get(b"transfer-encoding")
    if coding is not None and (version == "1.0" or coding.lower() != b"chunked"):
        raise RefusedError(Refusal.MALFORMED, "The only transfer coding is `chunked`, in HTTP/1.1.")


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request's target, in origin or absolute form. Raises RefusedError."""
    if len(target) > TARGET_BYTES_MAX:
        raise RefusedError(Refusal.TARGET_TOO_LONG, f"A target has at most {TARGET_BYTES_MAX} bytes.")
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.match(target)
        if absolute is not None:
            target = target[absolute.end() :]
            target = target if target.startswith(b"/") else b"/" + target
        elif target != b"*":
            raise RefusedError(Refusal.MALFORMED, "The target of a request must be a path that begins with `/`.")
    if b"#" in target:
        raise RefusedError(Refusal.MALFORMED, "A fragment (`#…`) is never sent to a server; write `#` as `%23`.")
    raw_path, _, query = target.partition(b"?")
    return raw_path, query


def without_upgrade(method: bytes, target: bytes, headers: Iterable[Header]) -> bytes:
    """Return the head of an HTTP/1.1 request without its offer to change to another protocol."""
    headers = list(headers)
    kept = [(name, value) for name, value in headers if name not in _UPGRADE_HEADERS]
    options = b",".join(value for name, value in headers if name == b"connection").lower().split(b",")
    if b"close" in [option.strip() for option in options]:
        kept.append((b"connection", b"close"))
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target), *(b"%b: %b\r\n" % header for header in kept), b"\r\n"]
    return b"".join(lines)


@lru_cache(maxsize=64)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None
