"""Second lines of defence: the rules and the locks come first. Here each is broken, and the database still says no.

Elsewhere: versions of accounts that are taken (``test_batch_fallback.py``), keys that are
(``test_batch_duplicates.py``), accounts of another currency (``tests/storage/test_batches.py``), each constraint by
itself (``tests/storage/test_constraints.py``).
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec import structs

from service.domain.batch_state import Contents
from service.domain.commands import AnyCommand, CaptureHold, Command, ReverseTransfer, VoidHold
from service.domain.executor import Group
from service.domain.holds import Hold
from service.settings import Settings
from service.storage import constraints
from service.storage.database import Database
from service.storage.group_commit import loading, statements
from tests.support.commands import CLIENT, opening, posted, transfer, words
from tests.support.committing import commit_batch
from tests.support.other_session import decided
from tests.support.rows import MAIN, add_account, add_accounts

INT64_MAX = 2**63 - 1
AFTER_LOADING = "service.posting.batch.load"

Commit = Callable[..., Awaitable[list[str]]]


@pytest.fixture
def commit(batch_database: Database, settings: Settings) -> Commit:
    """Return a function that commits commands, each in a group of its own, and returns the answers as words."""

    async def commit(*commands: Command) -> list[str]:
        groups: list[Group] = [[cast("AnyCommand", command)] for command in commands]
        return words(await commit_batch(batch_database, settings, MAIN, groups))

    return commit


def _capture(hold_id: UUID, amount: int | None = None, *, final: bool = True) -> CaptureHold:
    return CaptureHold(
        ledger_id=MAIN,
        client_id=CLIENT,
        idempotency_key=str(uuid4()),
        hold_id=hold_id,
        amount=amount,
        final=final,
    )


def _void(hold_id: UUID) -> VoidHold:
    return VoidHold(ledger_id=MAIN, client_id=CLIENT, idempotency_key=str(uuid4()), hold_id=hold_id)


def _reverse(transfer_id: UUID, amount: int) -> ReverseTransfer:
    return ReverseTransfer(
        ledger_id=MAIN, client_id=CLIENT, idempotency_key=str(uuid4()), transfer_id=transfer_id, amount=amount
    )


async def _hold(database: Database, settings: Settings, debit: UUID, credit: UUID, amount: int) -> UUID:
    [[answer]] = await commit_batch(database, settings, MAIN, [[opening(debit, credit, amount)]])
    assert isinstance(answer.result, Hold)
    return answer.result.id


# Locks are the first line: without them, another session can change what was loaded before it is written.


@asynccontextmanager
async def changed_after_loading(
    planted: pytest.MonkeyPatch, url: str, statement: str, *arguments: object, times: int
) -> AsyncIterator[None]:
    """Have rows read without locks, and ``statement`` run in another session after each of the first ``times``."""
    planted.setattr(loading, "LOCK_ACCOUNTS", statements.READ_ACCOUNTS)
    planted.setattr(loading, "LOCK_HOLDS", statements.READ_HOLDS)
    other = await asyncpg.connect(url)
    left = times

    async def load(*given: Any, **options: Any) -> Contents:
        nonlocal left
        contents = await loading.load(*given, **options)
        if left:
            left -= 1
            await other.execute(statement, *arguments)
        return contents

    planted.setattr(AFTER_LOADING, load)
    try:
        yield
    finally:
        await other.close()
    assert left == 0


async def test_an_account_that_changed_since_it_was_loaded_is_not_written(
    commit: Commit,
    superuser: asyncpg.Connection,
    superuser_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each time it is loaded, another session posts to the account. Nothing of what that wrote is overwritten."""
    a, b = await add_accounts(superuser, 2)
    change = "UPDATE funds.accounts SET version = version + 1, credits_posted = credits_posted + 7 WHERE id = $1"
    async with changed_after_loading(monkeypatch, superuser_url, change, a, times=3):
        command = transfer(a, b)
        assert await commit(command) == ["internal_error"]
    assert _reasons(caplog) == {"UnexpectedRowCountError"}
    row = await superuser.fetchrow("SELECT version, credits_posted, debits_posted FROM funds.accounts WHERE id = $1", a)
    assert tuple(row) == (3, 21, 0)
    assert await decided(superuser_url, [command.idempotency_key]) == set()


@pytest.mark.parametrize("final", [False, True])
async def test_a_hold_that_was_captured_since_it_was_loaded_is_not_written(
    batch_database: Database,
    settings: Settings,
    commit: Commit,
    superuser: asyncpg.Connection,
    superuser_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    final: bool,
) -> None:
    """The UPDATE asks for the amount that was loaded: what another session captured is not forgotten."""
    a, b = await add_accounts(superuser, 2)
    hold_id = await _hold(batch_database, settings, a, b, 10)
    change = "UPDATE funds.holds SET captured_amount = captured_amount + 1 WHERE id = $1"
    async with changed_after_loading(monkeypatch, superuser_url, change, hold_id, times=3):
        assert await commit(_capture(hold_id, 3, final=final)) == ["internal_error"]
    assert _reasons(caplog) == {"UnexpectedRowCountError"}
    row = await superuser.fetchrow("SELECT captured_amount, status FROM funds.holds WHERE id = $1", hold_id)
    assert tuple(row) == (3, "open")
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 0


@pytest.mark.parametrize("command", [_capture, _void])
async def test_a_hold_that_was_closed_since_it_was_loaded_stays_closed(
    batch_database: Database,
    settings: Settings,
    commit: Commit,
    superuser: asyncpg.Connection,
    superuser_url: str,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[[UUID], Command],
) -> None:
    """The UPDATE asks for an open hold. Loaded again, it is found closed, and the command is rejected."""
    a, b = await add_accounts(superuser, 2)
    hold_id = await _hold(batch_database, settings, a, b, 10)
    change = (
        "UPDATE funds.holds SET status = 'voided', closed_at = now() + interval '1 day',"
        " closed_debit_account_version = 9, closed_credit_account_version = 9 WHERE id = $1"
    )
    async with changed_after_loading(monkeypatch, superuser_url, change, hold_id, times=1):
        assert await commit(command(hold_id)) == ["hold_not_open"]
    row = await superuser.fetchrow(
        "SELECT status, captured_amount, closed_debit_account_version FROM funds.holds WHERE id = $1", hold_id
    )
    assert tuple(row) == ("voided", 0, 9)
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 0


@pytest.mark.parametrize(
    ("meanwhile", "word", "reversed_amount"), [(3, "applied", 8), (8, "reversal_exceeds_transfer", 8)]
)
async def test_what_was_reversed_since_it_was_loaded_counts(
    batch_database: Database,
    settings: Settings,
    commit: Commit,
    superuser: asyncpg.Connection,
    superuser_url: str,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: int,
    word: str,
    reversed_amount: int,
) -> None:
    """A reversal of 5 adds to what is there, and a constraint bounds the sum."""
    a, b = await add_accounts(superuser, 2)
    [moved] = posted(await commit_batch(batch_database, settings, MAIN, [[transfer(a, b, 10)]]))
    change = (
        "INSERT INTO funds.reversed_transfers (ledger_id, transfer_id, amount, reversed_amount) VALUES (1, $1, 10, $2)"
    )
    async with changed_after_loading(monkeypatch, superuser_url, change, moved.id, meanwhile, times=1):
        assert await commit(_reverse(moved.id, 5)) == [word]
    stored = "SELECT reversed_amount FROM funds.reversed_transfers WHERE transfer_id = $1"
    assert await superuser.fetchval(stored, moved.id) == reversed_amount


# The rules are the first line: without one of them, a constraint refuses what it would have rejected.


def _says_nothing(*_: object, **__: object) -> None:
    return None


async def _two(superuser: asyncpg.Connection, **columns: Any) -> tuple[UUID, UUID]:
    a, b = await add_accounts(superuser, 2, **columns)
    return a, b


async def _too_much(superuser: asyncpg.Connection) -> Command:
    return transfer(*await _two(superuser, minimum_balance=0))


async def _held_too_much(superuser: asyncpg.Connection) -> Command:
    return opening(*await _two(superuser, minimum_balance=0))


async def _over_the_maximum(superuser: asyncpg.Connection) -> Command:
    return transfer(await add_account(superuser), await add_account(superuser, maximum_balance=5), 6)


async def _to_itself(superuser: asyncpg.Connection) -> Command:
    a = await add_account(superuser)
    return transfer(a, a)


async def _to_a_closed_account(superuser: asyncpg.Connection) -> Command:
    return transfer(await add_account(superuser), await add_account(superuser, status="closed"))


async def _expired_from_the_start(superuser: asyncpg.Connection) -> Command:
    return opening(*await _two(superuser), expires_at=datetime.now(UTC) - timedelta(hours=1))


async def _of_nothing(superuser: asyncpg.Connection) -> Command:
    return transfer(*await _two(superuser), 0)


async def _of_less_than_nothing(superuser: asyncpg.Connection) -> Command:
    return opening(*await _two(superuser), -1)


Make = Callable[[asyncpg.Connection], Awaitable[Command]]
BROKEN_RULES: list[tuple[str | None, Make, str]] = [
    ("check_minimum", _too_much, constraints.CK_ACCOUNTS_MINIMUM_BALANCE),
    ("check_minimum", _held_too_much, constraints.CK_ACCOUNTS_MINIMUM_BALANCE),
    ("check_maximum", _over_the_maximum, constraints.CK_ACCOUNTS_MAXIMUM_BALANCE),
    ("check_sides", _to_itself, constraints.CK_TRANSFERS_ACCOUNTS),
    ("check_status", _to_a_closed_account, constraints.CK_ACCOUNTS_CLOSED_EMPTY),
    ("check_expiry", _expired_from_the_start, constraints.CK_HOLDS_EXPIRY),
    (None, _of_nothing, constraints.CK_TRANSFERS_AMOUNT),  # the types of the wire are the first line
    (None, _of_less_than_nothing, constraints.CK_HOLDS_AMOUNT),
]


@pytest.mark.parametrize(("rule", "make", "constraint"), BROKEN_RULES)
async def test_what_a_broken_rule_lets_pass_a_constraint_refuses(
    commit: Commit,
    superuser: asyncpg.Connection,
    superuser_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    rule: str | None,
    make: Make,
    constraint: str,
) -> None:
    """Its neighbor in the batch is applied."""
    command, neighbor = await make(superuser), transfer(*await _two(superuser))
    if rule is not None:
        monkeypatch.setattr(f"service.domain.decide.{rule}", _says_nothing)
    assert await commit(command, neighbor) == ["internal_error", "applied"]
    assert _reasons(caplog) == {constraint}
    keys = [command.idempotency_key, neighbor.idempotency_key]
    assert await decided(superuser_url, keys) == {neighbor.idempotency_key}


@pytest.mark.parametrize(
    ("command", "reason"), [(_capture, constraints.CK_TRANSFERS_AMOUNT), (_void, "UnexpectedRowCountError")]
)
async def test_a_hold_that_no_rule_knows_as_closed_is_not_written(
    batch_database: Database,
    settings: Settings,
    commit: Commit,
    superuser: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    command: Callable[[UUID], Command],
    reason: str,
) -> None:
    """Nothing is left of it that a capture could move."""
    a, b = await add_accounts(superuser, 2)
    hold_id = await _hold(batch_database, settings, a, b, 10)
    assert await commit(_capture(hold_id, 4)) == ["applied"]
    monkeypatch.setattr("service.domain.decide.check_open", _says_nothing)
    assert await commit(command(hold_id)) == ["internal_error"]
    assert _reasons(caplog) == {reason}
    assert await superuser.fetchval("SELECT captured_amount FROM funds.holds WHERE id = $1", hold_id) == 4


async def test_a_hold_that_is_taken_for_a_larger_one_is_not_captured_beyond_itself(
    batch_database: Database,
    settings: Settings,
    commit: Commit,
    superuser: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    a, b = await add_accounts(superuser, 2)
    hold_id = await _hold(batch_database, settings, a, b, 10)
    # Another hold on the same side: the counters of what is held would not notice.
    await _hold(batch_database, settings, a, b, 10)

    async def load(*given: Any, **options: Any) -> Contents:
        contents = await loading.load(*given, **options)
        return structs.replace(contents, holds=[structs.replace(hold, amount=15) for hold in contents.holds])

    monkeypatch.setattr(AFTER_LOADING, load)
    assert await commit(_capture(hold_id, 12, final=False)) == ["internal_error"]
    assert _reasons(caplog) == {constraints.CK_HOLDS_CAPTURED}
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 0


async def test_counters_that_no_rule_bounds_end_the_batch(
    batch_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They cannot even be sent: nothing of the batch is applied, and nothing wraps."""
    a, b = await add_accounts(superuser, 2, credits_posted=INT64_MAX, version=1)
    command = transfer(a, b)
    monkeypatch.setattr("service.domain.decide.check_overflow", _says_nothing)
    try:
        said: Sequence[str] = words(await commit_batch(batch_database, settings, MAIN, [[command]]))
    except Exception as error:  # noqa: BLE001 - the driver or the encoder, whichever comes first
        said = [type(error).__name__]
    assert said in (["internal_error"], ["BatchFailedError"])
    assert await decided(superuser_url, [command.idempotency_key]) == set()
    assert set(await superuser.fetch("SELECT credits_posted FROM funds.accounts")) == {(INT64_MAX,)}


def _reasons(caplog: pytest.LogCaptureFixture) -> set[str]:
    """Return why the database refused, as the log says it of the batch and of its groups."""
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return {vars(record)["reason"] for record in records}
