"""One connection: requests are answered one after the other, and what is not HTTP/1.1 is refused."""

import socket
import struct

import pytest

from tests.server.conftest import Peer, Serve, Served, eventually

GET = b"GET /echo HTTP/1.1\r\nHost: funds\r\n\r\n"


def get_answer(peer: Peer, status: int = 200) -> bytes:
    answer = peer.answer()
    assert answer is not None
    assert answer.status == status, answer
    return answer.body


def refused(peer: Peer, status: int, code: str) -> str:
    """Read a refusal, after which the server closes; return its detail."""
    answer = peer.answer()
    assert answer is not None
    assert (answer.status, answer.code) == (status, code), answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert peer.ended()
    return answer.body.decode()


def test_a_connection_is_kept(served: Served) -> None:
    peer = served.peer()
    for number in range(3):
        peer.post("/echo", b"%d" % number)
        assert get_answer(peer) == b"%d" % number


def test_what_the_application_is_told(served: Served) -> None:
    peer = served.peer()
    peer.get("/echo/%41%2fb?q=%20", "X-Name:  \t value \t ", "x-name: second")
    get_answer(peer)
    [scope] = served.scopes
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/echo/A/b", b"/echo/%41%2fb", b"q=%20")
    assert scope["headers"] == [(b"host", b"funds"), (b"x-name", b"value"), (b"x-name", b"second")]
    assert (scope["method"], scope["http_version"], scope["client"][0]) == ("GET", "1.1", "127.0.0.1")


def test_answers_have_a_date_and_name_no_server(served: Served) -> None:
    peer = served.peer()
    peer.get("/echo")
    answer = peer.answer()
    assert answer is not None
    assert answer.headers["date"].endswith(" GMT")
    assert "server" not in answer.headers
    assert "connection" not in answer.headers


def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    peer = served.peer()
    peer.get("/gated")
    for number in range(50):
        peer.post("/echo", b"%d" % number)
    eventually(lambda: bool(served.scopes))
    assert len(served.scopes) == 1, "one at a time"
    served.gate.set()
    assert get_answer(peer) == b"late"
    assert [get_answer(peer) for _ in range(50)] == [b"%d" % number for number in range(50)]


def test_a_request_that_cannot_be_read_is_refused_after_those_before_it(served: Served) -> None:
    peer = served.peer()
    peer.send(b"GET /gated HTTP/1.1\r\nHost: funds\r\n\r\n" + GET + b"nonsense\r\n\r\n" + GET)
    eventually(lambda: bool(served.scopes))
    served.gate.set()
    assert get_answer(peer) == b"late"
    assert get_answer(peer) == b""
    refused(peer, 400, "malformed_request")


def test_a_client_that_closes_its_side_is_answered(served: Served) -> None:
    peer = served.peer()
    peer.post("/gated", b"")
    peer.get("/echo")
    peer.socket.shutdown(1)
    served.gate.set()
    assert get_answer(peer) == b"late"
    assert get_answer(peer) == b""
    assert peer.ended()


def test_a_body_that_is_cut_off_ends_with_a_disconnect(served: Served) -> None:
    peer = served.peer()
    peer.get("/echo", "Content-Length: 10", method="POST")
    peer.send(b"12345")
    peer.socket.shutdown(1)
    assert get_answer(peer) == b"12345!"
    assert peer.ended()


def test_a_client_that_leaves_cancels_nothing(served: Served) -> None:
    peer = served.peer()
    peer.get("/gated")
    eventually(lambda: bool(served.scopes))
    peer.socket.close()
    served.gate.set()
    other = served.peer()
    other.get("/echo")
    assert get_answer(other) == b""


@pytest.mark.parametrize("end", ["Connection: close", "connection: Close, x"])
def test_the_client_asks_for_the_end(served: Served, end: str) -> None:
    peer = served.peer()
    peer.get("/echo", end)
    peer.send(GET)  # is not taken any more
    answer = peer.answer()
    assert answer is not None
    assert answer.headers["connection"] == "close"
    assert peer.ended()
    assert len(served.scopes) == 1


def test_http_1_0(served: Served) -> None:
    peer = served.peer()
    peer.send(b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert get_answer(peer) == b""
    assert peer.ended()


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
@pytest.mark.parametrize("body", [b"", b"12345"])
def test_another_protocol_is_declined(served: Served, offer: str, body: bytes) -> None:
    """Some clients offer HTTP/2 with every first request, and go on with HTTP/1.1 when the answer is in HTTP/1.1."""
    peer = served.peer()
    offered = ["Connection: Upgrade, HTTP2-Settings", f"Upgrade: {offer}", "HTTP2-Settings: AAE"]
    if body:
        peer.post("/echo", body, *offered)
    else:
        peer.get("/echo", *offered)
    assert get_answer(peer) == body
    peer.post("/echo", b"next")
    assert get_answer(peer) == b"next"


def test_a_body_is_asked_for(served: Served) -> None:
    peer = served.peer()
    peer.get("/echo", "Content-Length: 3", "Expect: 100-continue", method="POST")
    interim = peer.answer()
    assert interim is not None
    assert interim.status == 100
    peer.send(b"abc")
    assert get_answer(peer) == b"abc"


def test_a_body_that_is_not_asked_for_is_not_awaited(served: Served) -> None:
    peer = served.peer()
    peer.get("/early", "Content-Length: 3", "Expect: 100-continue", method="POST")
    assert get_answer(peer, 403) == b"no"
    assert peer.ended()


def test_an_answer_arrives_before_a_body_that_the_application_does_not_read(served: Served) -> None:
    peer = served.peer()
    for _ in range(2):  # and the connection goes on
        peer.post("/early", bytes(900_000))
        assert get_answer(peer, 403) == b"no"


def test_a_body_that_the_application_does_not_read_has_a_limit(served: Served) -> None:
    peer = served.peer()
    with pytest.raises(ConnectionError):
        peer.post("/early", bytes(64 * 2**20))


def test_an_answer_in_chunks(served: Served) -> None:
    peer = served.peer()
    peer.get("/stream/3")
    assert len(get_answer(peer)) == 3 * 2**20


def test_head_is_answered_without_a_body(served: Served) -> None:
    peer = served.peer()
    peer.get("/bytes/1000", method="HEAD")
    answer = peer.answer(head_only=True)
    assert answer is not None
    assert answer.headers["content-length"] == "1000"
    peer.get("/echo")
    assert get_answer(peer) == b""


def test_a_large_body_waits_until_it_is_wanted(served: Served) -> None:
    """The server does not fill its memory while the application is busy with something else."""
    peer = served.peer()
    peer.post("/gated", b"")
    eventually(lambda: bool(served.scopes))
    peer.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        peer.post("/echo", bytes(64 * 2**20))


@pytest.mark.parametrize("fault", ["early", "silent", "header", "length"])
def test_a_fault_of_the_application_is_a_problem(served: Served, fault: str) -> None:
    peer = served.peer()
    peer.get(f"/fault/{fault}")
    refused(peer, 500, "internal_error")


def test_a_fault_in_the_middle_of_an_answer_ends_the_connection(served: Served) -> None:
    peer = served.peer()
    peer.get("/fault/late")
    with pytest.raises((AssertionError, ConnectionError)):
        peer.answer()


@pytest.mark.parametrize(
    "broken",
    [
        b"GET /echo HTTP/1.1\nHost: funds\n\n",
        b"GET /echo HTTP/1.1\r\nHost: funds\nX: y\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: funds\rX: y\r\n\r\n",
        b"GET /echo HTTP/1.1\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: funds\r\nHost: funds\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: fu nds\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: funds/x\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: a@b\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost : funds\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: funds\r\nX: y\r\n z\r\n\r\n",
        b"GET /echo HTTP/2.0\r\nHost: funds\r\n\r\n",
        b"GET /echo HTTP/1.2\r\nHost: funds\r\n\r\n",
        b"GET /echo\r\n\r\n",
        b"GET echo HTTP/1.1\r\nHost: funds\r\n\r\n",
        b"GET /echo#x HTTP/1.1\r\nHost: funds\r\n\r\n",
        b"CONNECT funds:80 HTTP/1.1\r\nHost: funds\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: funds\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: funds\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: funds\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nHost: funds\r\nContent-Length: +3\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nHost: funds\r\nContent-Length: 3, 3\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nHost: funds\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: funds\r\nTransfer-Encoding: identity\r\n\r\n",
        b"POST /echo HTTP/1.0\r\nHost: funds\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: funds\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    ],
    ids=lambda broken: repr(broken[:70]),
)
def test_what_others_could_understand_differently_is_refused(served: Served, broken: bytes) -> None:
    peer = served.peer()
    peer.send(broken + GET)
    refused(peer, 400, "malformed_request")
    assert all(message == "http.disconnect" for message in served.messages), "nothing was taken for a request"


@pytest.mark.parametrize("host", ["funds", "funds.bank:8000", "127.0.0.1", "[::1]:80", ""])
def test_hosts(served: Served, host: str) -> None:
    peer = served.peer()
    peer.send(f"GET /echo HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert get_answer(peer) == b""


@pytest.mark.parametrize(
    ("target", "raw_path"), [("http://other/echo?x", b"/echo"), ("HTTPS://other:1/echo", b"/echo"), ("/echo", b"/echo")]
)
def test_targets(served: Served, target: str, raw_path: bytes) -> None:
    peer = served.peer()
    peer.send(f"GET {target} HTTP/1.1\r\nHost: funds\r\n\r\n".encode())
    get_answer(peer)
    assert served.scopes[0]["raw_path"] == raw_path


def test_a_head_has_a_size(served: Served) -> None:
    peer = served.peer()
    peer.get("/echo", f"X: {'x' * 2**20}")
    assert "16384 bytes" in refused(peer, 431, "request_header_too_large")
    peer = served.peer()
    peer.get("/echo", *(f"X{number}: y" for number in range(200)))
    refused(peer, 431, "request_header_too_large")
    peer = served.peer()
    peer.get(f"/echo/{'x' * 10_000}")
    refused(peer, 414, "uri_too_long")
    peer = served.peer()
    peer.get(f"/echo/{'x' * 2**20}")
    refused(peer, 414, "uri_too_long")


def test_trailers_are_dropped(served: Served) -> None:
    peer = served.peer()
    peer.get("/echo", "Transfer-Encoding: chunked", method="POST")
    peer.send(b"3;x=y\r\nabc\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
    assert get_answer(peer) == b"abc"
    peer.get("/echo")
    assert get_answer(peer) == b""
    assert all(name != b"authorization" for scope in served.scopes for name, _ in scope["headers"])


def test_byte_by_byte(serve: Serve) -> None:
    served = serve()
    peer = served.peer()
    for byte in b"POST /echo HTTP/1.1\r\nHost: funds\r\nContent-Length: 3\r\n\r\nabc":
        peer.send(bytes([byte]))
    assert get_answer(peer) == b"abc"


@pytest.mark.parametrize("rudely", [False, True])
def test_a_long_answer_ends_when_its_peer_goes(
    served: Served, caplog: pytest.LogCaptureFixture, *, rudely: bool
) -> None:
    """Nothing is wrong then."""
    peer = served.peer()
    peer.get("/until_gone")
    eventually(lambda: peer.begins_with(b"HTTP/1.1 200"))
    assert served.messages == ["http.request"]
    if rudely:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()
    eventually(lambda: served.messages == ["http.request", "http.disconnect"])
    eventually(served.idle)
    assert not caplog.records


def test_waiting_for_the_peer_to_go_ends_with_the_answer(served: Served) -> None:
    peer = served.peer()
    for _ in range(2):
        peer.get("/ended_meanwhile")
        assert get_answer(peer) == b"whole"
    eventually(lambda: served.messages == 2 * ["http.request", "http.disconnect"])
