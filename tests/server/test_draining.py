"""The end of a server: it announces the end, finishes the requests under way, then closes all connections."""

import threading
import time

from tests.server.conftest import Serve, Served, eventually
from tests.server.test_connection import get_answer, refused


def drain(served: Served) -> None:
    served.call(lambda: setattr(served.server, "draining", True))
    eventually(lambda: served.server.draining)


def test_draining_takes_new_requests_and_ends_each_connection(served: Served) -> None:
    kept = served.peer()
    kept.get("/echo")
    get_answer(kept)
    drain(served)
    for peer in (kept, served.peer()):
        peer.get("/echo")
        answer = peer.answer()
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert peer.ended()


def test_stopping_finishes_what_is_under_way(served: Served) -> None:
    idle, answering, sending = served.peer(), served.peer(), served.peer()
    answering.get("/gated")
    sending.get("/echo", "Content-Length: 3", method="POST")
    eventually(lambda: len(served.scopes) == 2)
    served.stop_slowly()
    assert idle.ended()
    sending.send(b"abc")
    assert get_answer(sending) == b"abc"
    assert not served.stopped()
    served.gate.set()
    assert get_answer(answering) == b"late"
    eventually(served.stopped)


def test_a_head_under_way_is_still_answered(served: Served) -> None:
    peer = served.peer()
    peer.send(b"GET /echo HTTP/1.1\r\nHo")
    time.sleep(0.1)
    served.stop_slowly()
    time.sleep(0.1)
    peer.send(b"st: funds\r\n\r\n")
    assert get_answer(peer) == b""
    eventually(served.stopped)


def test_a_slow_body_does_not_hold_the_end_up(serve: Serve) -> None:
    served = serve(body_seconds_max=600, drain_seconds_max=600)
    peer = served.peer()
    peer.get("/echo", "Content-Length: 1000000", method="POST")
    eventually(lambda: bool(served.scopes))
    served.stop_slowly()
    dribbling = threading.Thread(target=_dribble, args=(peer,), daemon=True)
    dribbling.start()
    eventually(served.stopped)


def test_a_slow_body_is_told_so(serve: Serve) -> None:
    served = serve(body_seconds_max=60, drain_seconds_max=60)
    peer = served.peer()
    peer.get("/echo", "Content-Length: 10", method="POST")
    eventually(lambda: bool(served.scopes))
    served.stop_slowly()
    refused(peer, 408, "request_timeout")
    eventually(served.stopped)


def test_an_application_that_does_not_answer_is_given_up(serve: Serve) -> None:
    served = serve(drain_seconds_max=0.5)
    peer = served.peer()
    peer.get("/gated")
    eventually(lambda: bool(served.scopes))
    served.stop_slowly()
    assert peer.ended()


def _dribble(peer: object) -> None:
    try:
        while True:
            peer.send(b"x")  # type: ignore[attr-defined]
            time.sleep(0.1)
    except OSError:
        return
