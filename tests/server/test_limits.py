"""Peers that are slow, silent or too many: each is limited, and no other peer waits for it."""

import select
import threading
import time

import pytest

from tests.server.conftest import SECONDS_MAX, Peer, Serve, Served, eventually
from tests.server.test_connection import get_answer, refused

MANY = 300
TRIES = 5
PAUSE_SECONDS = 0.1


def answers_at_once(served: Served) -> None:
    """A new request on a new connection is answered without delay.

    The machine may be busy with others, so there are several tries. What holds a server up must last longer than they
    do: then it delays every one.
    """
    assert any(seconds_to_answer(served) < 0.5 for _ in range(TRIES))


def seconds_to_answer(served: Served) -> float:
    began = time.monotonic()
    peer = served.peer()
    peer.get("/echo")
    assert get_answer(peer) == b""
    return time.monotonic() - began


def answered_before_all_came(peer: Peer, begun: bytes) -> bool:
    """Send ``begun``, and more of the same, byte by byte until the server answers: that it does so, and not when the
    bytes end, which they do after SECONDS_MAX at the earliest.
    """
    for byte in begun + b"x" * int(SECONDS_MAX / PAUSE_SECONDS):
        peer.send(bytes([byte]))
        if select.select([peer.socket], [], [], PAUSE_SECONDS)[0]:
            return True
    return False


def test_an_idle_connection_is_closed(served: Served) -> None:
    peers = [served.peer(), served.peer()]
    peers[1].get("/echo")
    get_answer(peers[1])
    began = time.monotonic()
    assert all(peer.ended() for peer in peers)
    assert time.monotonic() - began > 0.5


def test_a_head_that_comes_slowly(served: Served) -> None:
    peer = served.peer()
    assert answered_before_all_came(peer, b"GET /echo HTTP/1.1\r\nHost: funds\r\nX: ")
    refused(peer, 408, "request_timeout")
    answers_at_once(served)


def test_a_body_that_comes_slowly(served: Served) -> None:
    """A single byte now and then is not enough: the rate counts."""
    peer = served.peer()
    peer.get("/echo", "Content-Length: 1000", method="POST")
    assert answered_before_all_came(peer, b"")
    refused(peer, 408, "request_timeout")
    eventually(lambda: "http.disconnect" in served.messages)
    answers_at_once(served)


def test_a_body_that_stops(served: Served) -> None:
    """Bytes that came quickly give no more time for the rest; at the rate they would give half an hour."""
    peer = served.peer()
    peer.get("/echo", "Content-Length: 2000000", method="POST")
    peer.send(bytes(1_900_000))
    refused(peer, 408, "request_timeout")


def test_a_body_that_comes_steadily_is_taken(served: Served) -> None:
    peer = served.peer()
    peer.get("/echo", "Content-Length: 4000", method="POST")
    for _ in range(8):
        peer.send(bytes(500))
        time.sleep(0.25)
    assert len(get_answer(peer)) == 4000


def test_waiting_for_the_application_is_not_the_peers_fault(served: Served) -> None:
    peer = served.peer()
    peer.post("/gated", bytes(200_000))
    time.sleep(2.5)  # longer than any limit for peers
    served.gate.set()
    assert get_answer(peer) == b"late"


def test_a_peer_that_does_not_read_is_cut_off(served: Served) -> None:
    peer = served.peer(receive_bytes=4096)
    peer.get("/bytes/7000000")
    eventually(lambda: served.server.unsent_bytes > 0)
    eventually(lambda: served.server.unsent_bytes == 0)
    with pytest.raises((AssertionError, ConnectionError)):
        get_answer(peer)


def test_a_peer_that_does_not_read_delays_no_other(serve: Serve) -> None:
    served = serve(write_seconds_max=60)
    served.peer(receive_bytes=4096).get("/bytes/7000000")
    eventually(lambda: served.server.unsent_bytes > 0)
    answers_at_once(served)
    assert served.server.unsent_bytes > 0


def test_a_peer_that_reads_slowly_but_steadily_gets_everything(serve: Serve) -> None:
    served = serve(rate_bytes_per_second_min=100_000)
    peer = served.peer(receive_bytes=65536)
    peer.get("/bytes/7000000")
    received = 0
    while received < 7_000_000:
        received += len(peer.socket.recv(1 << 16))
        time.sleep(0.005)


def test_a_long_answer_waits_for_its_reader(served: Served) -> None:
    """The application makes no more than the peer takes."""
    peer = served.peer(receive_bytes=4096)
    peer.get("/stream/50")
    eventually(lambda: served.server.unsent_bytes > 0)
    time.sleep(0.3)
    assert served.server.unsent_bytes <= 2 * 2**20
    assert served.messages.count("part") < 20


def test_a_body_that_comes_slowly_after_its_answer(served: Served) -> None:
    """The answer was large and is read in the end; the rest of the body still arrives, a byte at a time."""
    peer = served.peer(receive_bytes=65536)
    peer.get("/bytes/7000000", "Content-Length: 1000", method="POST")
    eventually(lambda: served.server.unsent_bytes > 0)
    assert len(get_answer(peer)) == 7_000_000
    assert answered_before_all_came(peer, b"")
    assert peer.ended()


def test_answers_that_peers_do_not_read_have_one_budget(serve: Serve) -> None:
    """The connection whose peer has been slow for longest is closed."""
    served = serve(write_seconds_max=60)
    peers = [served.peer(receive_bytes=4096) for _ in range(20)]
    for peer in peers:
        peer.get("/bytes/6000000")
        answers_at_once(served)
    assert served.server.unsent_bytes <= 8 * 2**20


def test_bodies_have_one_budget(serve: Serve) -> None:
    """Of six bodies four fit: two are refused, and in the end everything is free again."""
    served = serve(body_seconds_max=60)
    peers = [served.peer() for _ in range(6)]
    for peer in peers:
        peer.get("/echo", "Content-Length: 1000001", method="POST")
        peer.send(bytes(1_000_000))
    eventually(lambda: len(select.select([peer.socket for peer in peers], [], [], 0)[0]) == 2)
    answers = []
    for peer in peers:
        peer.send(b"x")
        answers.append(peer.answer())
    assert sorted(answer.status for answer in answers if answer is not None) == [200] * 4 + [503] * 2
    eventually(lambda: served.server.bodies_bytes == 0)


def test_requests_without_reading_answers(serve: Serve) -> None:
    """A pipeline whose answers are not read is not read on either."""
    served = serve(write_seconds_max=60)
    peer = served.peer(receive_bytes=4096)
    peer.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        peer.send(b"GET /bytes/10000 HTTP/1.1\r\nHost: funds\r\n\r\n" * 500_000)
    answers_at_once(served)


def test_too_many_connections(serve: Serve) -> None:
    """The connection that has waited longest for a request is closed; one that is being answered stays."""
    served = serve(connections_max=10, idle_seconds_max=60)
    busy = served.peer()
    busy.get("/gated")
    eventually(lambda: bool(served.scopes))
    waiting = [served.peer() for _ in range(15)]
    for peer in waiting[:6]:
        assert peer.ended()
    answers_at_once(served)
    served.gate.set()
    assert get_answer(busy) == b"late"
    waiting[-1].get("/echo")
    assert get_answer(waiting[-1]) == b""


def test_too_many_connections_that_are_all_being_answered(serve: Serve) -> None:
    """The new ones are closed."""
    served = serve(connections_max=3)
    busy = [served.peer() for _ in range(3)]
    for peer in busy:
        peer.get("/gated")
    eventually(lambda: len(served.scopes) == len(busy))
    assert all(peer.ended() for peer in [served.peer() for _ in range(5)])
    served.gate.set()
    assert [get_answer(peer) for peer in busy] == [b"late"] * len(busy)


@pytest.mark.parametrize(
    "begun", [b"", b"GET /echo HT", b"POST /echo HTTP/1.1\r\nHost: f\r\nContent-Length: 9\r\n\r\n1"]
)
def test_many_slow_peers_delay_no_other(serve: Serve, begun: bytes) -> None:
    served = serve(idle_seconds_max=60, head_seconds_max=60, body_seconds_max=60)
    for _ in range(MANY):
        served.peer().send(begun)
    answers_at_once(served)


def test_many_new_peers_are_accepted_in_a_few_iterations(served: Served) -> None:
    """Each iteration of the loop may be long. So a new peer must not wait for as many as there are peers before it."""
    held, resumed = threading.Event(), threading.Event()
    iterations = 0

    def hold() -> None:
        held.set()
        resumed.wait(SECONDS_MAX)
        count()

    def count() -> None:
        nonlocal iterations
        if len(served.scopes) < MANY:
            iterations += 1
            served.call(count)

    served.call(hold)
    assert held.wait(SECONDS_MAX)
    peers = [served.peer() for _ in range(MANY)]
    for peer in peers:
        peer.get("/echo")
    resumed.set()
    for peer in peers:
        assert get_answer(peer) == b""
    assert iterations < MANY / 4
