"""Bytes at the parser of HTTP/1.1, cut into any parts: what it makes of them does not depend on where they are cut."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.server.refusals import Refusal
from service.server.requests import RequestParser
from tests.fuzz.drawing import changed, fuzzed

HEAD_BYTES_MAX = 4096
_BODY = b'{"amount":1}'
SAMPLES = [
    b"GET /v1/ledgers?limit=5 HTTP/1.1\r\nHost: funds\r\nX-Request-Id: a\r\n\r\n",
    b"POST /v1/ledgers HTTP/1.1\r\nHost: funds:8000\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY),
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: t\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    b"PUT http://funds/x HTTP/1.1\r\nHost: funds\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
]
TOKENS = [
    *(
        b"Content-Length: 5\r\n",
        b"Content-Length: 05\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
    ),
    *(
        b"Host: b\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b" folded\r\n",
        b"HTTP/1.1",
        b"HTTP/0.9",
        b"HTTP/2.0",
        b"CONNECT a:1 ",
        b"PRI * ",
    ),
    *(
        b"Upgrade: websocket\r\n",
        b"Connection: close\r\n",
        b"#",
        b"?",
        b"*",
        b"0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\n",
        b"\x00",
    ),
]


class Recorder:
    """Stands in the place of a connection, and keeps what the parser calls it for; the parts of a body as one."""

    peer, own = ("127.0.0.1", 1), ("127.0.0.1", 2)

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.refused = False
        self._keep_alive = True

    def begin_request(self, scope: dict[str, Any], *, keep_alive: bool, continue_expected: bool) -> None:
        self._keep_alive = keep_alive
        told = {name: scope[name] for name in ("http_version", "method", "raw_path", "path", "query_string", "headers")}
        self.calls.append(("head", told, keep_alive, continue_expected))

    def add_body(self, chunk: bytes) -> None:
        if self.calls and self.calls[-1][0] == "body":
            chunk = self.calls.pop()[1] + chunk
        self.calls.append(("body", chunk))

    def end_body(self) -> None:
        self.calls.append(("end",))

    def last_was_answered(self) -> bool:
        return bool(self.calls) and self.calls[-1] == ("end",) and not self._keep_alive

    def refuse(self, refusal: Refusal, detail: str) -> None:
        assert detail
        self.refused = True
        self.calls.append(("refused", refusal))


def parsed(*parts: bytes) -> list[tuple[Any, ...]]:
    """Return what the parser makes of ``parts``, fed as a connection does it: nothing more after a refusal."""
    recorder = Recorder()
    parser = RequestParser(recorder)  # type: ignore[arg-type]
    for part in parts:
        if recorder.refused:
            break
        parser.feed(memoryview(part))
        if parser.in_head and not recorder.refused:
            parser.count_head(len(part), HEAD_BYTES_MAX)
    return recorder.calls


def _cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@fuzzed(200)
@given(data=changed(SAMPLES, TOKENS), places=st.lists(st.integers(0, 1_000), max_size=6))
def test_any_parts_are_parsed_as_the_whole(data: bytes, places: list[int]) -> None:
    assert parsed(*_cut(data, places)) == parsed(data)


@fuzzed(40)
@given(data=changed(SAMPLES, TOKENS))
def test_byte_by_byte_it_is_the_same(data: bytes) -> None:
    assert parsed(*(bytes([byte]) for byte in data)) == parsed(data)


@fuzzed(100)
@given(data=changed(SAMPLES, TOKENS))
def test_what_is_handed_on_is_one_request_for_everybody(data: bytes) -> None:
    """What proxies read otherwise never gets here: two lengths, a length beside chunks, line ends in a header."""
    for call in parsed(data):
        if call[0] == "head":
            headers = call[1]["headers"]
            lengths = [value for name, value in headers if name == b"content-length"]
            assert len(lengths) <= 1
            assert all(length.isdigit() for length in lengths)
            assert not (lengths and any(name == b"transfer-encoding" for name, _ in headers))
            assert not any(byte in value for _, value in headers for byte in (b"\r", b"\n", b"\0"))
            assert call[1]["raw_path"].startswith((b"/", b"*"))


def test_a_head_without_an_end_is_refused() -> None:
    """However it comes, and before it fills the memory."""
    for line in (b"GET /" + b"a" * 100, b"X: y\r\n", b"A" * 64):
        head = SAMPLES[0][:-2] + line * (3 * HEAD_BYTES_MAX // len(line))
        for size in (1, 7, 1000, 4096):
            calls = parsed(*(head[begin : begin + size] for begin in range(0, len(head), size)))
            assert calls[-1][0] == "refused"
            assert len(calls) == 1
