"""``funds migrate`` and ``funds tokens``."""

import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding

from service.cli import main
from service.cli.connection import opened_database
from service.settings import Settings
from service.storage.migrations import downgrade
from service.storage.schema import SCHEMA_REVISION
from tests.support.certificates import certificate
from tests.support.servers import RunningService, TestDatabase, free_port, random_token, run_funds


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["serve"],
        ["migrate"],
        ["export"],
        ["import", "accounts"],
        ["import", "transfers"],
        ["tokens"],
        ["tokens", "create"],
        ["tokens", "list"],
        ["tokens", "log"],
        ["tokens", "revoke"],
        ["tokens", "uses"],
        ["verify"],
    ],
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


OPERATORS = ("FUNDS_OPERATOR_DATABASE_URL", "FUNDS_MIGRATION_DATABASE_URL")
BILLING = ("tokens", "create", "--client", "billing", "--scope", "read")


@pytest.fixture
def operator(test_database: TestDatabase) -> dict[str, str]:
    """The settings of an operator: the service's URL, and the one for tokens."""
    return {
        "FUNDS_DATABASE_URL": test_database.service_url,
        "FUNDS_OPERATOR_DATABASE_URL": test_database.operator_url,
    }


def test_tokens_from_creation_to_revocation(operator: dict[str, str], test_database: TestDatabase) -> None:
    created = run_funds(
        *BILLING, "--scope", "transfers:write", "--ledger", "main", "--expires-in", "30d", settings=operator
    )
    assert created.returncode == 0, created.stderr
    assert created.stdout.startswith("fts_")
    assert created.stderr.startswith("It expires ")
    (line,) = run_funds("tokens", "list", settings=operator).stdout.splitlines()
    token_id, rest = line.split(maxsplit=1)
    assert rest.startswith("billing  read,transfers:write  main  active until ")
    assert created.stdout.strip() not in line
    revoked = run_funds("tokens", "revoke", token_id, settings=operator)
    assert revoked.stdout == f"No instance accepts the token {token_id} any more.\n"
    assert "revoked" in run_funds("tokens", "list", settings=operator).stdout
    assert run_funds("tokens", "revoke", token_id, settings=operator).returncode == 0  # again: nothing happens
    logged = [line.split("  ") for line in run_funds("tokens", "log", settings=operator).stdout.splitlines()]
    assert [line[1:] for line in logged] == [
        ["created", token_id, "billing", "by funds_operator"],
        ["revoked", token_id, "billing", "by funds_operator"],
    ]
    assert logged[0][0] <= logged[1][0]
    auditor = operator | {"FUNDS_OPERATOR_DATABASE_URL": test_database.auditor_url}
    assert run_funds("tokens", "log", settings=auditor).stdout.count(token_id) == 2


async def test_how_long_a_token_lives(operator: dict[str, str], test_database: TestDatabase) -> None:
    """The end is by the database's clock: a year by default, and never only when the option says so."""
    lifetimes = {
        (): 365 * 86_400,
        ("--expires-in", "1s"): 1,
        ("--expires-in", "90m"): 5400,
        ("--expires-in", "2w"): 1_209_600,
    }
    connection = await asyncpg.connect(test_database.superuser_url)
    for arguments, seconds in lifetimes.items():
        assert run_funds(*BILLING, *arguments, settings=operator).returncode == 0
        query = "SELECT extract(epoch FROM expires_at - created_at) FROM funds.tokens ORDER BY id DESC LIMIT 1"
        assert abs(float(await connection.fetchval(query)) - seconds) < 0.5
    lasting = run_funds(*BILLING, "--expires-in", "never", settings=operator)
    assert lasting.stderr == "It never expires.\n"
    await connection.execute("UPDATE funds.tokens SET expires_at = clock_timestamp() WHERE expires_at IS NOT NULL")
    await connection.close()
    states = [line.split("  ")[-2] for line in run_funds("tokens", "list", settings=operator).stdout.splitlines()]
    assert [state.split(" 2")[0] for state in states] == ["expired"] * len(lifetimes) + ["active, never expires"]


@pytest.mark.parametrize(
    "lifetime", ["", "0d", "-1d", "1", "d", "1y", "1.5d", "1 d", "36501d", "9" * 40 + "d", "forever", "١d"]
)
def test_a_lifetime_that_is_none(lifetime: str) -> None:
    refused = CliRunner().invoke(main, [*BILLING, "--expires-in", lifetime])
    assert refused.exit_code == 2
    assert "such as 90d" in refused.output


@pytest.mark.parametrize("variable", OPERATORS)
def test_tokens_are_written_by_the_operator_or_the_owner(test_database: TestDatabase, variable: str) -> None:
    urls = dict(zip(OPERATORS, (test_database.operator_url, test_database.owner_url), strict=True))
    settings = {"FUNDS_DATABASE_URL": test_database.service_url, variable: urls[variable]}
    created = run_funds(*BILLING, settings=settings)
    assert (created.returncode, created.stdout[:4]) == (0, "fts_"), created.stderr


@pytest.mark.parametrize("command", [[*BILLING], ["tokens", "list"], ["tokens", "revoke", str(UUID(int=1))]])
@pytest.mark.parametrize("role", ["service", "auditor"])
def test_no_other_role_writes_tokens(test_database: TestDatabase, command: list[str], role: str) -> None:
    url = test_database.service_url if role == "service" else test_database.auditor_url
    refused = run_funds(*command, settings={"FUNDS_DATABASE_URL": url})
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("Error: The role that connects to the database at ")
    assert "FUNDS_OPERATOR_DATABASE_URL" in line


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_certificate_in_the_place_of_a_token(operator: dict[str, str], tmp_path: Path, encoding: Encoding) -> None:
    file, several = tmp_path / "client", tmp_path / "several"
    file.write_bytes(certificate("billing").public_bytes(encoding))
    several.write_bytes(b"".join(certificate(name).public_bytes(Encoding.PEM) for name in ("a", "b")))
    made = run_funds(*BILLING, "--certificate", str(file), settings=operator)
    assert made.stdout == "It is this certificate.\n", made.stderr
    assert made.stderr.startswith("It expires ")
    (line,) = run_funds("tokens", "list", settings=operator).stdout.splitlines()
    assert "  billing  read  every ledger  certificate  active until " in line
    again = run_funds(*BILLING, "--certificate", str(file), settings=operator)
    assert (again.returncode, "was given before" in again.stderr) == (1, True)
    for wrong, reason in ((several, "several certificates"), (tmp_path, "no file"), (Path("/dev/null"), "no file")):
        refused = run_funds(*BILLING, "--certificate", str(wrong), settings=operator)
        assert (refused.returncode, reason in refused.stderr) == (2, True)


def test_names_of_an_issuers_clients_are_the_issuers(operator: dict[str, str]) -> None:
    issuer = {
        "FUNDS_OIDC_ISSUER": "https://issuer.example",
        "FUNDS_OIDC_AUDIENCES": "funds",
        "FUNDS_OIDC_KEYS_FILE": "keys.json",
    }
    command = ("tokens", "create", "--client", "oidc:alice", "--scope", "read")
    refused = run_funds(*command, settings=operator | issuer)
    assert refused.returncode == 1
    assert "Names that begin with oidc: are those of the issuer's clients." in refused.stderr
    assert run_funds(*command, settings=operator | issuer | {"FUNDS_OIDC_CLIENT_PREFIX": "sso:"}).returncode == 0


def test_tokens_refuse_what_does_not_exist(operator: dict[str, str]) -> None:
    unknown_ledger = run_funds(*BILLING, "--ledger", "other", settings=operator)
    assert (unknown_ledger.returncode, unknown_ledger.stderr) == (1, "Error: There is no ledger 'other'.\n")
    unknown_scope = run_funds("tokens", "create", "--client", "x", "--scope", "everything", settings=operator)
    assert unknown_scope.returncode == 2
    unknown_token = run_funds("tokens", "revoke", str(UUID(int=1)), settings=operator)
    assert (unknown_token.returncode, unknown_token.stderr) == (1, f"Error: There is no token {UUID(int=1)}.\n")


async def test_how_often_a_token_was_used(operator: dict[str, str], test_database: TestDatabase) -> None:
    assert run_funds(*BILLING, settings=operator).returncode == 0
    (line,) = run_funds("tokens", "list", settings=operator).stdout.splitlines()
    token_id = line.split()[0]
    assert line.endswith("  never used")
    assert run_funds("tokens", "uses", token_id, settings=operator).stdout == ""
    service = await asyncpg.connect(test_database.service_url)
    for day, requests in ((24, 7), (26, 1_000_000)):
        used_at = datetime(2026, 11, day, 9, 30, tzinfo=UTC)
        await service.execute(
            "INSERT INTO funds.token_uses VALUES ($1, $2, $3, $4)", UUID(token_id), used_at.date(), requests, used_at
        )
    await service.close()
    listed = run_funds("tokens", "list", settings=operator).stdout
    assert listed.endswith("  last used 2026-11-26 09:30:00Z\n")
    shown = run_funds("tokens", "uses", token_id, settings=operator).stdout
    assert shown == "2026-11-24  7  2026-11-24 09:30:00Z\n2026-11-26  1000000  2026-11-26 09:30:00Z\n"
    unknown = run_funds("tokens", "uses", str(UUID(int=1)), settings=operator)
    assert (unknown.returncode, unknown.stderr) == (1, f"Error: There is no token {UUID(int=1)}.\n")


def test_a_token_given_for_its_id_is_not_repeated() -> None:
    refused = CliRunner().invoke(main, ["tokens", "revoke", "fts_S3cr"])
    assert refused.exit_code == 2
    assert "S3cr" not in refused.output
    assert "`funds tokens list` shows them" in refused.output


def test_secrets_from_files(test_database: TestDatabase, tmp_path: Path) -> None:
    """No process of the service shows any secret of the service and its commands in its environment."""
    secrets = {
        "DATABASE_URL": test_database.service_url,
        "READ_DATABASE_URL": test_database.service_url,
        "OPERATOR_DATABASE_URL": test_database.operator_url,
        "MIGRATION_DATABASE_URL": test_database.owner_url,
        "ADMIN_TOKEN": random_token(),
    }
    settings = {"FUNDS_PORT": str(free_port())}
    for name, secret in secrets.items():
        (tmp_path / name).write_text(f"{secret}\n")
        settings[f"FUNDS_{name}_FILE"] = str(tmp_path / name)
    created = run_funds(*BILLING, settings=settings)
    assert created.returncode == 0, created.stderr
    assert run_funds("migrate", "--check", settings=settings).returncode == 0
    service = RunningService(settings, tmp_path / "log")
    try:
        service.wait_until_ready()
        assert ask(service, secrets["ADMIN_TOKEN"]) == 200
        assert ask(service, created.stdout.strip()) == 200
        environments = [path.read_bytes() for path in processes(service.process.pid)]
        assert len(environments) > 1
        for environment in environments:
            for secret in secrets.values():
                assert secret.encode() not in environment
        worker = environments[-1]
        assert b"FUNDS_DATABASE_URL_FILE=" in worker
        assert b"FUNDS_MIGRATION" not in worker
        assert b"FUNDS_OPERATOR" not in worker
    finally:
        assert service.stop() == 0
    assert "$FUNDS_ADMIN_TOKEN_FILE" in service.log.read_text()
    for secret in secrets.values():
        assert secret not in service.log.read_text()


def processes(pid: int) -> list[Path]:
    """Return the environments of a process and its descendants, the parents first."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        pytest.skip("children are listed on Linux only")
    return [
        Path(f"/proc/{pid}/environ"),
        *(path for child in children.read_text().split() for path in processes(int(child))),
    ]


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


@pytest.mark.parametrize("name", ["Main", os.fsdecode(b"\xff")], ids=ascii)
@pytest.mark.parametrize(
    "command",
    [["tokens", "create", "--client", "x", "--scope", "read"], ["import", "accounts", "pyproject.toml"], ["demo"]],
)
def test_what_cannot_be_a_ledgers_name_is_refused_before_the_database_is_asked(command: list[str], name: str) -> None:
    refused = run_funds(*command, "--ledger", name, settings={"FUNDS_DATABASE_URL": "postgresql://nobody@/?host=/none"})
    assert refused.returncode == 2
    assert "A ledger's name has 1 to 63 lower-case letters" in " ".join(refused.stderr.replace("│", " ").split())
