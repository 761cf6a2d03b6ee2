"""What is told of a failure is decided by how far the transaction got: at every exit, for any type of exception."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from msgspec import structs
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import (
    BatchFailedError,
    Failure,
    FundsError,
    HoldsInTheWayError,
    OverloadedError,
    ProblemError,
    StorageError,
)
from service.posting.committer import Committer
from service.posting.measures import Laps
from service.settings import Settings
from service.storage.database import Database
from service.telemetry.spans import BatchSpan
from service.wire.reasons import Overloaded
from tests.posting.callers import Start, submit
from tests.support.commands import posted, transfer, words
from tests.support.commit_proxy import Fault, commit_proxy
from tests.support.committing import commit_batch
from tests.support.invariants import assert_ledger_is_sound
from tests.support.rows import MAIN, add_accounts

Plant = Callable[[pytest.MonkeyPatch, Exception], None]


def _in(target: str) -> Plant:
    """Plant the fault in a function that is called before COMMIT."""

    def plant(planted: pytest.MonkeyPatch, error: Exception) -> None:
        def broken(*_: object, **__: object) -> Any:
            raise error

        planted.setattr(target, broken)

    return plant


def _at_the_end_of(phase: str) -> Plant:
    def plant(planted: pytest.MonkeyPatch, error: Exception) -> None:
        end = Laps.end

        def broken(self: Laps, ended: str) -> None:
            end(self, ended)
            if ended == phase:
                raise error

        planted.setattr(Laps, "end", broken)

    return plant


def _in_closing_the_session(planted: pytest.MonkeyPatch, error: Exception) -> None:
    close = AsyncSession.close

    async def broken(self: AsyncSession) -> None:
        await close(self)
        raise error

    planted.setattr(AsyncSession, "close", broken)


BEFORE_COMMIT = {
    "locking": _at_the_end_of("lock"),
    "loading": _at_the_end_of("load"),
    "deciding": _in("service.domain.executor.decide_transfer"),
    "writing": _in("service.storage.group_commit.writing.encode_transfer"),
    "looking for room": _in("service.posting.batch.check_room"),
    "the last step before COMMIT": _at_the_end_of("write"),
}
AFTER_COMMIT = {
    "closing the session": _in_closing_the_session,
    "the first step after COMMIT": _at_the_end_of("commit"),
    "counting phases": _in("service.posting.measures.Laps.count"),
}
# Of each kind that something is made of somewhere: none of them may be taken for what happened before COMMIT.
ERRORS = [
    ZeroDivisionError(),
    KeyError("missing"),
    StopIteration(),
    MemoryError(),
    FundsError(),
    ProblemError(Overloaded()),
    OverloadedError("not now"),
    IntegrityError("INSERT", None, ValueError("made up")),
]


@pytest.mark.parametrize("place", BEFORE_COMMIT)
async def test_a_fault_before_commit_is_told_as_not_applied(
    batch_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    a, b = await add_accounts(superuser, 2)
    with monkeypatch.context() as planted:
        BEFORE_COMMIT[place](planted, ZeroDivisionError())
        with pytest.raises(BatchFailedError) as caught:
            await commit_batch(batch_database, settings, MAIN, [[transfer(a, b)]])
    assert not caught.value.in_doubt
    assert await superuser.fetchval("SELECT count(*) FROM funds.decisions") == 0


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", AFTER_COMMIT)
async def test_a_fault_after_commit_is_told_as_unknown(
    batch_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    error: Exception,
) -> None:
    """What was committed is not lost: the same key replays it."""
    a, b = await add_accounts(superuser, 2)
    groups = [[transfer(a, b)]]
    with monkeypatch.context() as planted:
        AFTER_COMMIT[place](planted, error)
        with pytest.raises(BatchFailedError) as caught:
            await commit_batch(batch_database, structs.replace(settings, metrics=True), MAIN, groups)
    assert caught.value.in_doubt
    assert words(await commit_batch(batch_database, settings, MAIN, groups)) == ["replayed applied"]
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("last", [ZeroDivisionError(), StorageError(Failure.CONTENTION), FundsError()])
@pytest.mark.parametrize("fault", [Fault.REQUEST_LOST, Fault.ANSWER_LOST])
async def test_doubt_outlives_a_transaction_that_made_room(
    settings: Settings,
    database_url: str,
    superuser: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    last: Exception,
) -> None:
    """A COMMIT is in doubt; the next attempt finds expired holds in the way of what has arrived since, and begins anew;
    that one fails. Whether the first COMMIT was done is still not known.
    """
    a, b = await add_accounts(superuser, 2)
    found: Iterator[Exception] = iter([HoldsInTheWayError([]), last])

    async def no_room(*_: object, **__: object) -> None:
        if proxy.faults_met:
            raise next(found)

    monkeypatch.setattr("service.posting.batch.check_room", no_room)
    async with commit_proxy(database_url) as proxy:
        database = Database.connect_batches(proxy.url, settings)
        proxy.break_commits(fault)
        with pytest.raises(FundsError) as caught:
            await commit_batch(database, settings, MAIN, [[transfer(a, b)]])
        await database.close()
    assert proxy.faults_met == 1
    assert isinstance(caught.value, BatchFailedError | StorageError)
    assert caught.value.in_doubt


def _answering_too_few(planted: pytest.MonkeyPatch) -> None:
    async def short(*arguments: Any, **options: Any) -> Any:
        return (await commit(*arguments, **options))[:1]

    from service.posting.batch import commit_batch as commit  # noqa: PLC0415

    planted.setattr("service.posting.committer.commit_batch", short)


def _in_the_counts(planted: pytest.MonkeyPatch) -> None:
    _in("service.posting.committer.count_batch")(planted, ZeroDivisionError())


def _in_the_span(planted: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    planted.setattr(BatchSpan, "end", broken)


@pytest.mark.parametrize(
    ("plant", "answered"),
    [(_answering_too_few, [True, False]), (_in_the_counts, [True] * 2), (_in_the_span, [True] * 2)],
)
async def test_a_fault_beside_the_transaction_ends_one_batch_and_not_the_committer(
    start: Start,
    superuser_url: str,
    accounts: tuple[UUID, UUID],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    plant: Callable[[pytest.MonkeyPatch], None],
    answered: list[bool],
) -> None:
    """Every caller gets an answer, the true one or that it is not known; nobody waits for ever."""
    committer: Committer = await start(batches_in_flight_max=1, metrics=True)
    commands = [transfer(*accounts), transfer(*accounts)]
    with monkeypatch.context() as planted:
        plant(planted)
        tasks = [submit(committer, command) for command in commands]
        for task, is_answered in zip(tasks, answered, strict=True):
            if is_answered:
                assert len(posted(await task)) == 1
            else:
                with pytest.raises(BatchFailedError) as caught:
                    await task
                assert caught.value.in_doubt
        await committer.submit(MAIN, [[transfer(*accounts)]])
    assert "batch failed" in caplog.messages
    assert committer.running
    assert words(await committer.submit(MAIN, [[one] for one in commands])) == ["replayed applied"] * 2
    await assert_ledger_is_sound(superuser_url)
