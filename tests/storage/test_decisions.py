"""The registry of decisions: what is remembered comes back as it was, and refusals are found again."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.rejections import Rejection
from service.storage import decisions
from service.storage.decisions import DecisionRepository, Key, Position
from service.storage.models import Account, Base, Decision, Ledger
from tests.rows import MAIN, add_decision, add_ledger
from tests.servers import TestDatabase
from tests.storage.paging import all_pages, rows_of

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
async def books(shared_database: TestDatabase) -> None:
    """Decisions 1 to 18 of two clients, and their like in another ledger."""
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
        # On either side of what was refused.
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
async def test_pages_are_newest_first_and_miss_nothing(
    registry: DecisionRepository, outcome: str, filters: dict[str, Any], expected: Callable[[int], bool], limit: int
) -> None:
    """Also where a page ends between decisions of the same moment."""

    async def page(after: Decision | None) -> Any:
        before = Position(after.created_at, after.client_id, after.idempotency_key) if after else None
        return await rows_of(registry.refused(MAIN, outcome=outcome, limit=limit, before=before, **filters))

    listed = await all_pages(page, limit)

    assert list(map(number_of, listed)) == numbers(lambda number: outcome_of(number) == outcome and expected(number))
    assert {one.ledger_id for one in listed} <= {MAIN}


async def test_what_was_applied_is_no_refusal(registry: DecisionRepository) -> None:
    assert await rows_of(registry.refused(MAIN, outcome="applied", limit=COUNT, before=None)) == []


async def test_a_key_belongs_to_its_ledger_and_its_client(registry: DecisionRepository) -> None:
    found = await registry.by_key(MAIN, "early", "key 01")
    assert found is not None
    assert (found.ledger_id, found.client_id, found.idempotency_key) == (MAIN, "early", "key 01")
    assert await registry.by_key(MAIN, "late", "key 01") is None
    assert await registry.by_key(99, "early", "key 01") is None


def key_of(idempotency_key: str, client_id: str = "early", ledger_id: int = MAIN) -> Key:
    return Key(
        ledger_id=ledger_id,
        client_id=client_id,
        idempotency_key=idempotency_key,
        fingerprint=b"\x00\xff",
        operation="create_account",
    )


async def test_taken_keys_are_those_of_the_client(shared_session: AsyncSession) -> None:
    keys = [key_of(idempotency_key) for idempotency_key in ("key 01", "key 12", "new")]
    assert set(await decisions.taken(shared_session, keys)) == {"key 01"}


async def _stored(session: AsyncSession, decision: Decision) -> Decision:
    """Return what the database has kept of ``decision``."""
    session.add(decision)
    await session.flush()
    session.expunge_all()
    key = (decision.ledger_id, decision.client_id, decision.idempotency_key)
    return await session.get_one(Decision, key)


AN_ACCOUNT = {
    "ledger_id": MAIN,
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
    "metadata_": {},
}
ZERO = {"reference": "", "name": "", "minimum_balance": 0, "maximum_balance": 0, "metadata_": {"": ""}}
FULL = {
    "reference": "Gehälter \u2028 \U0001f4b6",
    "name": '"quoted"',
    "minimum_balance": -(2**63) + 1,
    "maximum_balance": 2**63 - 1,
    "metadata_": {"key": "value"},
}


@pytest.mark.parametrize("terms", [EMPTY, ZERO, FULL])
async def test_an_account_comes_back_as_it_was_made(shared_session: AsyncSession, terms: dict[str, Any]) -> None:
    """To the microsecond and the last unit; nothing and zero and empty are three things."""
    made = Account(**AN_ACCOUNT, **terms)
    stored = await _stored(shared_session, decisions.applied(key_of("made"), made, START))

    assert (stored.outcome, stored.resource_id, stored.problem) == ("applied", made.id, None)
    assert _columns(decisions.answer(stored, Account)) == AN_ACCOUNT | terms


@pytest.mark.parametrize("description", [None, "", "The main one."])
async def test_a_ledger_comes_back_as_it_was_made(shared_session: AsyncSession, description: str | None) -> None:
    made = Ledger(name="made", description=description, created_at=START)
    stored = await _stored(shared_session, decisions.applied(key_of("made", ledger_id=0), made, START))

    assert (stored.outcome, stored.resource_id) == ("applied", None)
    answer = decisions.answer(stored, Ledger)
    assert isinstance(answer, Ledger)
    assert (answer.name, answer.description, answer.created_at) == ("made", description, START)


async def test_a_rejection_comes_back_as_it_was_given(shared_session: AsyncSession) -> None:
    given = Rejection("insufficient_funds", "Not enough.", {"zebra": 2**63 - 1, "apple": None, "list": [1, {"a": "b"}]})
    stored = await _stored(shared_session, decisions.rejected(key_of("refused"), given, START))

    assert (stored.outcome, stored.resource_id, stored.resource) == ("rejected", None, None)
    answer = decisions.answer(stored, Account)
    assert answer == given
    assert msgspec.json.encode(answer) == msgspec.json.encode(given), "member by member in the same order"


def _columns(row: Base | Rejection) -> dict[str, Any]:
    assert isinstance(row, Base)
    return {attribute.key: getattr(row, attribute.key) for attribute in row.__mapper__.column_attrs}
