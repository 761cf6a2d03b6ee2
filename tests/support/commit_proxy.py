"""A proxy between the service and PostgreSQL that fails at COMMIT, or delays, forgets and ends connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from urllib.parse import parse_qs, urlsplit, urlunsplit

_QUERY, _READY = b"Q", b"Z"
_UNTYPED_LENGTH_MAX = 1_000  # the startup packet and the request for TLS carry no type; both are short


class Fault(Enum):
    """What happens to a COMMIT."""

    NONE = "it passes"
    REQUEST_LOST = "it never arrives and the connection ends"
    ANSWER_LOST = "it is done and the connection ends before the answer"
    ANSWER_RACED = "it arrives and the connection ends at once"
    SILENCE = "it is done and the answer never comes, on an open connection"
    CUT_AFTER = "its answer arrives and then the connection ends"


class CommitProxy:
    """Passes PostgreSQL's protocol on. The next ``faulty_commits`` commits of transfers meet ``fault``, or with
    ``every_commit`` those of any transaction.
    """

    def __init__(self, upstream_url: str) -> None:
        self._parts = urlsplit(upstream_url)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.fault = Fault.NONE
        self.faulty_commits = 0
        self.every_commit = False
        self.faults_met = 0
        self._sessions: set[_Session] = set()
        self._silent = False
        self.delay_seconds = 0.0
        """How long every message waits on its way to PostgreSQL."""

    def reset(self) -> None:
        """End every connection that is open now, at both ends and at once; new ones pass."""
        for writer in self._writers:
            writer.transport.abort()

    def forget(self) -> None:
        """Pass nothing more on any connection that is open now, and tell neither end, as an address translation does
        that has forgotten them; new ones pass.
        """
        for session in self._sessions:
            session.silent = True

    def fall_silent(self) -> None:
        """Pass nothing more at all, not on new connections either."""
        self._silent = True
        self.forget()

    def speak_again(self) -> None:
        """Pass what comes on new connections."""
        self._silent = False

    @property
    def place(self) -> str:
        """Host and port of the proxy."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def url(self) -> str:
        """The upstream's URL, through the proxy."""
        user = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(("postgresql", f"{user}@{self.place}", self._parts.path, "sslmode=disable", ""))

    def break_commits(self, fault: Fault, count: int = 1, *, every_commit: bool = False) -> None:
        self.fault, self.faulty_commits, self.faults_met, self.every_commit = fault, count, 0, every_commit

    def break_nothing(self) -> None:
        self.break_commits(Fault.NONE, 0)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            upstream_reader, upstream_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, upstream_writer}
        session = _Session(self, writer, upstream_writer)
        session.silent = self._silent
        self._sessions.add(session)
        directions = [
            asyncio.create_task(session.forward(reader)),
            asyncio.create_task(session.backward(upstream_reader)),
        ]
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        self._sessions.discard(session)
        for direction in directions:
            direction.cancel()
        ends = await asyncio.gather(*directions, return_exceptions=True)
        self._writers -= {writer, upstream_writer}
        writer.transport.abort()
        upstream_writer.transport.abort()
        for end in ends:
            if not isinstance(end, OSError | EOFError | asyncio.CancelledError | None):
                raise end

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        query = parse_qs(self._parts.query)
        host = query.get("host", [self._parts.hostname or "127.0.0.1"])[0]
        port = int(query.get("port", [str(self._parts.port or 5432)])[0])
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)


class _Session:
    """One connection through the proxy, message by message."""

    def __init__(self, proxy: CommitProxy, writer: asyncio.StreamWriter, upstream_writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writer = writer
        self._upstream_writer = upstream_writer
        self._writes = False  # whether the transaction under way has copied rows in or begun to lock
        self._met: Fault | None = None
        self.silent = False

    async def forward(self, reader: asyncio.StreamReader) -> None:
        """Pass on what the service sends."""
        started = False
        while True:
            kind = b"" if not started else await reader.readexactly(1)
            length = await reader.readexactly(4)
            message = await reader.readexactly(int.from_bytes(length) - 4)
            if not started:
                assert len(message) < _UNTYPED_LENGTH_MAX
                started = True
            if self.silent:
                continue
            locks = b"FOR NO KEY UPDATE" in message and b"SKIP LOCKED" not in message  # the sweeper only looks
            if kind in {b"P", _QUERY} and (b"COPY " in message or locks):
                self._writes = True
            if kind == _QUERY and message.startswith(b"COMMIT") and (self._writes or self._proxy.every_commit):
                self._writes = False
                if self._proxy.faulty_commits > 0 and self._proxy.fault is not Fault.NONE:
                    self._proxy.faulty_commits -= 1
                    self._proxy.faults_met += 1
                    self._met = self._proxy.fault
                    if self._met is Fault.REQUEST_LOST:
                        return
            if self._proxy.delay_seconds:
                await asyncio.sleep(self._proxy.delay_seconds)
            self._upstream_writer.write(kind + length + message)
            await self._upstream_writer.drain()
            if self._met is Fault.ANSWER_RACED:
                return

    async def backward(self, reader: asyncio.StreamReader) -> None:
        """Pass on what PostgreSQL sends."""
        while True:
            kind = await reader.readexactly(1)
            length = await reader.readexactly(4)
            message = await reader.readexactly(int.from_bytes(length) - 4)
            if self.silent or self._met is Fault.SILENCE:
                continue
            if self._met is Fault.ANSWER_LOST:
                if kind == _READY:
                    return
                continue
            self._writer.write(kind + length + message)
            await self._writer.drain()
            if self._met is Fault.CUT_AFTER and kind == _READY:
                return


@asynccontextmanager
async def commit_proxy(upstream_url: str) -> AsyncIterator[CommitProxy]:
    """Run a proxy in front of the database at ``upstream_url``."""
    proxy = CommitProxy(upstream_url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
