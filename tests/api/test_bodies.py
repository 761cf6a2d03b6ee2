"""An answer waits until the request's body has come, but not for ever and not for any size."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service.api import bodies
from service.api.problems import ProblemError

MEBIBYTE = 2**20
ANSWER: Any = {"type": "http.response.start", "status": 401, "headers": []}


class Connection:
    """A server's side of one request, whose body comes as ``receive`` says."""

    def __init__(self, receive: Callable[[], Any], **headers: str) -> None:
        self.read = 0
        self.sent: list[Any] = []
        self._receive = receive
        given = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
        self.receive, self.send = bodies.read_before_answering(given, self._read, self._send)

    async def _read(self) -> Any:
        self.read += 1
        return await self._receive()

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


def _parts(count: int | None) -> Callable[[], Any]:
    """Return what receives ``count`` parts of a mebibyte; None for no end."""
    given = 0

    async def receive() -> Any:
        nonlocal given
        given += 1
        return {"type": "http.request", "body": bytes(MEBIBYTE), "more_body": given != count}

    return receive


async def _never() -> Any:
    await asyncio.Event().wait()


async def _gone() -> Any:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("headers", [{"content_length": "1"}, {"transfer_encoding": "chunked"}])
async def test_the_body_is_read_before_the_answer_is_sent(headers: dict[str, str]) -> None:
    connection = Connection(_parts(3), **headers)
    await connection.send(ANSWER)
    assert (connection.read, connection.sent) == (3, [ANSWER])


async def test_what_was_read_is_not_awaited_again() -> None:
    connection = Connection(_parts(1), content_length="1")
    await connection.receive()
    await connection.send(ANSWER)
    assert connection.read == 1


@pytest.mark.parametrize("headers", [{}, {"content_length": "0"}, {"content_length": "9", "expect": "100-continue"}])
async def test_a_body_that_does_not_come_is_not_awaited(headers: dict[str, str]) -> None:
    connection = Connection(_never, **headers)
    await connection.send(ANSWER)
    assert (connection.read, connection.sent) == (0, [ANSWER])


async def test_a_body_without_end_is_read_to_a_limit() -> None:
    connection = Connection(_parts(None), transfer_encoding="chunked")
    await connection.send(ANSWER)
    assert (connection.read, connection.sent) == (bodies.DRAIN_BYTES_MAX // MEBIBYTE, [ANSWER])


async def test_a_body_that_hangs_is_awaited_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "DRAIN_SECONDS_MAX", 0.01)
    connection = Connection(_never, content_length="1")
    await connection.send(ANSWER)
    assert connection.sent == [ANSWER]


async def test_a_body_that_is_cut_off_is_a_problem_where_it_is_read() -> None:
    connection = Connection(_gone, content_length="1")
    with pytest.raises(ProblemError) as caught:
        await connection.receive()
    assert caught.value.code == "malformed_request"


async def test_an_answer_to_who_has_left_is_sent_all_the_same() -> None:
    connection = Connection(_gone, content_length="1")
    await connection.send(ANSWER)
    assert connection.sent == [ANSWER]
