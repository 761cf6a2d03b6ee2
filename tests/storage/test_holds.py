"""Named queries on holds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.holds import Hold
from service.settings import Settings
from service.storage.database import Database
from service.storage.lists import ListOrder
from service.storage.repositories.holds import HoldRepository
from tests.storage.paging import all_pages, in_either_order, ordered, rows_of
from tests.support.rows import MAIN, add_account, add_ledger, insert
from tests.support.servers import TestDatabase

COUNT = 20
PAST, FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
A, B, C = ACCOUNTS = [UUID(int=number) for number in (1, 2, 3)]
PAIRS = [(A, B), (B, C), (C, A)]
STATUSES = ["open", "voided", "expired", "open"]


def pair_of(number: int) -> tuple[UUID, UUID]:
    return PAIRS[number % len(PAIRS)]


def status_of(number: int) -> str:
    return STATUSES[number % len(STATUSES)]


def is_past(number: int) -> bool:
    """Return whether the time of hold ``number`` is over: the higher the number, the earlier the end."""
    return number <= COUNT // 2


EXPIRED = [number for number in range(COUNT, 0, -1) if is_past(number) and status_of(number) == "open"]


@pytest.fixture(scope="module", autouse=True)
async def stored_rows(shared_database: TestDatabase) -> None:
    """Holds 1 to 20 between three accounts, and the same ones in another ledger, where none is past its time."""
    superuser = await asyncpg.connect(shared_database.superuser_url)
    for ledger_id in (MAIN, await add_ledger(superuser, "other")):
        for account_id in ACCOUNTS:
            await add_account(superuser, ledger_id=ledger_id, id=account_id)
        for number in range(1, COUNT + 1):
            debit, credit = pair_of(number)
            closing = {"closed_debit_account_version": 1, "closed_credit_account_version": 1, "closed_at": FUTURE}
            columns: dict[str, Any] = {} if status_of(number) == "open" else closing
            await insert(
                superuser,
                "holds",
                ledger_id=ledger_id,
                id=UUID(int=number),
                debit_account_id=debit,
                credit_account_id=credit,
                amount=number,
                currency="USD",
                status=status_of(number),
                expires_at=PAST - timedelta(days=number) if ledger_id == MAIN and is_past(number) else FUTURE,
                debit_account_version=1,
                credit_account_version=1,
                metadata='{"a": "b"}',
                created_at=PAST - timedelta(days=99),
                client_id="client",
                idempotency_key=f"key {number}",
                **columns,
            )
    await superuser.close()


@pytest.fixture
def holds(shared_session: AsyncSession) -> HoldRepository:
    return HoldRepository(shared_session)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, lambda _: True),
        ({"status": "open"}, lambda number: status_of(number) == "open"),
        ({"status": "voided"}, lambda number: status_of(number) == "voided"),
        ({"status": "captured"}, lambda _: False),
        # On either side.
        ({"account_id": A}, lambda number: A in pair_of(number)),
        ({"account_id": A, "status": "open"}, lambda number: A in pair_of(number) and status_of(number) == "open"),
        ({"account_id": UUID(int=9)}, lambda _: False),
    ],
)
@pytest.mark.parametrize("limit", [1, 3, COUNT])
@in_either_order
async def test_pages_are_in_order_and_miss_nothing(
    holds: HoldRepository, filters: dict[str, Any], expected: Callable[[int], bool], limit: int, order: ListOrder
) -> None:
    async def page(after: Hold | None) -> Any:
        return await rows_of(holds.page(MAIN, limit=limit, order=order, after=after.id if after else None, **filters))

    listed = await all_pages(page, limit)

    expected_numbers = [number for number in range(COUNT, 0, -1) if expected(number)]
    assert [one.id.int for one in listed] == ordered(expected_numbers, order)
    assert {one.ledger_id for one in listed} <= {MAIN}


async def test_by_ids_gives_what_the_ledger_has(holds: HoldRepository) -> None:
    ids = [UUID(int=number) for number in (3, 4, 4, COUNT + 1)]
    found = {one.id.int: one for one in await holds.by_ids(MAIN, ids)}
    assert set(found) == {3, 4}
    assert (found[3].amount, found[3].metadata, found[3].ledger_id) == (3, {"a": "b"}, MAIN)
    assert await holds.by_ids(99, ids) == []


@pytest.mark.parametrize("limit", [1, 3, COUNT])
async def test_expired_are_the_open_ones_past_their_time(holds: HoldRepository, limit: int) -> None:
    """Those of all ledgers, the earliest end first."""
    found = await holds.expired(limit=limit)
    assert found == [(MAIN, UUID(int=number)) for number in EXPIRED][:limit]


async def test_a_hold_locked_by_another_transaction_is_skipped(holds: HoldRepository, pool: Database) -> None:
    """The query does not wait for it either, so two sweepers share the work. What has ended is nothing to work on."""
    expired = [UUID(int=number) for number in EXPIRED]
    first = await holds.untouched(MAIN, [expired[1], expired[0], UUID(int=1), UUID(int=COUNT + 1)])
    async with pool.sessions() as session:
        second = await HoldRepository(session).untouched(MAIN, expired)
        locked = text("SELECT id FROM funds.holds WHERE ledger_id = 1 AND id = :id FOR KEY SHARE NOWAIT")
        await session.execute(locked, {"id": first[0]})  # who only points at it need not wait either

    assert first == sorted(expired[:2])
    assert second == sorted(expired[2:])
    assert await holds.untouched(MAIN + 1, expired[:1]) == expired[:1], "the other ledger's hold of that id"


@pytest.mark.parametrize("limit", [1, 3, COUNT])
@pytest.mark.parametrize("known", [(), EXPIRED[:2]])
@pytest.mark.parametrize("accounts", [[A], [C], [A, B], [UUID(int=9)]])
async def test_expired_of_accounts_are_those_of_either_side(
    holds: HoldRepository, accounts: list[UUID], known: list[int], limit: int
) -> None:
    found = await holds.expired_of(MAIN, accounts, known=[UUID(int=number) for number in known], limit=limit)
    of_accounts = [number for number in EXPIRED if number not in known and set(pair_of(number)) & set(accounts)]
    assert [hold_id.int for hold_id in found] == of_accounts[:limit]


async def test_other_ledgers_have_none(holds: HoldRepository) -> None:
    assert await holds.expired_of(MAIN + 1, ACCOUNTS, known=[], limit=COUNT) == []


@pytest.mark.parametrize("connect", [Database.connect, Database.connect_batches])
async def test_an_accounts_open_holds_are_not_looked_through_for_expired_ones(
    test_database: TestDatabase, connect: Callable[..., Database]
) -> None:
    """Otherwise the cost of every rejection on an account would grow with the number of its holds."""
    superuser = await asyncpg.connect(test_database.superuser_url)
    for account_id in (A, B):
        await add_account(superuser, id=account_id)
    await superuser.execute(
        "INSERT INTO funds.holds (ledger_id, id, debit_account_id, credit_account_id, amount, currency, expires_at,"
        " debit_account_version, credit_account_version, metadata, created_at, client_id, idempotency_key)"
        " SELECT 1, gen_random_uuid(), $1, $2, 1, 'USD', now() + interval '1 day', 1, 1, '{}', now(), 'client', 'key'"
        " FROM generate_series(1, 20000)",
        A,
        B,
    )
    await superuser.execute(
        "UPDATE funds.holds SET expires_at = now() + interval '1 microsecond'"
        " WHERE id IN (SELECT id FROM funds.holds LIMIT 3)"
    )
    read = """
        SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'holds')
               + (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'holds')
    """
    database = connect(test_database.service_url, Settings())
    await superuser.execute("SELECT pg_stat_force_next_flush()")
    before = await superuser.fetchval(read)
    async with database.sessions() as session:
        assert len(await HoldRepository(session).expired_of(MAIN, [A], known=[], limit=10)) == 3
        await session.execute(text("SELECT pg_stat_force_next_flush()"))
    await database.close()
    assert await superuser.fetchval(read) - before < 100
    await superuser.close()
