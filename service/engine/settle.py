"""Settling a batch: one transaction that locks, decides and stores, tried again as a whole."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import rejections
from service.domain.book import Answer, Book, Contents
from service.domain.identifiers import ENTROPY_BITS, POSITIONS, identifier
from service.domain.policy import Policy
from service.engine.queue import Unit
from service.engine.room import HoldsInTheWayError, check_room, expiries, still_held, until_there_is_room
from service.settings import Settings
from service.storage import constraints
from service.storage.batches import SLICE, Batch
from service.storage.database import Database
from service.storage.errors import StorageError, classify, violated_constraint
from service.storage.retry import allow_another_step, run_with_retries

logger = logging.getLogger(__name__)

_TOGETHER_TRIES = 16
"""Each meets one rival for a key at most."""
_FALLBACK_TRIES = 2
"""Once more after a violation: a decision that another process has just committed is then found and replayed."""


class SettlementError(Exception):
    """A batch failed through a fault of ours; ``outcome_unknown`` when its COMMIT had been sent."""

    def __init__(self, *, outcome_unknown: bool) -> None:
        super().__init__("a batch failed")
        self.outcome_unknown = outcome_unknown


async def settle(
    database: Database,
    settings: Settings,
    ledger_id: int,
    units: Sequence[Unit],
    *,
    deadline_seconds: float | None = None,
) -> list[list[Answer]]:
    """Apply ``units`` of one ledger in one transaction and return the answers of each, within ``deadline_seconds``
    (``settings.commit_deadline_seconds`` by default).

    Expired holds that are in their way (``room``) are expired in front of them, in the same transaction; as many as the
    sweeper takes at once (``hold_sweep_holds_max``) in one of their own before.

    A transient failure runs everything again on a fresh session, also when a COMMIT's answer was lost: decisions are
    written with their effects, so the next try finds them and replays. Raises StorageError when the tries are used
    up, with ``outcome_unknown`` if a COMMIT had been sent, and SettlementError for any other failure.
    """
    expired_count, stuck = 0, list[UUID]()

    async def attempt(in_the_way: Sequence[UUID], seconds_left: float) -> list[list[Answer]]:
        nonlocal expired_count, stuck
        settle_once = partial(
            _settle_once, database, settings, ledger_id, in_the_way=in_the_way, deadline_seconds=seconds_left
        )
        front = expiries([*stuck, *in_the_way[expired_count:]])
        if len(in_the_way) - expired_count >= settings.hold_sweep_holds_max:
            # Those that cannot be freed now stay in front: what lacks their room is not declined for ever.
            stuck = [hold.id for hold in still_held(await settle_once(front))]
            expired_count, front = len(in_the_way), expiries(stuck)
        return (await settle_once([*front, *units]))[len(front) :]

    return await until_there_is_room(attempt, deadline_seconds=deadline_seconds or settings.commit_deadline_seconds)


async def _settle_once(
    database: Database,
    settings: Settings,
    ledger_id: int,
    units: Sequence[Unit],
    *,
    in_the_way: Sequence[UUID],
    deadline_seconds: float,
) -> list[list[Answer]]:
    """Apply ``units`` as ``settle`` says. Raises HoldsInTheWayError for expired holds not yet known ``in_the_way``."""
    commit_sent = False

    async def attempt() -> list[list[Answer]]:
        nonlocal commit_sent
        async with database.sessions() as session, session.begin():
            short_of_room: set[UUID] = set()
            batch = Batch(session, ledger_id)
            answers = await _settle_together(session, batch, units, settings.policy, short_of_room)
            await check_room(session, settings, ledger_id, short_of_room, known=in_the_way)
            commit_sent = True
        return answers

    try:
        return await run_with_retries(
            attempt,
            attempts_max=settings.commit_attempts_max,
            deadline_seconds=deadline_seconds,
            outcome_unknown=lambda: commit_sent,
        )
    except (StorageError, HoldsInTheWayError):
        raise
    except Exception as error:
        raise SettlementError(outcome_unknown=commit_sent) from error


async def rehearse(database: Database, settings: Settings, ledger_id: int, units: Sequence[Unit]) -> list[list[Answer]]:
    """Return how ``units`` would be answered now: the full decision on one snapshot, without locks; nothing is stored.

    Raises StorageError.
    """

    async def attempt(in_the_way: Sequence[UUID], seconds_left: float) -> list[list[Answer]]:
        front = expiries(in_the_way)

        async def read() -> list[list[Answer]]:
            async with database.sessions() as session, session.begin():
                await session.connection(
                    execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
                )
                all_units = [*front, *units]
                commands = [command for unit in all_units for command in unit]
                book = _book(ledger_id, await Batch(session, ledger_id).load(commands, lock=False), settings.policy)
                answers: list[list[Answer]] = []
                for step, _ in enumerate(_decide(book, all_units, answers)):
                    if step % SLICE == 0:
                        await asyncio.sleep(0)  # others have their turn
                await check_room(session, settings, ledger_id, book.short_of_room, known=in_the_way)
                return answers[len(front) :]

        return await run_with_retries(read, attempts_max=settings.read_attempts_max, deadline_seconds=seconds_left)

    return await until_there_is_room(attempt, deadline_seconds=settings.read_deadline_seconds)


async def _settle_together(
    session: AsyncSession, batch: Batch, units: Sequence[Unit], policy: Policy, short_of_room: set[UUID]
) -> list[list[Answer]]:
    """Settle ``units`` by one set-based write in a savepoint; where the database refuses it, one by one. Accounts that
    lacked room are added to ``short_of_room``.

    When a rival has just used one of the keys, all is read and decided anew first: his decision is found and replayed.
    That writes keys in their order again, which one by one does not, so that rivals do not deadlock.
    """
    commands = [command for unit in units for command in unit]
    for _ in range(_TOGETHER_TRIES):
        book = _book(batch.ledger_id, await batch.load(commands), policy)
        answers, refused = await _settle(session, batch, units, book)
        if refused is None:
            short_of_room |= book.short_of_room
            return answers
        if refused != constraints.PK_DECISIONS:
            break
    logger.warning("batch refused, settling one by one", extra={"reason": refused})
    return [await _settle_alone(session, batch, unit, policy, short_of_room) for unit in units]


async def _settle_alone(
    session: AsyncSession, batch: Batch, unit: Unit, policy: Policy, short_of_room: set[UUID]
) -> list[Answer]:
    """Settle one unit in a savepoint of its own, inside the batch's transaction, whose locks still stand.

    A unit that the database refuses again has met a fault of ours: it is refused and nothing of it is stored.
    """
    allow_another_step()
    for _ in range(_FALLBACK_TRIES):
        book = _book(batch.ledger_id, await batch.load(unit), policy)
        [answers], refused = await _settle(session, batch, [unit], book)
        if refused is None:
            short_of_room |= book.short_of_room
            return answers
    logger.error("the database refuses what the rules allowed", extra={"reason": refused})
    return [Answer(rejections.internal_error()) for _ in unit]


async def _settle(
    session: AsyncSession, batch: Batch, units: Sequence[Unit], book: Book
) -> tuple[list[list[Answer]], str | None]:
    """Decide ``units`` and write what ``book`` changed in a savepoint; return the answers of each unit, and why the
    database refused them, None when it did not.

    Writing begins when the first slice of commands is decided. A transient failure is raised: it is the whole
    transaction's.
    """
    answers: list[list[Answer]] = []
    deciding = _decide(book, units, answers)
    deque(islice(deciding, SLICE), maxlen=0)
    if len(answers) == len(units) and not book.changed:
        return answers, None
    try:
        async with session.begin_nested():
            await batch.store(book, deciding)
    except Exception as error:
        if classify(error) is not None:
            raise
        return answers, violated_constraint(error) or type(error).__name__
    return answers, None


def _book(ledger_id: int, contents: Contents, policy: Policy) -> Book:
    book = Book(contents, policy)
    for account_id, last_change in book.too_far_ahead.items():
        tell_clock_behind(ledger_id, account_id, last_change=last_change, clock=book.clock)
    return book


def tell_clock_behind(ledger_id: int, account_id: UUID, *, last_change: datetime, clock: datetime) -> None:
    """Say aloud that nothing can follow the last change of an account before the clock is put right."""
    logger.error(
        "the last change of an account lies ahead of the database's clock: what touches the account is refused",
        extra={
            "reason": f"account {account_id}",  # one line a minute for each
            "ledger_id": ledger_id,
            "account_id": str(account_id),
            "last_change": last_change.isoformat(),
            "ahead_seconds": (last_change - clock).total_seconds(),
        },
    )


def _decide(book: Book, units: Iterable[Unit], answers: list[list[Answer]]) -> Iterator[None]:
    """Execute ``units`` a command a step, and add the answers of each to ``answers``."""
    new_ids = _identifiers(book)
    for unit in units:
        if len(unit) == 1:
            answers.append(book.execute(unit, new_ids))
            yield
        else:
            answers.append((yield from book.executing(unit, new_ids)))


def _identifiers(book: Book) -> Iterator[UUID]:
    """Name what a batch makes, rising in the order of application.

    The process's generator was seeded by the system: identifiers must not collide, they need not be secret.
    """
    for position in range(POSITIONS):
        yield identifier(book.at, position, random.getrandbits(ENTROPY_BITS))
