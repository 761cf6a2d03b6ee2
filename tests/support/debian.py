"""Servers of the system's packages: a PostgreSQL that speaks TLS and listens on TCP, and PgBouncer before it.

The embedded PostgreSQL has no TLS. Both refuse to run as root: then they run as the user ``postgres`` of the packages.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import free_port

PASSWORD = "S3cr-of-debian"
_START_SECONDS_MAX = 30


def programs() -> Path:
    """The directory of the newest PostgreSQL of the system; the test is skipped where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found or shutil.which("openssl") is None:
        pytest.skip("no PostgreSQL of the system's packages, or no openssl for its certificate")
    return found[-1].parent


def pgbouncer_program() -> str:
    """PgBouncer; the test is skipped where it is not installed."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found is None:
        pytest.skip("pgbouncer is not installed")
    return found


def other_address() -> str | None:
    """An IPv4 address of this machine that is not loopback; None where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.254", 9))  # sends nothing: the system picks the address it would send from
            address = str(probe.getsockname()[0])
        except OSError:
            return None
    return None if address.startswith("127.") else address


@contextmanager
def directory() -> Iterator[Path]:
    """A directory that the servers' user may use; pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix="funds-debian-", dir="/tmp"))
    try:
        _give(path)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class DebianPostgres:
    """A PostgreSQL with a self-signed certificate on every address of the machine, users by password."""

    def __init__(self, place: Path, port: int) -> None:
        self.port = port
        self.place = place
        self.data = place / "data"

    def url(self, role: str, host: str, database: str = "funds", options: str = "") -> str:
        return f"postgresql://{role}:{PASSWORD}@{host}:{self.port}/{database}{options}"


@contextmanager
def debian_postgres(*, tls: bool, settings: Mapping[str, str] | None = None) -> Iterator[DebianPostgres]:
    """A server with an empty database ``funds``; its superuser ``postgres`` has PASSWORD."""
    binaries = programs()
    with directory() as place:
        data, port = place / "data", free_port()
        (place / "password").write_text(PASSWORD)
        _give(place / "password")
        run(
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            "--no-sync",
            "--pwfile",
            place / "password",
        )
        make_certificate(data)
        chosen = {
            "listen_addresses": "*", "port": port, "unix_socket_directories": place, "fsync": "off",
            "ssl": "on" if tls else "off", "max_connections": 60, **(settings or {}),
        }  # fmt: skip
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())
        with (data / "pg_hba.conf").open("a") as file:
            file.write("host all all all scram-sha-256\n")
        run(binaries / "pg_ctl", "start", "-D", data, "-w", "-s", "-l", place / "log")
        try:
            server = DebianPostgres(place, port)
            run(binaries / "createdb", "-h", place, "-p", port, "-U", "postgres", "funds", PGPASSWORD=PASSWORD)
            yield server
        finally:
            run(binaries / "pg_ctl", "stop", "-D", data, "-w", "-s", "-m", "immediate")


@contextmanager
def pgbouncer(server: DebianPostgres, *, pool_mode: str, pool_size: int, roles: Sequence[str]) -> Iterator[str]:
    """PgBouncer on loopback before ``server``; gives the URL of database ``funds`` with ``{role}`` in it."""
    program = pgbouncer_program()
    with directory() as place:
        port = free_port()
        (place / "users").write_text("".join(f'"{role}" "{PASSWORD}"\n' for role in roles))
        (place / "ini").write_text(
            f"[databases]\nfunds = host=127.0.0.1 port={server.port} dbname=funds\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
            f"auth_file = {place}/users\npool_mode = {pool_mode}\n"
            f"default_pool_size = {pool_size}\nlogfile = {place}/log\n"
        )
        _give(place / "users")
        process = subprocess.Popen([program, str(place / "ini")], stderr=subprocess.DEVNULL, **_as_user())
        try:
            _wait_for(port)
            yield f"postgresql://{{role}}:{PASSWORD}@127.0.0.1:{port}/funds"
        finally:
            process.kill()
            process.wait()


def make_certificate(data: Path) -> None:
    """A self-signed certificate for a name that no host has."""
    key, certificate = data / "server.key", data / "server.crt"
    run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=db.example",
        "-keyout", key, "-out", certificate,
    )  # fmt: skip
    key.chmod(0o600)


def run(*command: object, **environment: str) -> None:
    """Run a program of the servers as their user, quietly."""
    subprocess.run(
        [str(part) for part in command],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", **environment},
        cwd="/",
        **_as_user(),
    )


def _user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("we are root, and there is no user postgres to run servers as")


def _as_user() -> dict[str, Any]:
    user = _user()
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _give(path: Path) -> None:
    user = _user()
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS_MAX
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, "the server does not listen"
        time.sleep(0.02)
