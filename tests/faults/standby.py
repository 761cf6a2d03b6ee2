"""A streaming replica of an embedded PostgreSQL, which can lag, stop, or fall silent."""

import os
import shutil
import signal

from service.embedded.postgres import EmbeddedPostgres
from tests.support.killing import children

START_SECONDS_MAX = 60


class Standby:
    """Replicates ``primary``, which listens on a TCP port, and listens on ``port`` itself."""

    def __init__(self, primary: EmbeddedPostgres, port: int) -> None:
        self._primary = primary
        self._port = port
        self._data = primary.data_dir / "standby"

    def url(self, role: str) -> str:
        return f"postgresql://{role}@127.0.0.1:{self._port}/funds"

    def make(self) -> None:
        """Copy the primary and follow it."""
        self._data.mkdir(mode=0o700)
        user = self._primary._user
        if user is not None:
            os.chown(self._data, user.pw_uid, user.pw_gid)
        self._run(
            "pg_basebackup",
            "-d",
            self._primary.url("postgres"),
            "-D",
            str(self._data),
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
        )
        self.start()

    def start(self) -> None:
        options = f"-c port={self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        log = str(self._data / "standby.log")
        self._run(
            "pg_ctl", "start", "-D", str(self._data), "-w", "-s", "-t", str(START_SECONDS_MAX), "-l", log, "-o", options
        )

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-D", str(self._data), "-w", "-s", "-m", "immediate")

    def freeze(self) -> None:
        """Have every process of it stand still, its connections open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        self.thaw()
        self.stop()
        shutil.rmtree(self._data)

    def _signal(self, number: signal.Signals) -> None:
        postmaster = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        for pid in (postmaster, *children(postmaster)):
            os.kill(pid, number)

    def _run(self, program: str, *arguments: str) -> None:
        done = self._primary._run(program, *arguments)
        assert done.returncode == 0, done.stderr
