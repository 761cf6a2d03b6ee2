"""A body that is cut off is a problem where it is read."""

from collections.abc import Callable
from typing import Any

import pytest

from service.api.http.bodies import refuse_cut_off
from service.wire.errors import MalformedError

PART: Any = {"type": "http.request", "body": b"{", "more_body": True}
END: Any = {"type": "http.request", "body": b"}", "more_body": False}
GONE: Any = {"type": "http.disconnect"}


def _receiving(*messages: Any) -> Callable[[], Any]:
    """Return a ``receive`` that gives these messages, then the last one again and again."""
    left = list(messages)

    async def receive() -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    return refuse_cut_off(receive)


async def test_a_whole_body_comes_as_it_is() -> None:
    receive = _receiving(PART, END)
    assert [await receive(), await receive()] == [PART, END]


@pytest.mark.parametrize("before", [[], [PART]])
async def test_a_body_that_is_cut_off_is_a_problem(before: list[Any]) -> None:
    receive = _receiving(*before, GONE)
    for _ in before:
        await receive()
    with pytest.raises(MalformedError) as caught:
        await receive()
    assert (caught.value.pointer, caught.value.reason) == ("", "the request was cut off")


async def test_who_leaves_after_the_body_has_sent_it_whole() -> None:
    receive = _receiving(END, GONE)
    assert [await receive(), await receive()] == [END, GONE]
