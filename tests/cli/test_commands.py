"""``funds migrate`` and ``funds tokens``."""

from pathlib import Path
from uuid import UUID

import httpx
import pytest
from click.testing import CliRunner

from service.cli import main
from service.cli.connection import opened_database
from service.settings import Settings
from service.storage.migrations import SCHEMA_REVISION, downgrade
from tests.servers import RunningService, TestDatabase, free_port, run_funds


@pytest.mark.parametrize(
    "command", [[], ["serve"], ["migrate"], ["tokens"], ["tokens", "create"], ["tokens", "list"], ["tokens", "revoke"]]
)
def test_help(command: list[str]) -> None:
    shown = CliRunner().invoke(main, [*command, "--help"])
    assert shown.exit_code == 0
    assert shown.output.startswith("Usage: ")


async def test_migrate(test_database: TestDatabase) -> None:
    await downgrade(test_database.owner_url, "base")
    settings = {
        "FUNDS_DATABASE_URL": test_database.service_url,
        "FUNDS_MIGRATION_DATABASE_URL": test_database.owner_url,
    }
    behind = run_funds("migrate", "--check", settings=settings)
    assert behind.returncode == 1
    assert "The database schema is at 0000" in behind.stderr
    done = run_funds("migrate", settings=settings)
    assert (done.returncode, done.stdout) == (0, f"The database schema went from 0000 to {SCHEMA_REVISION}.\n")
    again = run_funds("migrate", settings=settings)
    assert (again.returncode, again.stdout) == (0, f"The database schema is at {SCHEMA_REVISION}: nothing to do.\n")
    assert run_funds("migrate", "--check", settings=settings).returncode == 0


def test_tokens_from_creation_to_revocation(database_url: str) -> None:
    settings = {"FUNDS_DATABASE_URL": database_url}
    created = run_funds(
        *("tokens", "create", "--client", "billing", "--scope", "read", "--scope", "transfers:write"),
        *("--ledger", "main", "--expires-in-days", "30"),
        settings=settings,
    )
    assert created.returncode == 0, created.stderr
    assert created.stdout.startswith("fts_")
    (line,) = run_funds("tokens", "list", settings=settings).stdout.splitlines()
    token_id, rest = line.split(maxsplit=1)
    assert rest.startswith("billing  read,transfers:write  main  active until ")
    assert created.stdout.strip() not in line
    revoked = run_funds("tokens", "revoke", token_id, settings=settings)
    assert revoked.stdout == f"No instance accepts the token {token_id} any more.\n"
    assert "revoked" in run_funds("tokens", "list", settings=settings).stdout


def test_tokens_refuse_what_does_not_exist(database_url: str) -> None:
    settings = {"FUNDS_DATABASE_URL": database_url}
    unknown_ledger = run_funds(
        "tokens", "create", "--client", "x", "--scope", "read", "--ledger", "other", settings=settings
    )
    assert (unknown_ledger.returncode, unknown_ledger.stderr) == (1, "Error: There is no ledger 'other'.\n")
    unknown_scope = run_funds("tokens", "create", "--client", "x", "--scope", "everything", settings=settings)
    assert unknown_scope.returncode == 2
    unknown_token = run_funds("tokens", "revoke", str(UUID(int=1)), settings=settings)
    assert (unknown_token.returncode, unknown_token.stderr) == (1, f"Error: There is no token {UUID(int=1)}.\n")


def test_tokens_in_embedded_mode_with_and_without_the_service(tmp_path: Path) -> None:
    settings = {"FUNDS_DATA_DIR": str(tmp_path / "data"), "FUNDS_PORT": str(free_port())}
    create = ["tokens", "create", "--client", "billing", "--scope", "read"]
    before = run_funds(*create, settings=settings)
    assert before.returncode == 0, before.stderr
    service = RunningService(settings, tmp_path / "log")
    try:
        service.wait_until_ready()
        during = run_funds(*create, settings=settings)
        assert during.returncode == 0, during.stderr
        for token in (before.stdout.strip(), during.stdout.strip()):
            assert ask(service, token) == 200
        newest = run_funds("tokens", "list", settings=settings).stdout.splitlines()[-1].split()[0]
        assert run_funds("tokens", "revoke", newest, settings=settings).returncode == 0
        assert ask(service, during.stdout.strip()) == 401
        assert ask(service, before.stdout.strip()) == 200
    finally:
        assert service.stop() == 0
    after = run_funds("tokens", "list", settings=settings)
    assert len(after.stdout.splitlines()) == 3


def test_a_command_stops_the_database_that_it_started(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with opened_database(settings):
        assert (tmp_path / "data" / "postgres" / "postmaster.pid").exists()
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()


def ask(service: RunningService, token: str) -> int:
    return httpx.get(f"{service.url}/v1/ledgers", headers={"Authorization": f"Bearer {token}"}).status_code


@pytest.mark.parametrize(
    ("client", "reason"),
    [("c" * 3_500, "has 3500 characters; a client's name has at most 128"), ("billing ", "white space at the ends")],
)
def test_a_token_needs_a_name_that_is_one(database_url: str, client: str, reason: str) -> None:
    settings = {"FUNDS_DATABASE_URL": database_url}
    refused = run_funds("tokens", "create", "--client", client, "--scope", "read", settings=settings)
    assert refused.returncode == 2
    assert reason in " ".join(refused.stderr.replace("│", " ").split())
