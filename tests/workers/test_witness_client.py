"""Asking a witness that answers whatever it likes: nothing takes longer, or more memory, than it may."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from service.errors import WitnessError
from service.proofs.errors import MalformedTextError
from service.workers.witness_client import ANSWER_BYTES_MAX, Answer, WitnessClient

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SOON = 0.3
NEVER = 60.0


@asynccontextmanager
async def asked(behave: Behave, *, seconds_max: float = NEVER) -> AsyncIterator[Callable[[], Awaitable[Answer]]]:
    """Gives what asks a server that behaves so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\nbody")
            await behave(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = WitnessClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seconds_max=seconds_max)
    async with server, client.opened() as ask:
        yield lambda: ask("body")


def answering(status: int, body: bytes, *headers: bytes) -> Behave:
    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [b"HTTP/1.1 %d Status" % status, b"Content-Length: %d" % len(body), *headers]
        writer.write(b"\r\n".join([*lines, b"", body]))
        await writer.drain()

    return behave


async def endless_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"2000\r\n" + b"x" * 8192 + b"\r\n")
        await writer.drain()


async def endless_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 8192 + b"\r\n")
        await writer.drain()


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def slow_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(SOON / 10)


async def no_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH\r\n")
    await writer.drain()


@pytest.mark.parametrize("status", [200, 400, 403, 404, 409, 422])
async def test_what_it_says_of_the_log(status: int) -> None:
    async with asked(answering(status, b"7\n")) as ask:
        assert await ask() == Answer(status, "7\n")


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (answering(503, b""), "it answered with status 503"),
        (answering(302, b"", b"Location: http://127.0.0.1:1/"), "it answered with status 302"),
        (answering(204, b""), "it answered with status 204"),
        (answering(200, b"x" * (ANSWER_BYTES_MAX + 1)), "its answer has more than 65536 bytes"),
        (endless_body, "its answer has more than 65536 bytes"),
        (endless_head, "RemoteProtocolError"),
        (no_http, "RemoteProtocolError"),
    ],
)
async def test_what_no_witness_answers(behave: Behave, reason: str) -> None:
    async with asked(behave) as ask:
        with pytest.raises(WitnessError, match=reason):
            await ask()


@pytest.mark.parametrize("behave", [silence, slow_body])
async def test_what_takes_too_long(behave: Behave) -> None:
    async with asked(behave, seconds_max=SOON) as ask:
        began = time.monotonic()
        with pytest.raises(WitnessError, match=r"it did not answer within 0\.3 seconds"):
            await ask()
        assert time.monotonic() - began < NEVER / 2


async def test_what_is_compressed_is_not_unpacked() -> None:
    bomb = gzip.compress(b"x" * 10_000_000)
    async with asked(answering(200, bomb, b"Content-Encoding: gzip")) as ask:
        with pytest.raises(MalformedTextError):
            await ask()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nowhere.invalid", "http://[bad", "https://127.0.0.1:1"])
async def test_where_nobody_answers(url: str) -> None:
    async with WitnessClient(url, seconds_max=NEVER).opened() as ask:
        with pytest.raises(WitnessError):
            await ask("body")
