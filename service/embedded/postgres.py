"""The embedded PostgreSQL: a real server from a wheel, for development, tests and benchmarks.

One process at a time owns a data directory: it holds the file ``lock`` there with flock for as long as it runs. The
directory ``postgres/`` beside it has the server's own data and its log; the service keeps its admin token there, too.
The server trusts local users without a password. So it listens only on a socket in a private directory, which no other
user of the machine can reach.
"""

import contextlib
import fcntl
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote

from service.data_files import ROLES_SQL
from service.embedded import host
from service.errors import EmbeddedPostgresError

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

DATABASE = "funds"
OWNER, SERVICE, OPERATOR, AUDITOR = "funds_owner", "funds_service", "funds_operator", "funds_auditor"
SUPERUSER = "postgres"

_START_SECONDS_MAX = 60
_STOP_SECONDS_MAX = 60
_LOCK_WAIT_SECONDS = 5.0
_PREDECESSOR_SECONDS_MAX = 10.0
_POLL_SECONDS = 0.1
_SOCKET_PORT = 5432  # names the socket's file; nothing listens on it

_Run = subprocess.CompletedProcess[str]


class EmbeddedPostgres:
    """One PostgreSQL server on ``data_dir``: ``start`` and ``stop`` it, or ``attach`` to the one that runs there.

    ``options`` are server settings (``{"fsync": "off"}``). With ``tcp_port`` the server listens on 127.0.0.1 at that
    port, and the URLs point there. ``say`` receives the few sentences that the operator should read. Every failure is
    raised as EmbeddedPostgresError. Not for concurrent use.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        options: Mapping[str, str] | None = None,
        tcp_port: int | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.data_dir = Path(os.path.abspath(data_dir))  # noqa: PTH100 - not resolve(): it must not fail on a loop
        self.data = self.data_dir / "postgres"
        self.log = self.data / "server.log"
        self._options = dict(options or {})
        self._tcp_port = tcp_port
        self._say = say
        self._lock: int | None = None
        self._user: pwd.struct_passwd | None = None
        self._socket_directory: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def owner_url(self) -> str:
        """URL of database ``funds`` for the role that migrates."""
        return self.url(OWNER)

    @property
    def service_url(self) -> str:
        """URL of database ``funds`` for the role that the service uses."""
        return self.url(SERVICE)

    @property
    def operator_url(self) -> str:
        """URL of database ``funds`` for the role that writes tokens."""
        return self.url(OPERATOR)

    @property
    def superuser_url(self) -> str:
        """URL of database ``funds`` for the server's superuser."""
        return self.url(SUPERUSER)

    @property
    def running(self) -> bool:
        """Whether the server's process runs."""
        pid = self.pid
        return pid is not None and host.is_postmaster_of(pid, self.data)

    @property
    def pid(self) -> int | None:
        """The server's process id, as its pid file says; None when there is no pid file."""
        lines = self._pid_file()
        return abs(int(lines[0])) if lines and lines[0].lstrip("-").isdigit() else None

    def url(self, role: str, database: str = DATABASE) -> str:
        """Return the URL that connects ``role`` to ``database``, in a form that asyncpg and libpq both read."""
        if self._tcp_port is not None:
            return f"postgresql://{role}@127.0.0.1:{self._tcp_port}/{database}"
        if self._socket_directory is None:
            raise EmbeddedPostgresError("The embedded PostgreSQL is not running.")
        return (
            f"postgresql://{role}@/{database}?host={quote(str(self._socket_directory), safe='/')}&port={_SOCKET_PORT}"
        )

    def start(self) -> None:
        """Start the server. Make its data directory, the database and the roles first where they are missing."""
        try:
            self._take_data_directory()
            self._prepare_user()
            major = self._program_version()
            if not (self.data / "PG_VERSION").exists():
                self._initialize()
            self._verify_version(major)
            self._end_predecessor()
            self._socket_directory = host.make_socket_directory(self._user)
            self._start_server()
            self._make_database()
        except OSError as error:
            self.stop()
            where = error.filename or self.data_dir
            raise EmbeddedPostgresError(f"PostgreSQL's data cannot be used: {where}: {error.strerror}.") from None
        except BaseException:
            self.stop()
            raise

    def start_again(self) -> None:
        """Start the server again after it ended by itself, at the same URLs. Raises OSError as well."""
        assert self._lock is not None, "it was started here"
        assert self._socket_directory is not None, "and not stopped"
        self._forget_ended()
        for left in self._socket_directory.iterdir():
            left.unlink()  # the socket and its lock file, whose process number may belong to another process by now
        self._start_server()

    def attach(self, wait_seconds: float = _START_SECONDS_MAX) -> None:
        """Use the server that another process started on this data directory; wait until it is ready."""
        deadline = time.monotonic() + wait_seconds
        while True:
            lines = self._pid_file()
            if len(lines) > 7 and lines[7].strip() == "ready":  # noqa: PLR2004 - line 8 of postmaster.pid is its status
                self._socket_directory = Path(lines[4])
                return
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"Another funds process holds the data directory {self.data_dir}, but its PostgreSQL is not ready."
                )
            time.sleep(_POLL_SECONDS)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server if this object owns it, and release the data directory. ``immediate`` is like a crash."""
        if self._lock is None:
            return
        if self.running:
            stopped = self._control("stop", "-m", mode, "-t", str(_STOP_SECONDS_MAX))
            if stopped.returncode != 0 and self.running:
                self._control("stop", "-m", "immediate", "-t", str(_STOP_SECONDS_MAX))
        if self._socket_directory is not None:
            host.remove_socket_directory(self._socket_directory, self._user)
            self._socket_directory = None
        os.close(self._lock)
        self._lock = None

    def end_left(self) -> bool:
        """Stop the server that a process has left running which ended without stopping it, and release the data
        directory. Return False, and do nothing, while another process holds the directory.
        """
        if not self.try_lock():
            return False
        try:
            self._prepare_user()
            self._end_predecessor()
        finally:
            self.stop()
        return True

    def try_lock(self, wait_seconds: float = 0.0) -> bool:
        """Lock the data directory for this process. Return False when another one still holds it after
        ``wait_seconds``.
        """
        if self._lock is not None:
            return True
        self._make_data_directory()
        handle = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(handle)
                    return False
                time.sleep(_POLL_SECONDS)
            else:
                self._lock = handle
                return True

    def _take_data_directory(self) -> None:
        if not self.try_lock(wait_seconds=_LOCK_WAIT_SECONDS):
            raise EmbeddedPostgresError(
                f"The data directory {self.data_dir} is in use by another funds process:"
                " stop that one, or set FUNDS_DATA_DIR to another directory."
            )

    def _make_data_directory(self) -> None:
        try:
            self.data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            writable = os.access(self.data_dir, os.W_OK | os.X_OK)
            reason = "Permission denied"
        except OSError as error:
            writable, reason = False, error.strerror or "unknown reason"
        if not writable:
            raise EmbeddedPostgresError(
                f"The data directory {self.data_dir} cannot be written: {reason}. Set FUNDS_DATA_DIR to one that can."
            )

    def _prepare_user(self) -> None:
        self._user = host.server_user()
        if self._user is not None:
            host.let_traverse(self._user, self.data_dir.resolve(), self._say)
            host.let_traverse(self._user, host.program_directory().resolve(), self._say)

    def _program_version(self) -> int:
        """Return the major version of the server's programs. Running one proves that the server's user can."""
        answer = self._run("postgres", "--version")
        found = re.search(r"(\d+)\.\d+", answer.stdout)
        if found is None:
            name = self._user.pw_name if self._user else "this user"
            raise EmbeddedPostgresError(
                f"PostgreSQL's programs in {host.program_directory()} do not run as {name}:"
                f" {_last_line(answer.stderr) or 'no answer'}."
            )
        return int(found[1])

    def _verify_version(self, major: int) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != str(major):
            raise EmbeddedPostgresError(
                f"The data in {self.data} was made by PostgreSQL {made_by}, and this is PostgreSQL {major}:"
                " set FUNDS_DATA_DIR to a new directory, or carry the data over with pg_dump."
            )

    def _initialize(self) -> None:
        """Make the data under another name and then rename it, so that incomplete data is never used."""
        self._say(f"Making a new PostgreSQL database in {self.data}")
        draft = self.data_dir / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(draft, self._user.pw_uid, self._user.pw_gid)
        # A server that does not wait for its disk need not be made more carefully.
        sync = ["--no-sync"] if self._options.get("fsync") == "off" else []
        made = self._run(
            "initdb", "-D", str(draft), "--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8",
            "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--data-checksums", *sync,
        )  # fmt: skip
        if made.returncode != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise EmbeddedPostgresError(f"PostgreSQL's data could not be made: {_last_line(made.stderr)}.")
        draft.rename(self.data)

    def _end_predecessor(self) -> None:
        """Stop a server that outlived its funds process, and clean up after one that was killed."""
        lines = self._pid_file()
        if not lines:
            return
        if self.running:
            self._say("Stopping the PostgreSQL that an earlier process left running")
            self._control("stop", "-m", "fast", "-t", str(_STOP_SECONDS_MAX))
        else:
            self._forget_ended()
        if len(lines) > 4:  # noqa: PLR2004 - line 5 of postmaster.pid is the socket's directory
            host.remove_socket_directory(Path(lines[4]), self._user)

    def _forget_ended(self) -> None:
        """Keep PostgreSQL from taking another process for the server that has ended.

        The server's process number may belong to another process by now. So the pid file gets the number of a process
        that has ended. It is not removed, because PostgreSQL reads in it whether children of the killed server still
        use its shared memory.
        """
        if self.pid is not None:
            lines = [str(_ended_process()), *self._pid_file()[1:]]
            with contextlib.suppress(FileNotFoundError):
                (self.data / "postmaster.pid").write_text("\n".join(lines) + "\n")

    def _start_server(self) -> None:
        settings = {
            "listen_addresses": "" if self._tcp_port is None else "127.0.0.1",
            "port": str(self._tcp_port or _SOCKET_PORT),
            "unix_socket_directories": str(self._socket_directory),
            "log_error_verbosity": "terse",  # no DETAIL or CONTEXT: they show rows
            **self._options,
        }
        command_line = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
        deadline = time.monotonic() + _PREDECESSOR_SECONDS_MAX
        while True:
            log_size = self.log.stat().st_size if self.log.exists() else 0
            started = self._control("start", "-t", str(_START_SECONDS_MAX), "-l", str(self.log), "-o", command_line)
            if started.returncode == 0:
                return
            reason = self._log_since(log_size) or _last_line(started.stderr) or "no reason given"
            # The children of a killed server take a moment to notice that it is gone.
            if "shared memory" not in reason or time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL did not start: {reason} (its log: {self.log}).")
            time.sleep(_POLL_SECONDS)

    def _log_since(self, position: int) -> str:
        """Return the first fatal message that the server logged after byte ``position``."""
        try:
            with self.log.open(errors="replace") as log:
                log.seek(position)
                fatal = [line.partition("FATAL:")[2].strip() for line in log if "FATAL:" in line]
        except OSError:
            return ""
        return fatal[0] if fatal else ""

    def _make_database(self) -> None:
        databases = self._query("postgres", "SELECT datname FROM pg_database")
        if DATABASE not in databases.split():
            self._query("postgres", f"CREATE DATABASE {DATABASE}")
        self._query(DATABASE, ROLES_SQL.read_text())

    def _query(self, database: str, statement: str) -> str:
        answer = self._run(
            "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self._socket_directory),
            "-p", str(self._tcp_port or _SOCKET_PORT), "-U", SUPERUSER, "-d", database, "-f", "-", statement=statement,
        )  # fmt: skip
        if answer.returncode != 0:
            raise EmbeddedPostgresError(f"The embedded PostgreSQL could not be set up: {_last_line(answer.stderr)}.")
        return answer.stdout

    def _control(self, action: str, *arguments: str) -> _Run:
        return self._run("pg_ctl", action, "-D", str(self.data), "-w", "-s", *arguments)

    def _run(self, program: str, *arguments: str, statement: str = "") -> _Run:
        """Run one of the server's programs as the server's user, in a session of its own: Ctrl-C does not reach it."""
        user = self._user
        return subprocess.run(  # noqa: S603 - our own programs, no shell
            [str(host.program_directory() / program), *arguments],
            input=statement,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            umask=0o077,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
        )

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []


def _ended_process() -> int:
    """Return the process id of a process that has just ended."""
    process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    process.wait()
    return process.pid


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else ""
