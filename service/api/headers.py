"""Request headers: those that say one thing come once, and a body says that it is JSON."""

from collections import Counter
from collections.abc import Iterable

from service.api.problems import ProblemError, malformed

_ONCE = (b"authorization", b"content-type", b"if-match")
_JSON = b"application/json"


def refuse_repeated(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Check that no header is repeated that says one thing: of two, a proxy could read the other.

    Raises ProblemError (idempotency_key_invalid, malformed_request).
    """
    names = [name for name, _ in headers]
    if len(set(names)) == len(names):
        return
    counts = Counter(names)
    if counts[b"idempotency-key"] > 1:
        raise ProblemError("idempotency_key_invalid")
    for name in _ONCE:
        if counts[name] > 1:
            raise malformed(f"/header/{name.decode().title()}", "given more than once")


def refuse_other_media_types(content_type: bytes | None) -> None:
    """Check that a body is called JSON, if it is called anything. Raises ProblemError (unsupported_media_type)."""
    if content_type is None or content_type == _JSON:
        return
    if content_type.partition(b";")[0].strip().lower() != _JSON:
        raise ProblemError("unsupported_media_type")
