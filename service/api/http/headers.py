"""Request headers: those that say one thing come once, and what they say of a body must be what the route takes."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, cast

from litestar.types import HTTPScope, Receive

from service.errors import ProblemError
from service.wire.errors import MalformedError
from service.wire.reasons import IdempotencyKeyInvalid, UnsupportedMediaType

_ONCE = (b"authorization", b"content-type", b"content-encoding", b"if-match")
_JSON = b"application/json"
_UTF_8 = {b"utf-8", b"utf8"}
_PLAIN_CODINGS = {b"", b"identity"}


_ANSWER_HEADERS = "funds_answer_headers"


def add_to_answer(scope: HTTPScope, headers: Mapping[str, str]) -> None:
    """Have the answer to the request of ``scope`` carry ``headers`` too, whatever it will be."""
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    cast("dict[str, Any]", scope).setdefault(_ANSWER_HEADERS, []).extend(raw)


def added_to_answer(scope: HTTPScope) -> list[tuple[bytes, bytes]]:
    """Return the headers that ``add_to_answer`` was given."""
    added: list[tuple[bytes, bytes]] = cast("dict[str, Any]", scope).get(_ANSWER_HEADERS, [])
    return added


def refuse_repeated(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Check that no header is repeated that says one thing: of two, a proxy could read the other.

    Raises ProblemError (idempotency_key_invalid) or MalformedError.
    """
    names = [name for name, _ in headers]
    if len(set(names)) == len(names):
        return
    counts = Counter(names)
    if counts[b"idempotency-key"] > 1:
        raise ProblemError(IdempotencyKeyInvalid())
    for name in _ONCE:
        if counts[name] > 1:
            raise MalformedError(f"/header/{name.decode().title()}", "given more than once")


def refuse_other_media_types(content_type: bytes | None) -> None:
    """Check that a body is called JSON, and its characters UTF-8, if they are called anything.

    Raises ProblemError (unsupported_media_type).
    """
    if content_type is None or content_type == _JSON:
        return
    media_type, *parameters = content_type.split(b";")
    if media_type.strip().lower() != _JSON:
        raise ProblemError(UnsupportedMediaType())
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() == b"charset" and value.strip(b' \t"').lower() not in _UTF_8:
            raise ProblemError(
                UnsupportedMediaType(), "The body's charset is not UTF-8; send UTF-8, with or without saying so."
            )


def refuse_codings(content_encoding: bytes | None) -> None:
    """Check that a body comes as it is: nothing is unpacked here. Raises ProblemError (unsupported_media_type)."""
    if content_encoding is None:
        return
    if any(coding.strip().lower() not in _PLAIN_CODINGS for coding in content_encoding.split(b",")):
        raise ProblemError(
            UnsupportedMediaType(), "The body is compressed or encoded; send plain JSON, without Content-Encoding."
        )


async def refuse_body(headers: dict[bytes, bytes], receive: Receive) -> None:
    """Check that a request has no body. A body of zero bytes counts as no body. Raises MalformedError."""
    told = headers.get(b"content-length", b"0").strip(b"0 ") != b""
    if told or (b"transfer-encoding" in headers and await _has_bytes(receive)):
        raise MalformedError("", "this operation takes no body; send none")


async def _has_bytes(receive: Receive) -> bool:
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            return bool(message.get("body"))
        if message["body"]:
            return True
