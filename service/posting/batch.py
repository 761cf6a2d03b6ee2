"""Committing a batch: one transaction that locks, decides and writes, run again while what failed may pass."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from uuid import UUID

from msgspec import Struct

from service.domain import rejections
from service.domain.batch_state import BatchState
from service.domain.decisions import Answer, CommandAnswer
from service.domain.executor import Executor, Group
from service.domain.identifiers import ENTROPY_BITS, Identifiers
from service.domain.order import Moment
from service.domain.policy import Policy
from service.errors import BatchFailedError, StorageError
from service.posting.heads import tell_clock_behind
from service.posting.measures import Laps
from service.posting.room import check_room, expiries, freed, until_there_is_room
from service.settings import Settings
from service.storage import constraints
from service.storage.database import Session
from service.storage.errors import classify, is_refusal, reason, violated_constraint
from service.storage.group_commit.loading import load
from service.storage.group_commit.writing import BatchWriter
from service.storage.repositories import Repositories
from service.storage.repositories.heads import Head
from service.storage.retries import allow_another_step
from service.storage.transactions import Progress, Transactions

logger = logging.getLogger(__name__)

CHUNK = 250
"""How many commands are decided before what they made is handed to the writer."""

_TOGETHER_TRIES = 16
"""Each of them finds one concurrent duplicate at most."""
_ALONE_TRIES = 2
"""Once more after a violation: a decision that another process has just committed is then found and replayed."""


Gather = Callable[[], Sequence[Group]]
"""Returns the groups of a batch, which may be more each time."""


class Decided(Struct, frozen=True):
    """The answers to groups, each with a list of its own; and the accounts that lacked room which holds reserve."""

    answers: list[list[CommandAnswer]]
    short_of_room: set[UUID]


class Refusal(Struct, frozen=True):
    """The database did not write what the rules had allowed; ``error`` says why."""

    error: Exception


async def commit_batch(
    transactions: Transactions,
    settings: Settings,
    ledger_id: int,
    gather: Gather,
    *,
    deadline_seconds: float | None = None,
) -> list[list[CommandAnswer]]:
    """Apply groups of one ledger in one transaction and return the answers of each, within ``deadline_seconds`` (those
    of ``transactions`` by default). They are what ``gather`` returned last: each attempt asks it when it has locked the
    head, so that what arrives while a batch waits for its turn is in it.

    Expired holds that are in their way (``room``) are expired in front of them, in the same transaction; as many as the
    sweeper takes at once (``hold_sweep_holds_max``) in one of their own before.

    A transient failure runs everything again on a fresh session, also when a COMMIT's answer was lost: decisions are
    written with their effects, so the next try finds them and replays. Raises StorageError when the tries are used
    up, and BatchFailedError for any other failure: each with ``in_doubt`` if a COMMIT of the groups had been sent.
    """
    free = set[UUID]()
    progress = Progress()

    async def attempt(in_the_way: Sequence[UUID], seconds_left: float) -> list[list[CommandAnswer]]:
        commit = partial(
            _commit, transactions, settings, ledger_id, in_the_way=in_the_way, deadline_seconds=seconds_left
        )
        front = expiries(in_the_way, free)
        if len(front) >= settings.hold_sweep_holds_max:
            free.update(freed(await commit(lambda: front, progress=Progress())))
            front = expiries(in_the_way, free)
        return (await commit(lambda: [*front, *gather()], progress=progress))[len(front) :]

    try:
        return await until_there_is_room(attempt, deadline_seconds=deadline_seconds or transactions.deadline_seconds)
    except StorageError as error:
        raise StorageError(error.failure, in_doubt=progress.commit_sent) from error
    except Exception as error:
        raise BatchFailedError(in_doubt=progress.commit_sent) from error


async def _commit(
    transactions: Transactions,
    settings: Settings,
    ledger_id: int,
    gather: Gather,
    *,
    in_the_way: Sequence[UUID],
    deadline_seconds: float,
    progress: Progress,
) -> list[list[CommandAnswer]]:
    """Apply the groups of ``gather`` in one transaction and return the answers of each. Raises StorageError,
    HoldsInTheWayError for expired holds that are not yet known to be ``in_the_way``, and whatever else goes wrong as it
    is; ``progress`` tells of the transaction.
    """
    laps = Laps()

    async def work(session: Session) -> list[list[CommandAnswer]]:
        nonlocal laps
        laps = Laps()  # of this attempt
        head = await Repositories(session).heads.lock(ledger_id)
        laps.end("lock")
        decided = await _decide_and_write(session, ledger_id, head, gather(), settings.policy, laps)
        await check_room(session, settings, ledger_id, decided.short_of_room, known=in_the_way)
        laps.end("write")
        return decided.answers

    answers = await transactions.run(work, deadline_seconds=deadline_seconds, progress=progress)
    laps.end("commit")
    if settings.metrics:
        laps.count()
    return answers


async def dry_run(
    snapshots: Transactions, settings: Settings, ledger_id: int, groups: Sequence[Group]
) -> list[list[CommandAnswer]]:
    """Return how ``groups`` would be answered now: the full decision on one snapshot, without locks; nothing is stored.

    Raises StorageError.
    """

    async def attempt(in_the_way: Sequence[UUID], seconds_left: float) -> list[list[CommandAnswer]]:
        front = expiries(in_the_way)

        async def work(session: Session) -> list[list[CommandAnswer]]:
            all_groups = [*front, *groups]
            head = await Repositories(session).heads.look(ledger_id)
            executor = await _load(session, ledger_id, head, all_groups, settings.policy, lock=False)
            answers: list[list[CommandAnswer]] = []
            for chunk in _chunks(all_groups):
                answers += await _execute(executor, chunk)
                await asyncio.sleep(0)  # a dry run does not keep other tasks waiting
            await check_room(session, settings, ledger_id, executor.short_of_room, known=in_the_way)
            return answers[len(front) :]

        return await snapshots.run(work, deadline_seconds=seconds_left)

    return await until_there_is_room(attempt, deadline_seconds=snapshots.deadline_seconds)


async def _decide_and_write(
    session: Session, ledger_id: int, head: Head, groups: Sequence[Group], policy: Policy, laps: Laps
) -> Decided:
    """Decide ``groups`` behind ``head`` and write what they made, all in one savepoint; where the database refuses
    that, one by one.

    When a concurrent duplicate has just taken one of the keys, all is loaded and decided anew first: its decision is
    found and replayed. That writes keys in their order again, which one by one does not, so that batches which share
    keys do not deadlock.
    """
    for _ in range(_TOGETHER_TRIES):
        decided = await _in_a_savepoint(session, ledger_id, head, groups, policy, laps)
        if isinstance(decided, Decided):
            return decided
        refusal = decided
        if violated_constraint(refusal.error) != constraints.PK_DECISIONS:
            break
    logger.warning("the database refused a batch: its groups are written one by one", extra=_told(refusal.error))
    alone = [await _alone(session, ledger_id, group, policy, laps) for group in groups]
    return Decided([one.answers[0] for one in alone], set[UUID]().union(*(one.short_of_room for one in alone)))


async def _alone(session: Session, ledger_id: int, group: Group, policy: Policy, laps: Laps) -> Decided:
    """Decide and write one group in a savepoint of its own, inside the batch's transaction, whose locks still stand.

    A group that the database refuses again has met a fault of ours: nothing of it is stored.
    """
    allow_another_step()
    for _ in range(_ALONE_TRIES):
        head = await Repositories(session).heads.lock(ledger_id)  # where the group before has left it
        laps.end("lock")
        decided = await _in_a_savepoint(session, ledger_id, head, [group], policy, laps)
        if isinstance(decided, Decided):
            return decided
        refusal = decided
    logger.error("the database refuses what the rules allowed", exc_info=refusal.error, extra=_told(refusal.error))
    return Decided([[Answer(rejections.InternalError()) for _ in group]], set())


async def _in_a_savepoint(
    session: Session, ledger_id: int, head: Head, groups: Sequence[Group], policy: Policy, laps: Laps
) -> Decided | Refusal:
    """Load, decide and write ``groups``. What is written rolls back alone when the database refuses it.

    While PostgreSQL writes what one chunk made, the next one is decided. Any other failure is the whole transaction's
    and is raised.
    """
    executor = await _load(session, ledger_id, head, groups, policy)
    laps.end("load")
    answers: list[list[CommandAnswer]] = []
    try:
        async with session.begin_nested(), BatchWriter(session, ledger_id) as writer:
            for chunk in _chunks(groups):
                answers += await _execute(executor, chunk)
                laps.end("decide")
                await writer.write_transfers(executor.state.take_transfers())
                laps.end("write")
            await writer.write_changes(executor.state, last_place=executor.new_ids.place)
    except Exception as error:
        if classify(error) is not None or not is_refusal(error):
            raise
        return Refusal(error)
    return Decided(answers, executor.short_of_room)


async def _load(
    session: Session, ledger_id: int, head: Head, groups: Sequence[Group], policy: Policy, *, lock: bool = True
) -> Executor:
    """Load the state of a batch of ``groups`` that is written behind ``head``, and return what executes them on it.

    The process's generator of random numbers was seeded by the system: identifiers must not collide, they need not be
    secret.
    """
    contents = await load(session, ledger_id, [command for group in groups for command in group], lock=lock)
    moment = Moment.after(head.last_at, contents.clock, policy, head.period)
    new_ids = Identifiers(moment.place, partial(random.getrandbits, ENTROPY_BITS))
    executor = Executor(BatchState(contents, moment), new_ids)
    if executor.clock_behind is not None:
        tell_clock_behind(ledger_id, executor.clock_behind)
    return executor


async def _execute(executor: Executor, chunk: Sequence[Group]) -> list[list[CommandAnswer]]:
    """Answer the commands of each group of ``chunk``."""
    return [executor.execute(group) if len(group) <= CHUNK else await _in_steps(executor, group) for group in chunk]


async def _in_steps(executor: Executor, group: Group) -> list[CommandAnswer]:
    """Answer the commands of a large ``group``. Between two steps other tasks run."""
    execution = executor.begin(group)
    answers = execution.advance(CHUNK)
    while answers is None:
        await asyncio.sleep(0)
        answers = execution.advance(CHUNK)
    return answers


def _chunks(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Divide ``groups``, in order, into chunks of CHUNK commands; a larger group ends its chunk."""
    chunk: list[Group] = []
    size = 0
    for group in groups:
        chunk.append(group)
        size += len(group)
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _told(error: Exception) -> dict[str, str]:
    """Return what the log says of the database's refusal: the constraint or the kind of error, and what happened."""
    return {"reason": violated_constraint(error) or type(error).__name__, "error": reason(error)}
