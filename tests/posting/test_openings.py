"""Pages of accounts: opened together, and each exactly once whatever concurrent requests do."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import func, select, text

from service.domain.accounts import AccountDetails
from service.domain.decisions import Answer, Key
from service.domain.identifiers import identifier
from service.domain.order import Moment
from service.domain.rejections import Rejection
from service.posting.accounts import build_account
from service.posting.openings import Opening
from service.settings import Settings
from service.storage.database import Database
from service.storage.repositories.accounts import AccountRepository
from service.storage.rows import AccountRow, DecisionRow
from tests.support.commands import new_account
from tests.support.committing import create_account, open_accounts

MAIN = 1

Answers = Sequence[Answer[AccountDetails | Rejection]]


def opening(
    reference: str,
    *,
    key: str | None = None,
    currency: str = "USD",
    minimum_balance: int | None = None,
    maximum_balance: int | None = None,
) -> Opening:
    key = key or f"{reference}-{currency}"
    return Opening(
        Key(
            ledger_id=MAIN,
            client_id="import",
            idempotency_key=key,
            fingerprint=key.encode(),
            operation="create_account",
        ),
        new_account(
            currency=currency, reference=reference, minimum_balance=minimum_balance, maximum_balance=maximum_balance
        ),
    )


def codes(answers: Answers) -> list[str]:
    """Return each answer as a word: opened, replayed, or the code of its rejection."""
    words = []
    for answer in answers:
        if isinstance(answer.result, Rejection):
            words.append(answer.result.code)
        else:
            words.append("replayed" if answer.replayed else "opened")
    return words


async def stored(database: Database) -> tuple[list[str | None], list[str]]:
    """Return the references of all accounts in the order of their ids, and the outcomes of all decisions by key."""
    async with database.sessions() as session:
        references = (await session.scalars(select(AccountRow.reference).order_by(AccountRow.id))).all()
        outcomes = (await session.scalars(select(DecisionRow.outcome).order_by(DecisionRow.idempotency_key))).all()
        return list(references), list(outcomes)


async def until_somebody_waits(database: Database) -> None:
    """Return when a transaction of this database waits for a lock."""
    async with database.sessions() as session:
        waiting = text("SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted")
        while not await session.scalar(waiting):  # noqa: ASYNC110 - the event is the database's
            await asyncio.sleep(0.01)


async def test_a_page_opens_its_accounts_in_order(database: Database, settings: Settings) -> None:
    page = [opening(f"r{number:03}") for number in reversed(range(200))]

    answers = await open_accounts(database, settings, page)

    assert codes(answers) == ["opened"] * 200
    references, outcomes = await stored(database)
    assert references == [one.new.reference for one in page]
    assert outcomes == ["applied"] * 200


async def test_a_page_sent_again_replays(database: Database, settings: Settings) -> None:
    page = [opening("a"), opening("b", currency="XXX"), opening("c")]
    first = await open_accounts(database, settings, page)
    second = await open_accounts(database, settings, [*page, opening("d")])

    assert codes(first) == ["opened", "currency_unknown", "opened"]
    assert codes(second) == ["replayed", "currency_unknown", "replayed", "opened"]
    for before, after in zip(first, second, strict=False):
        if isinstance(before.result, AccountDetails):
            assert isinstance(after.result, AccountDetails)
            assert after.result.id == before.result.id
        else:
            assert after == Answer(before.result, replayed=True)


async def test_a_rejected_line_is_remembered_and_affects_no_other_line(database: Database, settings: Settings) -> None:
    await open_accounts(database, settings, [opening("taken")])
    page = [
        opening("a"),
        opening("b", currency="XXX"),
        opening("c", minimum_balance=1),
        opening("d", maximum_balance=-1),
        opening("e", minimum_balance=1, maximum_balance=0),
        opening("taken", currency="EUR"),
        opening("a", currency="EUR"),
        opening("z"),
    ]

    answers = await open_accounts(database, settings, page)

    rejected = [
        "currency_unknown",
        "insufficient_funds",
        "balance_limit_exceeded",
        "balance_limit_exceeded",
        "reference_taken",
        "reference_taken",
    ]
    assert codes(answers) == ["opened", *rejected, "opened"]
    references, outcomes = await stored(database)
    assert references == ["taken", "a", "z"]
    assert sorted(outcomes) == ["applied"] * 3 + ["rejected"] * 6


async def test_a_page_rejects_as_a_single_request_does(database: Database, settings: Settings) -> None:
    await open_accounts(database, settings, [opening("taken")])
    for number, one in enumerate(
        [opening("b", currency="XXX"), opening("taken", key="other"), opening("taken", currency="XXX")]
    ):
        alone = Opening(
            Key(
                ledger_id=MAIN,
                client_id="importer",
                idempotency_key=str(number),
                fingerprint=b"",
                operation="create_account",
            ),
            one.new,
        )
        assert [await create_account(database, settings, alone.key, alone.new)] == await open_accounts(
            database, settings, [one]
        )


async def test_the_same_line_twice_in_a_page_opens_one_account(database: Database, settings: Settings) -> None:
    answers = await open_accounts(database, settings, [opening("a"), opening("b"), opening("a")])

    assert codes(answers) == ["opened", "opened", "replayed"]
    assert (await stored(database))[0] == ["a", "b"]


async def test_a_key_of_another_request_is_rejected(database: Database, settings: Settings) -> None:
    await open_accounts(database, settings, [opening("a", key="k")])
    other = Opening(
        Key(
            ledger_id=MAIN,
            client_id="import",
            idempotency_key="k",
            fingerprint=b"another",
            operation="create_account",
        ),
        opening("b").new,
    )

    assert codes(await open_accounts(database, settings, [other, opening("c")])) == ["idempotency_key_reused", "opened"]


async def test_a_reference_taken_meanwhile_costs_only_its_own_line(database: Database, settings: Settings) -> None:
    """The page has looked before the other transaction commits: the savepoint rolls back, and each line is opened in a
    savepoint of its own.
    """
    page = [opening("a"), opening("b"), opening("c", currency="XXX"), opening("d")]
    async with database.sessions() as other, other.begin():
        now = await other.scalar(select(func.clock_timestamp()))
        assert now is not None
        blocker = opening("b")
        moment = Moment(now, now, settings.policy)
        account = build_account(identifier(now, 0, 0), blocker.key, blocker.new, moment)
        assert not isinstance(account, Rejection)
        await AccountRepository(other).add(MAIN, [account])
        task = asyncio.create_task(open_accounts(database, settings, page))
        await asyncio.wait_for(until_somebody_waits(database), timeout=30)

    assert codes(await task) == ["opened", "reference_taken", "currency_unknown", "opened"]
    references, outcomes = await stored(database)
    assert references == ["b", "a", "d"]
    assert sorted(outcomes) == ["applied", "applied", "rejected", "rejected"]
    assert codes(await open_accounts(database, settings, page)) == [
        "replayed",
        "reference_taken",
        "currency_unknown",
        "replayed",
    ]


async def test_an_unexpected_constraint_fails_only_its_line(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours (here: the rule on minimums is missing) shows itself when the database refuses one line."""
    monkeypatch.setattr("service.domain.accounts.check_revision", lambda _account, _revision: None)

    answers = await open_accounts(database, settings, [opening("a"), opening("b", minimum_balance=5), opening("c")])

    assert codes(answers) == ["opened", "internal_error", "opened"]
    references, outcomes = await stored(database)
    assert references == ["a", "c"]
    assert outcomes == ["applied", "applied"]


async def test_pages_at_once_open_every_account_once(database: Database, settings: Settings) -> None:
    """Four concurrent imports of the same lines, in pages of different sizes, two of them in reverse order."""
    lines = [opening(f"r{number:03}") for number in range(120)]

    async def run(lines: Sequence[Opening], size: int) -> list[str]:
        words = []
        for start in range(0, len(lines), size):
            words += codes(await open_accounts(database, settings, lines[start : start + size]))
        return words

    results = await asyncio.gather(run(lines, 40), run(lines, 33), run(lines[::-1], 40), run(lines[::-1], 17))

    words = [word for result in results for word in result]
    assert words.count("opened") == 120
    assert words.count("replayed") == 3 * 120
    references, outcomes = await stored(database)
    assert sorted(reference or "" for reference in references) == [one.new.reference for one in lines]
    assert outcomes == ["applied"] * 120
