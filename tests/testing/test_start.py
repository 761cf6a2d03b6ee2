"""The process of a test server: how it starts, and that nothing is left of it however it ends."""

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from funds_testing import FundsService, ServiceNotStartedError
from funds_testing.wire import Ready
from service.embedded.host import server_user
from tests.support.killing import children
from tests.support.other_session import wait_until
from tests.support.servers import FUNDS, ROOT, TestPostgres, clean_environment

OWNER = "import sys, funds_testing; funds_testing.FundsService().__enter__(); print('up', flush=True); sys.stdin.read()"
PARTS = (ROOT, ROOT / "service" / "client", ROOT / "service" / "testing", Path(sysconfig.get_path("purelib")))
NOT_COUNTED = {"FUNDS_DATABASE_URL": "postgresql://funds_service@localhost:1/bank", "FUNDS_PORT": "8000"}
PATH = {"PYTHONPATH": os.pathsep.join(map(str, PARTS))}


@pytest.fixture
def place() -> Iterator[Path]:
    """Where temporary files of the started processes go, which the server's user can reach: pytest's are closed."""
    with tempfile.TemporaryDirectory(prefix="funds-kit-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


def left_in(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.is_dir() and path.name.startswith("funds-")]


def start(place: Path, *command: str, **options: Any) -> subprocess.Popen[str]:
    """Start a process in a session of its own, with settings of an installation that must not count."""
    environment = clean_environment(PATH | NOT_COUNTED | {"TMPDIR": str(place)})
    process: subprocess.Popen[str] = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )
    return process


async def test_a_killed_owner_leaves_nothing(place: Path) -> None:
    with start(place, sys.executable, "-c", OWNER) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        assert len(left_in(place)) == 2  # the data and the socket
        owner.kill()
    await wait_until(lambda: left_in(place) == [])


async def test_a_killed_test_server_leaves_nothing(place: Path) -> None:
    with start(place, *FUNDS, "test-server") as server:
        assert server.stdout is not None
        ready = msgspec.json.decode(server.stdout.readline(), type=Ready)
        assert ready.url.startswith("http://127.0.0.1:")
        [guard] = children(server.pid)
        server.kill()
    await wait_until(lambda: left_in(place) == [])
    await wait_until(lambda: not Path(f"/proc/{guard}").exists())


async def test_what_even_a_killed_guard_leaves_is_removed_by_the_next_start(place: Path) -> None:
    with start(place, *FUNDS, "test-server") as server:
        assert server.stdout is not None
        assert server.stdout.readline()
        for pid in (*children(server.pid), server.pid):
            os.kill(pid, signal.SIGKILL)
    assert len(left_in(place)) == 2
    with start(place, *FUNDS, "test-server", "--stop-with-stdin") as following:
        assert following.stdin is not None
        assert following.stdout is not None
        assert following.stdout.readline()
        assert len(left_in(place)) == 2
        following.stdin.close()
        assert following.wait() == 0
    assert left_in(place) == []


def test_ctrl_c_ends_it(place: Path) -> None:
    with start(place, *FUNDS, "test-server") as server:
        assert server.stdout is not None
        assert server.stdout.readline()
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0
    assert left_in(place) == []


async def test_a_given_server_is_left_as_it_was(postgres_server: TestPostgres) -> None:
    url = postgres_server.url("postgres")
    with FundsService(database_url=url) as service:
        service.ledger().account(balance=100)
        assert len(await names_of_ours(url)) == 4  # the database, and three logins
    assert await names_of_ours(url) == []


async def names_of_ours(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT datname AS name FROM pg_database UNION ALL SELECT rolname FROM pg_roles")
    finally:
        await connection.close()
    return [row["name"] for row in rows if row["name"].startswith("funds_testing_")]


@pytest.mark.skipif(os.geteuid() != 0, reason="all these tests run as an ordinary user")
def test_an_ordinary_user_starts_it(place: Path) -> None:
    user = server_user()
    assert user is not None, "made where it is missing"
    os.chown(place, user.pw_uid, user.pw_gid)
    ids: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}
    pythons = (sys.executable, "/usr/bin/python{}.{}".format(*sys.version_info))  # the first may be in root's home
    python = next((one for one in pythons if runs_for(one, ids)), None)
    if python is None:
        pytest.skip("no other user gets to a Python of this version")
    with start(place, python, *FUNDS[1:], "test-server", "--stop-with-stdin", **ids) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        assert server.stdout.readline()
        server.stdin.close()
        assert server.wait() == 0
    assert left_in(place) == []


def runs_for(python: str, ids: dict[str, Any]) -> bool:
    try:
        return subprocess.run([python, "-c", ""], check=False, **ids).returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost"])
def test_it_serves_its_own_machine_alone(host: str) -> None:
    done = subprocess.run(
        [*FUNDS, "test-server", "--host", host],
        env=clean_environment(PATH),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "loopback" in done.stderr


def test_the_command_says_how_to_install_what_is_not_there() -> None:
    without = clean_environment({"PYTHONPATH": str(ROOT)})
    done = subprocess.run([*FUNDS, "test-server"], env=without, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install funds-testing" in done.stderr


def test_a_start_that_fails_says_why() -> None:
    with (
        pytest.raises(ServiceNotStartedError, match="The database at localhost:1 cannot be reached"),
        FundsService(database_url="postgresql://postgres@localhost:1/postgres"),
    ):
        pass
