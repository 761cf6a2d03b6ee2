"""Somebody changes the database under a running service: what passes is waited out, what does not is told once."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.concurrency.bank import Bank, open_bank
from tests.concurrency.client import Answer, Client
from tests.concurrency.journal import Journal
from tests.servers import RunningService, TestDatabase

Serve = Callable[..., RunningService]

REQUESTS = 12


@asynccontextmanager
async def _superuser(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.superuser_url)
    try:
        yield connection
    finally:
        await connection.close()


async def _cut_connections(superuser: asyncpg.Connection) -> None:
    await superuser.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def _ask(client: Client, bank: Bank, key: str) -> list[Answer]:
    """Send one request of each kind."""
    ledger, (a, b, *_) = f"/v1/ledgers/{bank.ledger}", bank.customers
    body = {"debit_account_id": a, "credit_account_id": b, "amount": 1, "currency": "USD"}
    return [
        await client.call("POST", f"{ledger}/transfers", body, key=key),
        await client.call("GET", f"{ledger}/accounts/{a}"),
        await client.call("GET", f"{ledger}/accounts"),
        await client.call("GET", f"{ledger}/transfers"),
        await client.call("POST", f"{ledger}/transfers?dry_run=true", body),
        await client.call("POST", f"{ledger}/accounts", {"currency": "USD"}, key=f"{key}-account"),
    ]


def _reasons(service: RunningService, sqlstate: str) -> list[str]:
    """The reasons of the storage's lines in the log that name ``sqlstate``."""
    lines = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]
    told = [line["reason"] for line in lines if line["logger"] == "service.storage.retry"]
    return [reason for reason in told if sqlstate in reason]


CHANGES = {
    "accounts": ("name", "varchar(300)", "text"),
    "transfers": ("description", "varchar(3000)", "text"),
    "decisions": ("operation", "varchar(300)", "text"),
}


@pytest.mark.parametrize("table", CHANGES)
async def test_a_column_whose_type_changes_is_not_noticed(
    serve: Serve, journal: Journal, test_database: TestDatabase, table: str
) -> None:
    """Plans that the server has kept for it end with 0A000, in the engine's transaction too: all is run again."""
    service = serve()
    column, narrow, wide = CHANGES[table]
    async with Client(service.url, service.admin_token) as client, _superuser(test_database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        for number, new_type in enumerate((wide, narrow, wide)):
            for again in range(6):  # the server keeps a plan from the fifth use on
                told = await _ask(client, bank, f"{number}-{again}")
                assert [answer.status for answer in told] == [201, 200, 200, 200, 200, 201]
            await superuser.execute(f"ALTER TABLE funds.{table} ALTER COLUMN {column} TYPE {new_type}")
    assert "Traceback" not in service.log.read_text()


async def test_a_privilege_that_is_revoked_and_given_back(
    serve: Serve, journal: Journal, test_database: TestDatabase
) -> None:
    service = serve()
    async with Client(service.url, service.admin_token) as client, _superuser(test_database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        await superuser.execute("REVOKE SELECT ON funds.accounts, funds.transfers, funds.decisions FROM funds_service")
        for number in range(REQUESTS // 6):
            _assert_unavailable(await _ask(client, bank, f"revoked-{number}"))
        await superuser.execute("GRANT SELECT ON funds.accounts, funds.transfers, funds.decisions TO funds_service")
        assert {answer.status for answer in await _ask(client, bank, "granted")} == {200, 201}
    reasons = _reasons(service, "42501")
    assert reasons, service.log.read_text()
    assert len(reasons) == len(set(reasons)), "each cause is told once"
    assert all("permission denied" in reason for reason in reasons)
    assert "Traceback" not in service.log.read_text()


async def test_a_role_that_may_not_log_in_any_more(serve: Serve, journal: Journal, test_database: TestDatabase) -> None:
    service = serve()
    async with Client(service.url, service.admin_token) as client, _superuser(test_database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        await superuser.execute("ALTER ROLE funds_service NOLOGIN")
        try:
            await _cut_connections(superuser)
            for number in range(REQUESTS // 6):
                _assert_unavailable(await _ask(client, bank, f"locked-{number}"))
            assert (await client.call("GET", "/health/ready")).status == 503
        finally:
            await superuser.execute("ALTER ROLE funds_service LOGIN")
        assert {answer.status for answer in await _ask(client, bank, "unlocked")} == {200, 201}
        assert (await client.call("GET", "/health/ready")).status == 200
    assert len(_reasons(service, "28000")) == 1, service.log.read_text()
    assert "Traceback" not in service.log.read_text()


async def test_a_database_that_takes_no_connections(
    serve: Serve, journal: Journal, test_database: TestDatabase
) -> None:
    """Whatever its SQLSTATE (here that of a wrong state), what a new connection is refused for passes."""
    service = serve()
    async with Client(service.url, service.admin_token) as client, _superuser(test_database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        allow = "UPDATE pg_database SET datallowconn = {} WHERE datname = current_database()"
        await superuser.execute(allow.format("false"))
        await _cut_connections(superuser)
        _assert_unavailable(await _ask(client, bank, "closed"))
        await superuser.execute(allow.format("true"))
        assert {answer.status for answer in await _ask(client, bank, "open")} == {200, 201}
    assert len(_reasons(service, "55000")) == 1, service.log.read_text()
    assert "Traceback" not in service.log.read_text()


async def test_a_role_that_may_not_write_for_a_time(
    serve: Serve, journal: Journal, test_database: TestDatabase
) -> None:
    """Sessions that began meanwhile stay read only; they are replaced, by the probe's and by the callers' work."""
    service = serve()
    async with Client(service.url, service.admin_token) as client, _superuser(test_database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        name = await superuser.fetchval("SELECT current_database()")
        role = f"ALTER ROLE funds_service IN DATABASE {name}"
        await superuser.execute(f"{role} SET default_transaction_read_only = on")
        await _cut_connections(superuser)
        for number in range(REQUESTS // 6):
            told = await _ask(client, bank, f"read-only-{number}")
            _assert_unavailable([told[0], told[5]])
            assert [answer.status for answer in told[1:5]] == [200] * 4
        probe = await client.call("GET", "/health/ready")
        assert (probe.status, probe.content["checks"]["database"]["reason"]) == (503, "takes no writes")

        await superuser.execute(f"{role} RESET default_transaction_read_only")
        assert {answer.status for answer in await _ask(client, bank, "writable")} == {200, 201}
        assert (await client.call("GET", "/health/ready")).status == 200
    assert "Traceback" not in service.log.read_text()


async def test_a_schema_that_is_not_ours_is_a_fault_of_ours_and_told_once(
    serve: Serve, journal: Journal, test_database: TestDatabase
) -> None:
    """No waiting heals it: 500, at once, and one line with a traceback for each cause."""
    service = serve()
    async with Client(service.url, service.admin_token) as client, _superuser(test_database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        await superuser.execute("ALTER TABLE funds.accounts RENAME COLUMN version TO versions")
        for number in range(REQUESTS):
            told = await _ask(client, bank, f"renamed-{number}")
            assert {answer.content["code"] for answer in told[:3]} == {"internal_error"}
            assert {answer.content["outcome"] for answer in told[:3]} == {"not_applied"}
    lines = service.log.read_text().count("Traceback (most recent call last)")
    assert 0 < lines <= 12, "a cause has one line, however many requests meet it"


def _assert_unavailable(told: list[Answer]) -> None:
    for answer in told:
        assert (answer.status, answer.content["code"]) == (503, "database_unavailable"), answer.content
        assert answer.content["outcome"] == "not_applied"
