"""Request bodies that nobody has read when the answer is ready."""

import asyncio
from contextlib import suppress
from typing import Any

from litestar.types import Receive, Send

from service.api.problems import malformed

DRAIN_BYTES_MAX = 32 * 1024 * 1024
DRAIN_SECONDS_MAX = 5.0


def read_before_answering(headers: dict[bytes, bytes], receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return the request's ``receive`` and ``send``, by which its body is read to the end before the answer goes out,
    and a body that is cut off is a problem.

    A server that has answered and still has something to read closes the connection, and TCP throws away the answer
    with it: whoever sends too much would see a reset instead of 413. What is read so is bounded in size and time.
    """
    expected = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    if not expected or b"expect" in headers:  # who asks first has not sent it yet
        return receive, send
    unread = True

    async def receive_whole() -> Any:
        nonlocal unread
        message = await receive()
        if message["type"] == "http.request":
            unread = message.get("more_body", False)
        elif unread:
            unread = False
            raise malformed("", "the request was cut off")
        return message

    async def send_after_reading(message: Any) -> None:
        nonlocal unread
        if unread:
            unread = False
            await _drain(receive)
        await send(message)

    return receive_whole, send_after_reading


async def _drain(receive: Receive) -> None:
    read_bytes = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS_MAX):
            while read_bytes < DRAIN_BYTES_MAX:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                read_bytes += len(message["body"])
