"""``funds serve`` as an operator uses it: a process with signals, an exit code and messages."""

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import httpx
import pytest

from service.storage.migrations import downgrade
from service.storage.schema import SCHEMA_REVISION
from tests.support.process_costs import process_ids
from tests.support.servers import RunningService, TestDatabase, free_port, run_funds

STOPPED = ["Stopping: finishing what has been accepted.", "Stopped."]
Start = Callable[..., RunningService]


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Start]:
    """Start ``funds serve`` with the embedded PostgreSQL, on the same data each time."""
    port = str(free_port())
    running: list[RunningService] = []

    def start(*, wait: bool = True, **environment: str) -> RunningService:
        settings = {"FUNDS_DATA_DIR": str(tmp_path / "data"), "FUNDS_PORT": port} | environment
        service = RunningService(settings, tmp_path / f"serve-{len(running)}.log")
        running.append(service)
        if wait:
            service.wait_until_ready()
            service.admin_token = (tmp_path / "data" / "admin-token").read_text().strip()
        return service

    yield start
    for service in running:
        service.stop()


def make_ledger(service: RunningService, name: str) -> int:
    answer = httpx.post(
        f"{service.url}/v1/ledgers", json={"name": name}, headers=service.headers | {"Idempotency-Key": name}
    )
    return answer.status_code


def ledgers(service: RunningService) -> set[str]:
    answer = httpx.get(f"{service.url}/v1/ledgers", headers=service.headers)
    return {ledger["name"] for ledger in answer.json()["items"]}


def sentences(service: RunningService) -> list[str]:
    """Return what the service has told the operator, without the lines of its log."""
    return [line for line in service.log.read_text().splitlines() if not line.startswith("{")]


def refused(settings: dict[str, str], *arguments: str) -> str:
    """Run ``funds serve`` where it must refuse to start, and return its message."""
    ended = run_funds("serve", *arguments, settings=settings)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    # A server of tests has fsync off, which is warned of.
    lines = [line for line in ended.stderr.splitlines() if not line.startswith(("Granted passage", "Warning: "))]
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("Error: ")
    return lines[0].removeprefix("Error: ")


def test_first_start_says_where_everything_is(embedded: Start, tmp_path: Path) -> None:
    service = embedded()
    token_file = tmp_path / "data" / "admin-token"
    assert token_file.stat().st_mode & 0o777 == 0o600
    deadline = time.monotonic() + 30
    while "curl" not in service.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    said = service.log.read_text()
    assert re.search(rf"^Data +{re.escape(str(tmp_path / 'data'))}$", said, re.MULTILINE)
    assert re.search(rf"^Service +{service.url}$", said, re.MULTILINE)
    assert re.search(rf"^Docs +{service.url}/docs$", said, re.MULTILINE)
    assert f'curl -H "Authorization: Bearer $(cat {token_file})" {service.url}/v1/ledgers' in said
    assert service.admin_token not in said
    assert ledgers(service) == {"main"}


def test_a_signal_stops_everything_and_a_restart_finds_the_data(embedded: Start, tmp_path: Path) -> None:
    service = embedded()
    token = service.admin_token
    assert make_ledger(service, "kept") == 201
    assert service.stop(signal.SIGTERM) == 0
    assert sentences(service)[-2:] == STOPPED
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()
    started = time.monotonic()
    again = embedded()
    assert time.monotonic() - started < 15
    assert again.admin_token == token
    assert ledgers(again) == {"main", "kept"}
    assert again.stop(signal.SIGHUP) == 0, "the terminal was closed"
    assert sentences(again)[-2:] == STOPPED


def test_ctrl_c_for_the_whole_terminal_group(embedded: Start) -> None:
    service = embedded(FUNDS_WORKERS="2")
    os.killpg(service.process.pid, signal.SIGINT)
    os.killpg(service.process.pid, signal.SIGINT)
    assert service.stop(signal.SIGINT) == 0
    assert "Unexpected exit" not in service.log.read_text()


def test_ctrl_c_while_starting_leaves_no_database_running(embedded: Start, tmp_path: Path) -> None:
    service = embedded(wait=False)
    deadline = time.monotonic() + 30
    while not (tmp_path / "data" / "postgres.new").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    service.process.send_signal(signal.SIGINT)
    assert service.stop(signal.SIGINT) == 0
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()
    assert "Traceback" not in service.log.read_text()


def test_after_kill_9_a_restart_finds_the_data(embedded: Start) -> None:
    service = embedded()
    assert make_ledger(service, "kept") == 201
    service.kill()
    again = embedded()
    assert ledgers(again) == {"main", "kept"}
    assert make_ledger(again, "kept") == 201, "the replay of the same key"


def test_a_worker_that_dies_is_replaced(serve: Start) -> None:
    service = serve()
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    if not children.exists():
        pytest.skip("children are listed on Linux only")
    worker = int(children.read_text().split()[-1])
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while str(worker) in children.read_text().split() and time.monotonic() < deadline:
        time.sleep(0.05)
    service.wait_until_ready()
    assert service.stop() == 0


def test_each_process_loads_what_it_needs(serve: Start) -> None:
    """The main process does without what workers take longest to load. They load nothing that is only installed beside
    the service, here for tests: what Litestar finds, it would use. Told by the libraries that each process has mapped.
    """
    if not Path("/proc/self/maps").exists():
        pytest.skip("what is mapped is listed on Linux only")
    service = serve()
    in_main = Path(f"/proc/{service.process.pid}/maps").read_text()
    started = [pid for pid in process_ids(service.process.pid) if pid != service.process.pid]
    in_workers = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in started)
    for library in ("/greenlet/", "/multidict/"):  # SQLAlchemy's, Litestar's
        assert library in in_workers
        assert library not in in_main
    assert find_spec("pydantic_core") is not None
    assert "/pydantic_core/" not in in_workers


async def test_a_worker_that_fails_at_its_start_says_why_in_the_log(serve: Start, test_database: TestDatabase) -> None:
    """The traceback is written as in the logs, without values, and not as multiprocessing writes it."""
    service = serve()
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    if not children.exists():
        pytest.skip("children are listed on Linux only")
    superuser = await asyncpg.connect(test_database.superuser_url)
    await superuser.execute("ALTER TABLE funds.alembic_version RENAME version_num TO other")
    await superuser.close()
    os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)
    deadline = time.monotonic() + 30
    while '"the worker failed"' not in service.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    line = next(line for line in service.log.read_text().splitlines() if '"the worker failed"' in line)
    assert "(SQLSTATE 42703)" in json.loads(line)["exception"]
    assert "Process spawn" not in service.log.read_text()


async def test_a_worker_that_starts_without_the_database_says_so_and_the_next_one_finds_it(
    serve: Start, test_database: TestDatabase
) -> None:
    service = serve()
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    if not children.exists():
        pytest.skip("children are listed on Linux only")
    superuser = await asyncpg.connect(test_database.superuser_url)
    name = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)
    deadline = time.monotonic() + 30
    while "cannot start" not in service.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    await superuser.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
    await superuser.close()
    await asyncio.to_thread(service.wait_until_ready)
    told = service.log.read_text()
    assert "The worker cannot start without the database: too many connections for database" in told
    assert "Traceback" not in told


def test_two_on_the_same_data(embedded: Start, tmp_path: Path) -> None:
    embedded()
    sentence = refused({"FUNDS_DATA_DIR": str(tmp_path / "data"), "FUNDS_PORT": str(free_port())})
    assert "is in use by another funds process" in sentence


def test_port_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = refused({"FUNDS_DATA_DIR": str(tmp_path / "data"), "FUNDS_PORT": str(port)})
    assert sentence.startswith(f"Port {port} on 127.0.0.1 cannot be used (address already in use)")


def test_one_port_for_both_listeners(database_url: str) -> None:
    port = str(free_port())
    sentence = refused({"FUNDS_DATABASE_URL": database_url, "FUNDS_PORT": port, "FUNDS_OPERATIONS_PORT": port})
    assert sentence.startswith(f"Port {port} on 127.0.0.1 cannot be used (address already in use)")
    assert "FUNDS_OPERATIONS_PORT" in sentence


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_host_that_no_name_can_be(host: str) -> None:
    assert refused({"FUNDS_HOST": host}).startswith("FUNDS_HOST is no name of a host")


def test_host_that_is_not_ours() -> None:
    assert "cannot be used" in refused({"FUNDS_HOST": "192.0.2.1", "FUNDS_PORT": str(free_port())})


def test_data_directory_not_writable(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    sentence = refused({"FUNDS_DATA_DIR": str(tmp_path / "data"), "FUNDS_PORT": str(free_port())})
    assert f"The data directory {tmp_path / 'data'} cannot be written" in sentence


def test_database_not_reachable() -> None:
    port = free_port()
    url = f"postgresql://funds_service:secret@127.0.0.1:{port}/funds"
    sentence = refused({"FUNDS_DATABASE_URL": url, "FUNDS_PORT": str(free_port())})
    assert sentence == f"The database at 127.0.0.1:{port} cannot be reached: Connection refused."


def test_a_replica_that_is_away_is_told_of_and_waited_for(serve: Start) -> None:
    """The service starts without its replica."""
    service = serve(FUNDS_READ_DATABASE_URL=f"postgresql://funds_service:secret@127.0.0.1:{free_port()}/funds")
    assert "Replica: The database at 127.0.0.1:" in service.log.read_text()


def test_a_replica_whose_url_is_wrong(database_url: str) -> None:
    url = "postgresql://funds_service:S3cr/t@127.0.0.1/funds"
    settings = {"FUNDS_DATABASE_URL": database_url, "FUNDS_READ_DATABASE_URL": url, "FUNDS_PORT": str(free_port())}
    sentence = refused(settings)
    assert sentence.startswith("The database URL cannot be read: ")
    assert "S3cr" not in sentence


def test_database_that_does_not_exist(database_url: str) -> None:
    url = re.sub(r"/funds_test_\w+", "/nowhere", database_url)
    assert 'database "nowhere" does not exist' in refused({"FUNDS_DATABASE_URL": url, "FUNDS_PORT": str(free_port())})


def test_url_that_is_none() -> None:
    sentence = refused({"FUNDS_DATABASE_URL": "mysql://x", "FUNDS_PORT": str(free_port())})
    assert "scheme is expected to be" in sentence


def test_bad_setting() -> None:
    assert refused({"FUNDS_PORT": "eight"}).startswith("FUNDS_PORT: ")
    assert refused({"FUNDS_PROT": "8000"}) == "FUNDS_PROT is no setting of this service"


async def test_schema_behind(test_database: TestDatabase) -> None:
    await downgrade(test_database.owner_url, "base")
    settings = {"FUNDS_DATABASE_URL": test_database.service_url, "FUNDS_PORT": str(free_port())}
    behind = f"The database schema is at 0000, this version needs {SCHEMA_REVISION}: run `funds migrate`."
    assert refused(settings, "--no-migrate") == behind
    assert refused(settings) == behind, "the service's role may not migrate"


async def test_serve_migrates_as_the_owner(test_database: TestDatabase, tmp_path: Path) -> None:
    await downgrade(test_database.owner_url, "base")
    settings = {
        "FUNDS_DATABASE_URL": test_database.service_url,
        "FUNDS_MIGRATION_DATABASE_URL": test_database.owner_url,
        "FUNDS_PORT": str(free_port()),
    }
    service = RunningService(settings, tmp_path / "log")
    try:
        service.wait_until_ready()
        assert f"Migrated the database schema from 0000 to {SCHEMA_REVISION}" in service.log.read_text()
    finally:
        service.stop()


def test_a_role_that_may_not_write_is_refused(test_database: TestDatabase) -> None:
    environment = {"FUNDS_DATABASE_URL": test_database.auditor_url, "FUNDS_PORT": str(free_port())}
    sentence = refused(environment, "--no-migrate")
    assert "set FUNDS_DATABASE_URL to the URL of funds_service" in sentence
