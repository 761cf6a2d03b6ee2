"""Reading keys of an issuer that answers whatever it likes: nothing takes longer, or more memory, than it may."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.errors import KeySetError
from service.workers.key_set_client import KeySetClient
from tests.support.issuer import KeySetServer, SigningKey, key_set

BYTES_MAX = 10_000
DOCUMENT = key_set([SigningKey("one")])


@pytest.fixture
async def server() -> AsyncIterator[KeySetServer]:
    async with KeySetServer(DOCUMENT).listening() as server:
        yield server


async def read(server: KeySetServer, seconds_max: float = 60.0) -> bytes:
    return await KeySetClient(server.url, bytes_max=BYTES_MAX, seconds_max=seconds_max).fetch()


async def test_what_is_published(server: KeySetServer) -> None:
    assert await read(server) == DOCUMENT
    server.body = b"x" * BYTES_MAX
    assert await read(server) == server.body  # what it is, others decide


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 500}, "the issuer answered with status 500"),
        ({"status": 404}, "the issuer answered with status 404"),
        ({"status": 204, "body": b""}, "the issuer answered with status 204"),
        ({"body": b"x" * (BYTES_MAX + 1)}, f"the issuer's answer has more than {BYTES_MAX} bytes"),
    ],
    ids=str,
)
async def test_an_answer_that_is_no_key_set(server: KeySetServer, answer: dict[str, Any], reason: str) -> None:
    for name, value in answer.items():
        setattr(server, name, value)
    with pytest.raises(KeySetError, match=f"^{reason}$"):
        await read(server)


async def test_redirects_are_not_followed(server: KeySetServer) -> None:
    async with KeySetServer(DOCUMENT).listening() as elsewhere:
        server.status, server.headers = 302, [b"Location: %b" % elsewhere.url.encode()]
        with pytest.raises(KeySetError, match="the issuer answered with status 302"):
            await read(server)
        assert elsewhere.asked == 0


async def test_what_is_compressed_is_not_unpacked(server: KeySetServer) -> None:
    server.body, server.headers = gzip.compress(b" " * BYTES_MAX * 100), [b"Content-Encoding: gzip"]
    assert await read(server) == server.body


async def test_silence(server: KeySetServer) -> None:
    server.open.clear()
    with pytest.raises(KeySetError, match=r"^the issuer did not answer within 0\.2 seconds$"):
        await read(server, 0.2)


async def test_nobody_there() -> None:
    server = KeySetServer()
    async with server.listening():
        pass
    with pytest.raises(KeySetError, match="ConnectError"):
        await read(server)


async def test_no_http() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    listening = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with listening:
        server = KeySetServer()
        server.port = listening.sockets[0].getsockname()[1]
        with pytest.raises(KeySetError, match="Protocol"):
            await read(server)
