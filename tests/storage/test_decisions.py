"""The repository of decisions: a decision is read as it was stored, and rejections are found by filters."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from msgspec import structs
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.accounts import AccountDetails
from service.domain.decisions import Decision, Key, Outcome
from service.domain.ledgers import Ledger
from service.domain.operations import Operation
from service.domain.rejections import InsufficientFunds
from service.storage.lists import ListOrder
from service.storage.repositories.decisions import DecisionRepository, Position
from service.storage.rows import DecisionRow
from service.storage.stored_decisions import stored_account
from tests.storage.paging import all_pages, in_either_order, ordered, rows_of
from tests.support.rows import MAIN, add_decision, add_ledger
from tests.support.servers import TestDatabase

COUNT = 18
START = datetime(2026, 5, 1, tzinfo=UTC)
A, B, C = (UUID(int=number) for number in (1, 2, 3))
PAIRS: list[tuple[UUID | None, UUID | None]] = [(A, B), (B, C), (None, None)]


def at(number: int) -> datetime:
    """The time of a decision: three of them share every minute."""
    return START + timedelta(minutes=(number - 1) // 3)


def outcome_of(number: int) -> str:
    return ("rejected", "rejected", "rejected", "fenced", "applied")[number % 5]


def pair_of(number: int) -> tuple[UUID | None, UUID | None]:
    return PAIRS[number % len(PAIRS)]


def numbers(predicate: Callable[[int], bool]) -> list[int]:
    """The numbers of the decisions that match, latest first."""
    return [number for number in range(COUNT, 0, -1) if predicate(number)]


@pytest.fixture(scope="module", autouse=True)
async def stored_rows(shared_database: TestDatabase) -> None:
    """Decisions 1 to 18 of two clients, and the same ones in another ledger."""
    superuser = await asyncpg.connect(shared_database.superuser_url)
    for ledger_id in (MAIN, await add_ledger(superuser, "other")):
        for number in range(1, COUNT + 1):
            outcome, (debit, credit) = outcome_of(number), pair_of(number)
            columns: dict[str, Any] = {"outcome": outcome} | ({} if outcome == "rejected" else {"problem": None})
            await add_decision(
                superuser,
                f"key {number:02}",
                ledger_id=ledger_id,
                client_id="early" if number <= COUNT // 2 else "late",
                debit_account_id=debit,
                credit_account_id=credit,
                created_at=at(number),
                **columns,
            )
    await superuser.close()


@pytest.fixture
def registry(shared_session: AsyncSession) -> DecisionRepository:
    return DecisionRepository(shared_session)


def number_of(decision: Decision) -> int:
    return int(decision.idempotency_key.removeprefix("key "))


@pytest.mark.parametrize("outcome", ["rejected", "fenced"])
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, lambda _: True),
        # On either side of what was rejected.
        ({"account_id": A}, lambda number: A in pair_of(number)),
        ({"account_id": B}, lambda number: B in pair_of(number)),
        ({"account_id": uuid4()}, lambda _: False),
        # The bounds are a half-open window.
        ({"created_from": at(7)}, lambda number: number >= 7),
        ({"created_to": at(7)}, lambda number: number < 7),
        ({"created_from": at(4), "created_to": at(13)}, lambda number: 4 <= number < 13),
        ({"account_id": B, "created_from": at(4), "created_to": at(13)}, lambda n: B in pair_of(n) and 4 <= n < 13),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, COUNT])
@in_either_order
async def test_pages_are_in_order_and_miss_nothing(
    registry: DecisionRepository,
    outcome: Outcome,
    filters: dict[str, Any],
    expected: Callable[[int], bool],
    limit: int,
    order: ListOrder,
) -> None:
    """Also where a page ends between decisions of the same moment."""

    async def page(after: Decision | None) -> Any:
        position = Position(after.created_at, after.client_id, after.idempotency_key) if after else None
        return await rows_of(
            registry.not_applied(MAIN, outcome=outcome, limit=limit, order=order, after=position, **filters)
        )

    listed = await all_pages(page, limit)

    falling = numbers(lambda number: outcome_of(number) == outcome and expected(number))
    assert list(map(number_of, listed)) == ordered(falling, order)
    assert {one.ledger_id for one in listed} <= {MAIN}


async def test_an_applied_decision_is_no_rejection(registry: DecisionRepository) -> None:
    assert await rows_of(registry.not_applied(MAIN, outcome="applied", limit=COUNT, order="desc", after=None)) == []


async def test_a_key_belongs_to_its_ledger_and_its_client(registry: DecisionRepository) -> None:
    found = await registry.by_key(MAIN, "early", "key 01")
    assert found is not None
    assert (found.ledger_id, found.client_id, found.idempotency_key) == (MAIN, "early", "key 01")
    assert await registry.by_key(MAIN, "late", "key 01") is None
    assert await registry.by_key(99, "early", "key 01") is None


def key_of(idempotency_key: str, ledger_id: int = MAIN, operation: Operation = "create_account") -> Key:
    return Key(
        ledger_id=ledger_id,
        client_id="early",
        idempotency_key=idempotency_key,
        fingerprint=b"\x00\xff",
        operation=operation,
    )


async def test_taken_keys_are_those_of_the_client(shared_session: AsyncSession) -> None:
    keys = ["key 01", "key 12", "new"]
    assert set(await DecisionRepository(shared_session).by_keys(MAIN, "early", keys)) == {"key 01"}


async def _stored(session: AsyncSession, decision: Decision) -> tuple[DecisionRow, Decision]:
    """Return what the database has kept of ``decision``, and what is read of it."""
    await DecisionRepository(session).add([decision])
    key = (decision.ledger_id, decision.client_id, decision.idempotency_key)
    found = await DecisionRepository(session).by_key(*key)
    assert found is not None
    return await session.get_one(DecisionRow, key), found


AN_ACCOUNT: dict[str, Any] = {
    "id": uuid4(),
    "currency": "JPY",
    "normal_side": "debit",
    "status": "open",
    "debits_posted": 0,
    "credits_posted": 0,
    "debits_held": 0,
    "credits_held": 0,
    "version": 0,
    "created_at": datetime(2026, 5, 1, 1, 2, 3, 456789, tzinfo=UTC),
    "updated_at": START,
}
EMPTY: dict[str, Any] = {
    "reference": None,
    "name": None,
    "minimum_balance": None,
    "maximum_balance": None,
    "metadata": {},
}
ZERO = {"reference": "", "name": "", "minimum_balance": 0, "maximum_balance": 0, "metadata": {"": ""}}
FULL: dict[str, Any] = {
    "reference": "Gehälter \u2028 \U0001f4b6",
    "name": '"quoted"',
    "minimum_balance": -(2**63) + 1,
    "maximum_balance": 2**63 - 1,
    "metadata": {"key": "value"},
}
CODED = FULL | {"code": "1000:cash", "client_id": "admin"}


@pytest.mark.parametrize("terms", [EMPTY, ZERO, FULL, CODED])
async def test_an_account_comes_back_as_it_was_made(shared_session: AsyncSession, terms: dict[str, Any]) -> None:
    """Times to the microsecond, amounts exact; absent, zero and empty are three different values."""
    made = AccountDetails(**AN_ACCOUNT, **terms)
    stored, found = await _stored(shared_session, Decision.on(key_of("made"), made, START))

    assert (stored.outcome, stored.resource_id, stored.problem) == ("applied", made.id, None)
    assert found == Decision.on(key_of("made"), made, START)
    assert isinstance(found.result, AccountDetails)
    assert structs.asdict(found.result) == AN_ACCOUNT | {"client_id": None, "code": None} | terms


async def test_an_account_that_was_stored_long_ago_is_read(shared_session: AsyncSession) -> None:
    """The first accounts were stored with other names of members, and stay readable."""
    resource = {"ledger_id": MAIN, **msgspec.to_builtins(AN_ACCOUNT), **FULL}
    resource["metadata_"] = resource.pop("metadata")
    shared_session.add(
        DecisionRow(
            **{name: value for name, value in structs.asdict(key_of("old")).items() if name != "request_id"},
            outcome="applied",
            resource_id=AN_ACCOUNT["id"],
            resource=resource,
            created_at=START,
        )
    )
    await shared_session.flush()

    found = await DecisionRepository(shared_session).by_key(MAIN, "early", "old")
    assert found is not None
    assert isinstance(found.result, AccountDetails)
    assert found.result == AccountDetails(**AN_ACCOUNT, **FULL)
    stored = msgspec.to_builtins(stored_account(MAIN, found.result))
    assert stored == resource | {"client_id": None, "code": None}, "and is stored so still"


@pytest.mark.parametrize("description", [None, "", "The main one."])
async def test_a_ledger_comes_back_as_it_was_made(shared_session: AsyncSession, description: str | None) -> None:
    made = Ledger(name="made", description=description, created_at=START)
    stored, found = await _stored(
        shared_session, Decision.on(key_of("made", ledger_id=0, operation="create_ledger"), made, START)
    )

    assert (stored.outcome, stored.resource_id) == ("applied", None)
    answer = found.result
    assert isinstance(answer, Ledger)
    assert (answer.name, answer.description, answer.created_at) == ("made", description, START)


async def test_a_rejection_comes_back_as_it_was_given(shared_session: AsyncSession) -> None:
    given = InsufficientFunds(A, 2**63 - 1, 0, 2**63 - 1, -1, 2, 3, detail="Not enough.")
    stored, found = await _stored(shared_session, Decision.on(key_of("refused"), given, START))

    assert (stored.outcome, stored.resource_id, stored.resource) == ("rejected", None, None)
    answer = found.result
    assert answer == given
    assert msgspec.json.encode(answer) == msgspec.json.encode(given), "member by member in the same order"
