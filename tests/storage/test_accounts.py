"""Named queries on accounts."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.accounts import AccountDetails
from service.storage.database import Database
from service.storage.lists import ListOrder
from service.storage.repositories.accounts import AccountRepository
from service.storage.rows import RECENT_CHANGES, AccountRow
from tests.storage.paging import all_pages, in_either_order, ordered, rows_of, statements
from tests.support.rows import MAIN, add_account, add_ledger, add_transfer
from tests.support.servers import TestDatabase

COUNT = 12
BUSY, FRIEND = (UUID(int=number) for number in (101, 102))
"""Accounts of a ledger of their own, with ``TRANSFERS`` transfers between them."""

TRANSFERS = RECENT_CHANGES + 5


@pytest.fixture(scope="module", autouse=True)
async def stored_rows(shared_database: TestDatabase) -> None:
    """Accounts 1 to 12 in the main ledger, the same ids in another one."""
    superuser = await asyncpg.connect(shared_database.superuser_url)
    other = await add_ledger(superuser, "other")
    for number in range(1, COUNT + 1):
        shared: dict[str, Any] = {"id": UUID(int=number), "reference": f"reference {number}"}
        await add_account(superuser, **shared, currency="EUR" if number % 2 else "USD", status=_status(number))
        await add_account(superuser, **shared, ledger_id=other, name="other")
    third = await add_ledger(superuser, "third")
    for account_id in (BUSY, FRIEND):
        await add_account(superuser, ledger_id=third, id=account_id, version=TRANSFERS, metadata='{"a": "b"}')
    for number in range(1, TRANSFERS + 1):
        pair = (BUSY, FRIEND) if number % 2 else (FRIEND, BUSY)
        columns: dict[str, Any] = {"debit_account_version": number, "credit_account_version": number}
        await add_transfer(superuser, *pair, ledger_id=third, id=UUID(int=1000 + number), **columns)
    await superuser.close()


def _status(number: int) -> str:
    return ("open", "frozen", "closed")[number % 3]


@pytest.fixture
def accounts(shared_session: AsyncSession) -> AccountRepository:
    return AccountRepository(shared_session)


@pytest.fixture
async def third(shared_session: AsyncSession) -> int:
    return int((await shared_session.execute(text("SELECT id FROM funds.ledgers WHERE name = 'third'"))).scalar_one())


@pytest.mark.parametrize("limit", [1, 5, COUNT, COUNT + 1])
@in_either_order
async def test_pages_are_in_order_and_miss_nothing(accounts: AccountRepository, limit: int, order: ListOrder) -> None:
    async def page(after: AccountDetails | None) -> Any:
        return await rows_of(accounts.page(MAIN, limit=limit, order=order, after=after.id if after else None))

    listed = await all_pages(page, limit)

    assert [one.id.int for one in listed] == ordered(range(COUNT, 0, -1), order)
    assert {one.name for one in listed} == {None}, "those of the other ledger have a name"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"currency": "EUR"}, [11, 9, 7, 5, 3, 1]),
        ({"status": "frozen"}, [10, 7, 4, 1]),
        ({"reference": "reference 7"}, [7]),
        ({"currency": "EUR", "status": "frozen"}, [7, 1]),
        ({"currency": "USD", "reference": "reference 7"}, []),
        ({"currency": "JPY"}, []),
    ],
)
@pytest.mark.parametrize("limit", [2, COUNT])
@in_either_order
async def test_every_filter_holds_on_every_page(
    accounts: AccountRepository, filters: dict[str, Any], expected: list[int], limit: int, order: ListOrder
) -> None:
    async def page(after: AccountDetails | None) -> Any:
        return await rows_of(
            accounts.page(MAIN, limit=limit, order=order, after=after.id if after else None, **filters)
        )

    assert [one.id.int for one in await all_pages(page, limit)] == ordered(expected, order)


async def test_by_ids_gives_what_the_ledger_has(accounts: AccountRepository, third: int) -> None:
    ids = [UUID(int=number) for number in (3, 5, 5, 99)] + [BUSY]
    assert {one.id.int for one in await accounts.by_ids(MAIN, ids)} == {3, 5}
    assert [one.id for one in await accounts.by_ids(third, ids)] == [BUSY]
    assert await accounts.by_ids(MAIN, []) == []


async def test_references_in_use_are_those_of_the_ledger(accounts: AccountRepository, third: int) -> None:
    wanted = ["reference 1", "reference 12", "reference 99"]
    assert await accounts.references_in_use(MAIN, wanted) == {"reference 1", "reference 12"}
    assert await accounts.references_in_use(third, wanted) == set()
    assert await accounts.references_in_use(MAIN, []) == set()


async def test_recent_transfers_come_with_their_accounts(
    accounts: AccountRepository, pool: Database, third: int
) -> None:
    """The latest come first, at most a given number of them, and three queries are enough for any number."""
    with statements(pool) as sent:
        found = await accounts.with_recent_transfers(third, BUSY)

    assert found is not None
    account, recent = found
    assert account.metadata == {"a": "b"}
    numbers = [one.transfer.id.int - 1000 for one in recent]
    assert numbers == list(range(TRANSFERS, TRANSFERS - RECENT_CHANGES, -1))
    for transfer in recent:
        assert {transfer.debit_account.id, transfer.credit_account.id} == {BUSY, FRIEND}
        assert account in (transfer.debit_account, transfer.credit_account)
    assert len(sent) == 3


async def test_an_account_without_transfers_has_none(accounts: AccountRepository) -> None:
    found = await accounts.with_recent_transfers(MAIN, UUID(int=1))
    assert found is not None
    assert found[1] == []


async def test_an_account_of_another_ledger_is_missing(accounts: AccountRepository) -> None:
    assert await accounts.with_recent_transfers(MAIN, BUSY) is None
    assert await accounts.for_revision(MAIN, BUSY) is None


async def test_nothing_is_loaded_that_was_not_asked_for(shared_session: AsyncSession) -> None:
    account = await shared_session.get_one(AccountRow, (MAIN, UUID(int=1)))
    with pytest.raises(InvalidRequestError, match="lazy='raise'"):
        _ = account.recent_transfers


@pytest.mark.parametrize(
    ("lock", "is_granted"), [("FOR NO KEY UPDATE", False), ("FOR UPDATE", False), ("FOR KEY SHARE", True)]
)
async def test_an_account_to_be_revised_is_locked_as_transfers_lock_it(
    accounts: AccountRepository, pool: Database, lock: str, *, is_granted: bool
) -> None:
    """Foreign keys of transfers that are being written need not wait for it."""
    await accounts.for_revision(MAIN, UUID(int=1))
    async with pool.sessions() as other:
        query = text(f"SELECT FROM funds.accounts WHERE ledger_id = 1 AND id = :id {lock} NOWAIT")
        if is_granted:
            await other.execute(query, {"id": UUID(int=1)})
        else:
            with pytest.raises(DBAPIError):
                await other.execute(query, {"id": UUID(int=1)})
