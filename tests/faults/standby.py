"""A streaming replica of an embedded PostgreSQL, which can lag, stop, fall silent, be killed, or take over."""

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Self

import asyncpg

from service.embedded.postgres import EmbeddedPostgres
from tests.support.killing import children
from tests.support.other_session import wait_until

START_SECONDS_MAX = 60


class Standby:
    """Replicates ``primary``, which listens on a TCP port, and listens on ``port`` itself. Its data are in ``data``,
    beside those of the primary by default.
    """

    def __init__(self, primary: EmbeddedPostgres, port: int, data: Path | None = None) -> None:
        self._primary = primary
        self.port = port
        self.data = data or primary.data_dir / "standby"

    @classmethod
    def former(cls, primary: EmbeddedPostgres) -> Self:
        """``primary`` itself, which may be killed and replicate another server afterwards."""
        assert primary._tcp_port is not None
        return cls(primary, primary._tcp_port, primary.data)

    def url(self, role: str) -> str:
        return f"postgresql://{role}@127.0.0.1:{self.port}/funds"

    def make(self) -> None:
        """Copy the primary and follow it."""
        self._copy(self._primary.url("postgres"))

    def rejoin(self, new_primary: "Standby") -> None:
        """Follow ``new_primary``, which has taken over from this server, with nothing of its own left."""
        shutil.rmtree(self.data)
        self._copy(new_primary.url("postgres"))

    def _copy(self, source: str) -> None:
        self.data.mkdir(mode=0o700)
        user = self._primary._user
        if user is not None:
            os.chown(self.data, user.pw_uid, user.pw_gid)
        self._run("pg_basebackup", "-d", source, "-D", str(self.data), "-R", "-X", "stream", "-c", "fast")
        self.start()

    def start(self) -> None:
        options = f"-c port={self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        log = str(self.data / "standby.log")
        self._run(
            "pg_ctl", "start", "-D", str(self.data), "-w", "-s", "-t", str(START_SECONDS_MAX), "-l", log, "-o", options
        )

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-D", str(self.data), "-w", "-s", "-m", "immediate")

    async def promote(self) -> None:
        """Make it the primary; it takes writes when this returns."""
        await self.execute("SELECT pg_promote()")

    async def wait_for_standby(self) -> None:
        """Have every COMMIT wait for a standby from now on, once one follows."""
        await self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        connection = await asyncpg.connect(self.url("postgres"))

        async def followed() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"))

        try:
            await wait_until(followed)
        finally:
            await connection.close()

    async def execute(self, *statements: str) -> None:
        """Run ``statements`` there as the superuser."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def freeze(self) -> None:
        """Have every process of it stand still, its connections open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End every process of it at once, if it runs."""
        with suppress(FileNotFoundError):
            self._signal(signal.SIGKILL)
        # Whoever has the number of its process by now is not taken for it when it starts again.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def remove(self) -> None:
        self.thaw()
        self.stop()
        shutil.rmtree(self.data)

    def _signal(self, number: signal.Signals) -> None:
        postmaster = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        for pid in (postmaster, *children(postmaster)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _run(self, program: str, *arguments: str) -> None:
        done = self._primary._run(program, *arguments)
        assert done.returncode == 0, done.stderr
