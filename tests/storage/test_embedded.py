import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from service.embedded import postgres as embedded
from service.embedded.host import program_directory
from service.embedded.postgres import EmbeddedPostgres
from service.errors import EmbeddedPostgresError
from tests.support.servers import ROOT, free_port

START_AND_DIE = """
import os, signal, sys
from pathlib import Path
from service.embedded.postgres import EmbeddedPostgres

EmbeddedPostgres(Path(sys.argv[1])).start()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_LOCK_WAIT_SECONDS", 0.2)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def server(tmp_path: Path, said: list[str]) -> Iterator[EmbeddedPostgres]:
    # A space and more bytes than a socket's path may have: neither must matter.
    server = EmbeddedPostgres(tmp_path / ("a b" + "c" * 110), say=said.append)
    yield server
    server.stop()


async def write(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE IF NOT EXISTS funds.kept AS SELECT 7 AS number")
    await connection.close()


async def read(url: str) -> object:
    connection = await asyncpg.connect(url)
    number = await connection.fetchval("SELECT number FROM funds.kept")
    await connection.close()
    return number


async def test_roles_database_and_safe_settings(server: EmbeddedPostgres) -> None:
    server.start()
    for url, role in ((server.owner_url, "funds_owner"), (server.service_url, "funds_service")):
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT current_user::text") == role
        for setting, value in (
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            ("data_checksums", "on"),
            ("server_encoding", "UTF8"),
            ("listen_addresses", ""),
        ):
            assert await connection.fetchval("SELECT current_setting($1)", setting) == value
        await connection.close()


async def test_the_socket_is_private_and_goes_with_the_server(server: EmbeddedPostgres) -> None:
    server.start()
    directory = Path(server.url("funds_owner").partition("host=")[2].partition("&")[0])
    status = directory.stat()
    assert status.st_mode & 0o777 == 0o700
    assert status.st_uid == server.data.stat().st_uid
    server.stop()
    assert not directory.exists()


async def test_ctrl_c_does_not_reach_the_server(server: EmbeddedPostgres) -> None:
    server.start()
    assert server.pid is not None
    assert os.getsid(server.pid) != os.getsid(0)


async def test_data_is_kept_between_runs(server: EmbeddedPostgres) -> None:
    server.start()
    await write(server.owner_url)
    server.stop()
    assert server.pid is None
    server.start()
    assert await read(server.owner_url) == 7


async def test_data_is_kept_when_the_server_crashes(server: EmbeddedPostgres) -> None:
    server.start()
    await write(server.owner_url)
    server.stop("immediate")
    server.start()
    assert await read(server.owner_url) == 7


async def test_a_server_left_running_by_a_killed_process_is_taken_over(
    server: EmbeddedPostgres, said: list[str]
) -> None:
    server.start()
    await write(server.owner_url)
    server.stop()
    died = subprocess.run([sys.executable, "-c", START_AND_DIE, server.data_dir], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    left = server.pid
    assert left is not None
    server.start()
    assert "Stopping the PostgreSQL that an earlier process left running" in said
    assert server.pid != left
    assert await read(server.owner_url) == 7


async def test_everything_killed_at_once(server: EmbeddedPostgres) -> None:
    server.start()
    await write(server.owner_url)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    server.start()
    assert await read(server.owner_url) == 7


async def test_a_pid_file_whose_number_now_belongs_to_another_process(server: EmbeddedPostgres) -> None:
    server.start()
    await write(server.owner_url)
    pid_file = server.data / "postmaster.pid"
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    time.sleep(0.5)
    server.stop()
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    server.start()
    assert await read(server.owner_url) == 7


def test_a_second_process_on_the_data_is_refused(server: EmbeddedPostgres) -> None:
    server.start()
    second = EmbeddedPostgres(server.data_dir)
    with pytest.raises(EmbeddedPostgresError, match="is in use by another funds process"):
        second.start()
    second.stop()
    assert server.pid is not None, "the one that was refused stopped the other's server"


async def test_attaching_to_the_server_of_another_process(server: EmbeddedPostgres) -> None:
    server.start()
    second = EmbeddedPostgres(server.data_dir)
    assert not second.try_lock()
    second.attach()
    assert second.service_url == server.service_url
    second.stop()
    assert server.pid is not None


def test_attaching_where_nothing_gets_ready(server: EmbeddedPostgres) -> None:
    assert server.try_lock()
    with pytest.raises(EmbeddedPostgresError, match="its PostgreSQL is not ready"):
        EmbeddedPostgres(server.data_dir).attach(wait_seconds=0.2)


def test_data_of_another_major_version(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (server.data / "PG_VERSION").write_text("14\n")
    with pytest.raises(EmbeddedPostgresError, match="was made by PostgreSQL 14, and this is PostgreSQL"):
        server.start()


def test_a_half_made_database_is_made_again(server: EmbeddedPostgres) -> None:
    half = server.data_dir / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server.start()
    assert not half.exists()


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match="cannot be written: Not a directory"):
        EmbeddedPostgres(tmp_path / "file" / "data").start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_directory_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(EmbeddedPostgresError, match="cannot be written: Permission denied"):
        EmbeddedPostgres(tmp_path / "data").start()


def test_a_server_setting_that_postgresql_refuses(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "data", options={"max_connections": "none"})
    with pytest.raises(EmbeddedPostgresError, match=r'PostgreSQL did not start: .*"max_connections"'):
        server.start()
    assert server.try_lock(), "a server that did not start keeps the data directory taken"
    server.stop()


async def test_listening_on_a_port(tmp_path: Path) -> None:
    port = free_port()
    with EmbeddedPostgres(tmp_path / "data", tcp_port=port) as server:
        assert f"@127.0.0.1:{port}/funds" in server.service_url
        connection = await asyncpg.connect(server.service_url)
        assert await connection.fetchval("SELECT inet_server_port()") == port
        await connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user needs no passage")
def test_root_grants_passage_and_nothing_more(tmp_path: Path, said: list[str]) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedPostgres(closed / "data", say=said.append) as server:
        assert closed.stat().st_mode & 0o777 == 0o701
        assert server.data.stat().st_mode & 0o777 == 0o700
    assert any(str(closed) in sentence and "o+x" in sentence for sentence in said)


@pytest.mark.parametrize(("options", "syncs"), [({}, True), ({"fsync": "on"}, True), ({"fsync": "off"}, False)])
def test_data_is_made_as_safely_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], *, syncs: bool
) -> None:
    commands: list[tuple[str, ...]] = []

    def refuse(_: EmbeddedPostgres, *command: str) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", "")

    monkeypatch.setattr(EmbeddedPostgres, "_run", refuse)
    with pytest.raises(EmbeddedPostgresError):
        EmbeddedPostgres(tmp_path, options=options)._initialize()
    [initdb] = commands
    assert ("--no-sync" not in initdb) == syncs


def test_where_the_extra_is_not_installed_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EmbeddedPostgresError, match="set FUNDS_DATABASE_URL, or install"):
        program_directory()
