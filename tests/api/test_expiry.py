"""Expiry of holds: from that time on nothing of a hold moves, and the sweeper frees what it reserved."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.api.moves import capture, expire, freed, held, open_hold, post_capture, post_void, read_hold
from tests.support.application import Application, serving
from tests.support.http_ledger import JSON, LedgerClient, answer, item, problem, transfer, unique
from tests.support.servers import TestDatabase, TestPostgres

LATE = {"captures": post_capture, "void": post_void}


@pytest.fixture(scope="module")
async def database(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    """A database that no other application sweeps."""
    async with postgres.fresh_database() as database:
        yield database


@pytest.fixture(scope="module")
async def unswept(database: TestDatabase) -> AsyncIterator[Application]:
    """An application whose sweeper has looked once, at its start, and does not come again."""
    async with serving(database, hold_sweep_interval_seconds=86_400) as application:
        yield application


@pytest.fixture
async def ledger(unswept: Application) -> AsyncIterator[LedgerClient]:
    async with unswept.client(unswept.settings.admin_token) as client:
        yield await LedgerClient.open(client, unique("unswept"))


@pytest.mark.parametrize("late", LATE)
async def test_a_hold_past_its_time_is_expired_before_the_sweeper_comes(
    ledger: LedgerClient, database: TestDatabase, payer: JSON, payee: JSON, late: str
) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    await capture(ledger, hold, amount=10, final=False)
    passed = await expire(ledger, database, hold)
    refused = problem(await LATE[late](ledger, hold), 409, "hold_expired")
    assert refused | {"hold_id": hold["id"], "expires_at": passed["expires_at"]} == refused
    assert await read_hold(ledger, hold) == passed
    assert (passed["status"], passed["captured_amount"]) == ("open", 10)
    assert held(await ledger.read_account(payer)) == (90, 70, 20, 0), "only the sweeper frees what is reserved"


async def test_expiry_is_named_before_the_faults_of_a_capture(
    ledger: LedgerClient, database: TestDatabase, payer: JSON, payee: JSON
) -> None:
    hold = await open_hold(ledger, payer, payee)
    await expire(ledger, database, hold)
    await ledger.revise(payer, status="frozen")
    problem(await post_capture(ledger, hold, amount=2, effective_at="2001-01-01T00:00:00Z"), 409, "hold_expired")


async def test_a_rejection_by_time_stays_after_the_sweeper(
    ledger: LedgerClient, database: TestDatabase, payer: JSON, payee: JSON
) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    await expire(ledger, database, hold)
    first = await post_capture(ledger, hold, key="late")
    async with serving(database) as swept, swept.client(swept.settings.admin_token) as client:
        elsewhere = ledger.seen_by(client)
        assert (await freed(elsewhere, hold))["status"] == "expired"
        again = await post_capture(elsewhere, hold, key="late")
        problem(await post_capture(elsewhere, hold), 409, "hold_expired")
        problem(await post_void(elsewhere, hold), 409, "hold_expired")
    assert answer(again) == answer(first)
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_a_hold_that_somebody_has_locked_keeps_no_other_from_its_end(
    ledger: LedgerClient, database: TestDatabase, payer: JSON, payee: JSON
) -> None:
    holds = [await open_hold(ledger, payer, payee, 10) for _ in range(2)]
    for hold in holds:
        await expire(ledger, database, hold)
    connection = await asyncpg.connect(database.superuser_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM funds.holds WHERE id = $1::text::uuid FOR UPDATE", holds[0]["id"])
            async with serving(database):
                assert (await freed(ledger, holds[1]))["status"] == "expired"
                assert (await read_hold(ledger, holds[0]))["status"] == "open"
    finally:
        await connection.close()


async def test_what_expired_while_no_service_ran_is_freed_at_its_start(
    ledger: LedgerClient, database: TestDatabase, payer: JSON, payee: JSON
) -> None:
    holds = [await open_hold(ledger, payer, payee, 10) for _ in range(3)]
    for hold in holds[:2]:
        await expire(ledger, database, hold)
    async with serving(database, hold_sweep_interval_seconds=86_400, hold_sweep_holds_max=1):
        assert [(await freed(ledger, hold))["status"] for hold in holds[:2]] == ["expired", "expired"]
    assert await read_hold(ledger, holds[2]) == holds[2]
    assert held(await ledger.read_account(payer)) == (100, 90, 10, 0)


async def test_what_an_expired_hold_reserves_is_free_for_whatever_needs_it(
    ledger: LedgerClient, database: TestDatabase, payer: JSON, payee: JSON
) -> None:
    """The amount shows as held until a command needs it."""
    hold = await open_hold(ledger, payer, payee, 100)
    await expire(ledger, database, hold)
    asked = transfer(payer, payee, amount=100)
    foretold = await ledger.client.post(ledger.transfers, params={"dry_run": "true"}, json=asked)
    assert foretold.status_code == 200, foretold.text
    assert held(await ledger.read_account(payer)) == (100, 0, 100, 0), "a dry run frees nothing"
    posted = await ledger.move(payer, payee, 100)
    ended = await read_hold(ledger, hold)
    assert (ended["status"], ended["closed_at"]) == ("expired", posted["created_at"])
    assert held(await ledger.read_account(payer)) == (0, 0, 0, 0)
    assert (posted["debit_account_version"], ended["closed_debit_account_version"]) == (4, 3)


async def test_a_batch_an_account_and_its_minimum_see_it_too(
    ledger: LedgerClient, database: TestDatabase, payer: JSON, payee: JSON
) -> None:
    other = await ledger.account()
    await expire(ledger, database, await open_hold(ledger, payer, payee, 50))
    assert (await ledger.revise(payer, minimum_balance=100)).status_code == 200
    assert (await ledger.revise(payer, minimum_balance=0)).status_code == 200
    await expire(ledger, database, await open_hold(ledger, payer, payee, 100))
    group = [item(payer, payee, amount=60, group="g"), item(payer, other, amount=40, group="g")]
    assert (await ledger.batch(*group)).status_code == 201
    await expire(ledger, database, await open_hold(ledger, payee, other, 7))
    await ledger.move(payee, other, 60)
    problem(await ledger.revise(other, status="closed"), 409, "account_not_empty")
    assert (await ledger.revise(payee, status="closed")).status_code == 200
