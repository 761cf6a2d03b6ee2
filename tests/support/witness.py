"""A witness, written from https://c2sp.org/tlog-witness: it shares no code with the service.

It cosigns a checkpoint of a log that it trusts, if that goes on from the last one it cosigned. ``fault`` makes it
misbehave.
"""

import asyncio
import re
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.log_verifier import Head, UnprovenError, check_checkpoint, check_consistency

_BODY = re.compile(rb"old (0|[1-9][0-9]*)\n((?:[A-Za-z0-9+/]{43}=\n){0,63})\n(.+)", re.DOTALL)
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 422: "Unprocessable"}


class Reply(NamedTuple):
    """What the witness answers."""

    status: int
    body: bytes = b""


Fault = Callable[[Reply], Reply]


class Witness:
    """Cosigns checkpoints of the logs in ``trusted``: verifier keys by origin."""

    def __init__(self, name: str = "witness.example/w1") -> None:
        self.name = name
        self._key = Ed25519PrivateKey.generate()
        self._public = b"\x04" + self._key.public_key().public_bytes_raw()
        self._key_id = sha256(name.encode() + b"\n" + self._public).digest()[:4]
        self.trusted: dict[str, str] = {}
        self.latest: dict[str, Head] = {}
        self.replies: list[Reply] = []
        self.fault: Fault = lambda reply: reply
        self.port = 0

    @property
    def verifier_key(self) -> str:
        return f"{self.name}+{self._key_id.hex()}+{b64encode(self._public).decode()}"

    @property
    def setting(self) -> str:
        """How FUNDS_LOG_WITNESSES names it."""
        return f"{self.verifier_key} http://127.0.0.1:{self.port}/some/where"

    @property
    def statuses(self) -> list[int]:
        return [reply.status for reply in self.replies]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Witness"]:
        """The witness answers as long as the context lasts; the next time at the same port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def answered(self, status: int, *, times: int = 1) -> None:
        """Wait until it has answered so."""
        async with asyncio.timeout(30):
            while self.statuses.count(status) < times:  # noqa: ASYNC110 - the service asks when it likes
                await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)[1])  # type: ignore[index]
            reply = self._reply(head.split(b"\r\n", 1)[0], await reader.readexactly(length))
            writer.write(
                b"HTTP/1.1 %d %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
                % (reply.status, _REASONS.get(reply.status, "Other").encode(), len(reply.body), reply.body)
            )
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def _reply(self, request_line: bytes, body: bytes) -> Reply:
        assert request_line == b"POST /some/where/add-checkpoint HTTP/1.1"
        reply = self.fault(self.add_checkpoint(body))
        self.replies.append(reply)
        return reply

    def add_checkpoint(self, body: bytes) -> Reply:  # noqa: PLR0911 - the page has as many
        """What the page says, in its order."""
        parts = _BODY.fullmatch(body)
        if parts is None:
            return Reply(400)
        old, path, note = int(parts[1]), [b64decode(line) for line in parts[2].splitlines()], parts[3]
        origin = note.split(b"\n", 1)[0].decode()
        if origin not in self.trusted:
            return Reply(404)
        try:
            head, _ = check_checkpoint(note, self.trusted[origin])
        except UnprovenError:
            return Reply(403)
        if old > head.size:
            return Reply(400)
        known = self.latest.get(origin, Head(origin, 0, sha256().digest()))
        if old != known.size or (old == head.size and known.root != head.root):
            return Reply(409, b"%d\n" % known.size)
        try:
            check_consistency(old, head.size, path, known.root, head.root)
        except UnprovenError:
            return Reply(422)
        self.latest[origin] = head
        return Reply(200, self.cosignature(note))

    def cosignature(self, note: bytes, at: int | None = None) -> bytes:
        """The line by which it cosigns a checkpoint."""
        text = note.partition(b"\n\n")[0] + b"\n"
        at = int(time.time()) if at is None else at
        signature = self._key.sign(b"cosignature/v1\ntime %d\n%b" % (at, text))
        value = b64encode(self._key_id + at.to_bytes(8, "big") + signature)
        return b"\xe2\x80\x94 %b %b\n" % (self.name.encode(), value)
