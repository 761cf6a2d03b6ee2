"""Named queries on transfers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.identifiers import identifier
from service.domain.transfers import Transfer
from service.storage import rows
from service.storage.database import Database
from service.storage.lists import ListOrder
from service.storage.repositories.transfers import TransferRepository
from service.storage.transfer_filters import TransferFilters
from service.storage.transfer_walks import Side
from tests.storage.paging import all_pages, in_either_order, ordered, rows_of, statements
from tests.support.rows import MAIN, add_account, add_ledger, add_transfer, insert
from tests.support.servers import TestDatabase

COUNT = 24
START = datetime(2026, 5, 1, tzinfo=UTC)
A, B, C = ACCOUNTS = [UUID(int=number) for number in (1, 2, 3)]
HOLD = UUID(int=50)
PAIRS = [(A, B), (B, C), (C, A), (B, A)]


def at(number: float) -> datetime:
    """The time of a transfer; they are a minute apart."""
    return START + timedelta(minutes=number)


def id_of(number: int) -> UUID:
    return identifier(at(number), 0, 0)


def number_of(transfer: Transfer) -> int:
    return int((transfer.created_at - START) / timedelta(minutes=1))


def numbers(predicate: Callable[[int], bool]) -> list[int]:
    """The numbers of the transfers that match, latest first."""
    return [number for number in range(COUNT, 0, -1) if predicate(number)]


def pair_of(number: int) -> tuple[UUID, UUID]:
    return PAIRS[number % len(PAIRS)]


def is_fifth(number: int) -> bool:
    """Return whether it is one of those that share a reference; the first captures a hold, the second reverses one."""
    return number % 5 == 0


@pytest.fixture(scope="module", autouse=True)
async def stored_rows(shared_database: TestDatabase) -> None:
    """Transfers 1 to 24 between three accounts, and the same ones in another ledger."""
    superuser = await asyncpg.connect(shared_database.superuser_url)
    for ledger_id in (MAIN, await add_ledger(superuser, "other")):
        versions = {account_id: count(1) for account_id in ACCOUNTS}
        for account_id in ACCOUNTS:
            names = {"reference": f"account {account_id.int}", "name": f"ledger {ledger_id}"}
            await add_account(superuser, ledger_id=ledger_id, id=account_id, **names)
        await _add_hold(superuser, ledger_id)
        for number in range(1, COUNT + 1):
            debit, credit = pair_of(number)
            columns: dict[str, Any] = {
                "ledger_id": ledger_id,
                "id": id_of(number),
                "created_at": at(number),
                "debit_account_version": next(versions[debit]),
                "credit_account_version": next(versions[credit]),
                "reference": "fifth" if is_fifth(number) else None,
                "hold_id": HOLD if number == 5 else None,
                "reverses_id": id_of(1) if number == 10 else None,
            }
            await add_transfer(superuser, debit, credit, **columns)
    await superuser.close()


async def _add_hold(superuser: asyncpg.Connection, ledger_id: int) -> None:
    await insert(
        superuser,
        "holds",
        ledger_id=ledger_id,
        id=HOLD,
        debit_account_id=A,
        credit_account_id=B,
        amount=10,
        currency="USD",
        debit_account_version=1,
        credit_account_version=1,
        metadata="{}",
        created_at=START,
        expires_at=at(60),
        client_id="client",
        idempotency_key="key",
    )


@pytest.fixture
def transfers(shared_session: AsyncSession) -> TransferRepository:
    return TransferRepository(shared_session)


FILTERS: list[tuple[dict[str, Any], Callable[[int], bool]]] = [
    ({}, lambda _: True),
    ({"reference": "fifth"}, is_fifth),
    ({"reference": "none"}, lambda _: False),
    # The bounds are a half-open window: a moment belongs to the time that begins with it.
    ({"created_from": at(7)}, lambda number: number >= 7),
    ({"created_to": at(7)}, lambda number: number < 7),
    ({"created_from": at(6.5), "created_to": at(12.5)}, lambda number: 7 <= number <= 12),
    ({"created_from": at(7), "created_to": at(7)}, lambda _: False),
    ({"created_from": datetime(1, 1, 1, tzinfo=UTC)}, lambda _: True),
    ({"reference": "fifth", "created_from": at(6), "created_to": at(20)}, lambda number: number in {10, 15}),
]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        *FILTERS,
        ({"hold_id": HOLD}, lambda number: number == 5),
        ({"reverses_id": id_of(1)}, lambda number: number == 10),
        ({"hold_id": HOLD, "reference": "fifth"}, lambda number: number == 5),
        ({"hold_id": HOLD, "reference": "none"}, lambda _: False),
        ({"reverses_id": id_of(1), "reference": "fifth"}, lambda number: number == 10),
        ({"reverses_id": id_of(1), "created_to": at(10)}, lambda _: False),
    ],
)
@pytest.mark.parametrize("limit", [2, COUNT])
@in_either_order
async def test_pages_are_in_order_and_miss_nothing(
    transfers: TransferRepository,
    filters: dict[str, Any],
    expected: Callable[[int], bool],
    limit: int,
    order: ListOrder,
) -> None:
    async def page(after: Transfer | None) -> Any:
        return await rows_of(
            transfers.page(
                MAIN, TransferFilters(**filters), limit=limit, order=order, after=after.id if after else None
            )
        )

    listed = await all_pages(page, limit)

    assert list(map(number_of, listed)) == ordered(numbers(expected), order)
    assert {one.ledger_id for one in listed} <= {MAIN}


@pytest.mark.parametrize(("filters", "expected"), [case for case in FILTERS if "reference" not in case[0]])
@pytest.mark.parametrize("limit", [1, 5, COUNT])
@pytest.mark.parametrize("account_id", ACCOUNTS)
@in_either_order
async def test_pages_of_an_account_merge_both_its_sides(
    transfers: TransferRepository,
    account_id: UUID,
    filters: dict[str, Any],
    expected: Callable[[int], bool],
    limit: int,
    order: ListOrder,
) -> None:
    """They are in the order of the account's versions, without a gap when there is no filter."""

    def version(transfer: Transfer) -> int:
        is_debit = transfer.debit_account_id == account_id
        return transfer.debit_account_version if is_debit else transfer.credit_account_version

    async def page(after: Transfer | None) -> Any:
        position = version(after) if after else None
        return await rows_of(
            transfers.page(
                MAIN, TransferFilters(account_id=account_id, **filters), limit=limit, order=order, after=position
            )
        )

    listed = await all_pages(page, limit)

    assert list(map(number_of, listed)) == ordered(numbers(lambda n: account_id in pair_of(n) and expected(n)), order)
    assert {one.ledger_id for one in listed} <= {MAIN}
    if not filters:
        assert list(map(version, listed)) == ordered(range(len(listed), 0, -1), order)


@pytest.mark.parametrize(("filters", "expected"), [case for case in FILTERS if "reference" in case[0]])
@pytest.mark.parametrize("limit", [1, 5, COUNT])
@pytest.mark.parametrize("account_id", ACCOUNTS)
@in_either_order
async def test_pages_of_an_account_and_a_reference(
    transfers: TransferRepository,
    account_id: UUID,
    filters: dict[str, Any],
    expected: Callable[[int], bool],
    limit: int,
    order: ListOrder,
) -> None:
    async def page(after: Transfer | None) -> Any:
        position = after.id if after else None
        return await rows_of(
            transfers.page(
                MAIN, TransferFilters(account_id=account_id, **filters), limit=limit, order=order, after=position
            )
        )

    listed = await all_pages(page, limit)

    assert list(map(number_of, listed)) == ordered(numbers(lambda n: account_id in pair_of(n) and expected(n)), order)


@pytest.mark.parametrize("limit", [1, 5, COUNT])
@pytest.mark.parametrize("side", ["debit", "credit"])
@in_either_order
async def test_pages_by_an_accounts_reference(
    transfers: TransferRepository, side: Side, limit: int, order: ListOrder
) -> None:
    filters: dict[str, Any] = {f"{side}_account_reference": "account 2"}

    def version(transfer: Transfer) -> int:
        return transfer.debit_account_version if side == "debit" else transfer.credit_account_version

    async def page(after: Transfer | None) -> Any:
        position = version(after) if after else None
        return await rows_of(
            transfers.page(
                MAIN,
                TransferFilters(**filters),
                limit=limit,
                order=order,
                after=position,
            )
        )

    listed = await all_pages(page, limit)

    assert list(map(number_of, listed)) == ordered(numbers(lambda n: pair_of(n)[side == "credit"] == B), order)
    assert {one.ledger_id for one in listed} == {MAIN}


async def test_an_unknown_reference_has_no_transfers(transfers: TransferRepository) -> None:
    page = await rows_of(
        transfers.page(MAIN, TransferFilters(debit_account_reference="nobody"), limit=10, order="asc", after=None)
    )
    assert page == []


async def test_by_ids_gives_what_the_ledger_has(transfers: TransferRepository) -> None:
    ids = [id_of(3), id_of(4), id_of(4), id_of(COUNT + 1)]
    found = await transfers.by_ids(MAIN, ids)
    assert {(one.ledger_id, one.id) for one in found} == {(MAIN, id_of(3)), (MAIN, id_of(4))}
    assert await transfers.by_ids(99, ids) == []
    assert await transfers.by_ids(MAIN, []) == []


async def test_a_transfer_comes_with_both_accounts(transfers: TransferRepository, pool: Database) -> None:
    """In one query."""
    with statements(pool) as sent:
        found = await transfers.with_accounts(MAIN, id_of(3))

    assert found is not None
    assert (found.debit_account.id, found.credit_account.id) == pair_of(3)
    assert found.debit_account.name == found.credit_account.name == f"ledger {MAIN}"
    assert len(sent) == 1


async def test_a_transfer_of_another_ledger_is_missing(transfers: TransferRepository) -> None:
    assert await transfers.with_accounts(99, id_of(3)) is None


async def test_nothing_is_loaded_that_was_not_asked_for(shared_session: AsyncSession) -> None:
    found = await shared_session.get_one(rows.TransferRow, (MAIN, id_of(3)))
    with pytest.raises(InvalidRequestError, match="lazy='raise'"):
        _ = found.credit_account
