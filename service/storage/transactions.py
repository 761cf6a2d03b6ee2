"""The owner of transactions: each unit of work on a fresh session, run again as a whole while what failed may pass."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import datetime
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import Failure
from service.settings import RetryLimits
from service.storage.database import Database
from service.storage.errors import classify
from service.storage.plans import Plans
from service.storage.replica import READ_SECONDS_MAX, Replica
from service.storage.retries import run_with_retries
from service.storage.slots import Slots

T = TypeVar("T")

Work = Callable[[AsyncSession], Awaitable[T]]
"""A unit of work. Its transaction commits when it returns and rolls back when it raises."""


class Mode(Enum):
    """What a transaction may do and see, as SQLAlchemy's execution options."""

    READ_WRITE = MappingProxyType[str, object]({})
    READ_ONLY = MappingProxyType[str, object]({"postgresql_readonly": True})
    SNAPSHOT = MappingProxyType[str, object]({"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"})
    """One moment in all statements of a transaction."""
    SINGLE_STATEMENT = MappingProxyType[str, object]({"isolation_level": "AUTOCOMMIT"})
    """The transaction is left to the server, which saves two round trips of three."""


class Progress:
    """How far a unit of work got in all its runs: from when a COMMIT of it was sent, it may have been done, whatever
    comes afterwards.
    """

    __slots__ = ("commit_sent",)

    def __init__(self) -> None:
        self.commit_sent = False


class Transactions:
    """Runs units of work on ``database``: each on a session of its own, inside ``session.begin()``.

    What failed and may pass (``errors.classify``) runs again as a whole, within ``limits``. A COMMIT that was sent and
    never answered is in doubt: the work may have been done. So a unit of work that writes finds out first whether an
    earlier run did (it reads its decision, which is written with its effect), or says that it cannot.
    """

    def __init__(self, database: Database, limits: RetryLimits, mode: Mode = Mode.READ_WRITE) -> None:
        self._sessions = {
            plans: partial(database.sessions, bind=database.engine.execution_options(**mode.value, **plans.options))
            for plans in Plans
        }
        self._limits = limits
        self._writes = mode is Mode.READ_WRITE

    @property
    def deadline_seconds(self) -> float:
        """How long a unit of work may take with all its attempts."""
        return self._limits.deadline_seconds

    async def run(
        self,
        work: Work[T],
        *,
        deadline_seconds: float | None = None,
        plans: Plans = Plans.CHOSEN,
        writes: Callable[[T], bool] = lambda _: True,
        again_in_doubt: bool = True,
        progress: Progress | None = None,
    ) -> T:
        """Return what ``work`` returns, once it is committed, within ``deadline_seconds`` (the limits' by default). Its
        statements have ``plans``.

        ``writes`` tells by its result whether there was anything to commit: what changed nothing is never in doubt.
        With ``again_in_doubt`` False no other try follows a COMMIT in doubt.

        Raises StorageError when every try failed, with ``in_doubt`` where a COMMIT was in doubt, and any other error as
        it is. ``progress`` tells whether a COMMIT was sent before, whatever was raised.
        """
        far = progress or Progress()

        async def attempt() -> T:
            async with self._sessions[plans]() as session, session.begin():
                result = await work(session)
                far.commit_sent |= self._writes and writes(result)
            return result

        limits = self._limits if deadline_seconds is None else replace(self._limits, deadline_seconds=deadline_seconds)
        return await run_with_retries(attempt, limits, in_doubt=lambda: far.commit_sent, again_in_doubt=again_in_doubt)

    async def run_once(self, work: Work[T], *, plans: Plans = Plans.CHOSEN) -> T:
        """Return what ``work`` returns, without a second try. Raises the driver's errors."""
        async with self._sessions[plans]() as session, session.begin():
            return await work(session)


class Reader:
    """What read handlers are given: units of work that only read, on the replica first where there is one.

    A session cannot be injected itself, for a retry needs a fresh one. With ``slots``, each read takes one of them for
    the client that the reader is for. With a ``replica``, a read is tried there first (``on_replica``), and the primary
    is asked when the replica fails or knows too little.
    """

    def __init__(
        self,
        primary: Transactions,
        *,
        slots: Slots | None = None,
        replica: Replica | None = None,
        on_replica: Transactions | None = None,
        client: str = "",
        note_age: Callable[[datetime], None] = lambda _: None,
    ) -> None:
        self._primary = primary
        self._slots = slots
        self._replica = replica
        self._on_replica = on_replica
        self._client = client
        self._note_age = note_age

    @property
    def deadline_seconds(self) -> float:
        """How long a read may take with all its attempts."""
        return self._primary.deadline_seconds

    def for_client(self, client: str, note_age: Callable[[datetime], None]) -> "Reader":
        """Return the same reader for the work of ``client``; it tells ``note_age`` of every answer of the replica."""
        return Reader(
            self._primary,
            slots=self._slots,
            replica=self._replica,
            on_replica=self._on_replica,
            client=client,
            note_age=note_age,
        )

    async def __call__(
        self, query: Work[T], *, enough: Callable[[T], bool] = lambda _: True, plans: Plans = Plans.CHOSEN
    ) -> T:
        """Return what ``query`` answers on its session, whose statements have ``plans``; an answer of the replica only
        if it is ``enough``.

        Raises NoSlotError, or StorageError when every try failed.
        """
        started = asyncio.get_running_loop().time()
        async with nullcontext() if self._slots is None else self._slots.taken(self._client):
            waited = asyncio.get_running_loop().time() - started
            answer, as_of = await self.read(
                query, enough=enough, plans=plans, deadline_seconds=self.deadline_seconds - waited
            )
        if as_of is not None:
            self._note_age(as_of)
        return answer

    async def read(
        self,
        query: Work[T],
        *,
        enough: Callable[[T], bool] = lambda _: True,
        plans: Plans = Plans.CHOSEN,
        deadline_seconds: float | None = None,
    ) -> tuple[T, datetime | None]:
        """Return what ``query`` answers within ``deadline_seconds`` (the reader's own by default), without taking a
        slot, and for an answer of the replica the time up to which it holds everything; None for one of the primary.

        Raises StorageError when every try failed.
        """
        deadline_seconds = deadline_seconds or self.deadline_seconds
        if self._replica is not None and self._replica.usable and self._on_replica is not None:
            started, as_of = asyncio.get_running_loop().time(), self._replica.as_of
            try:
                async with asyncio.timeout(min(READ_SECONDS_MAX, deadline_seconds / 2)):
                    answer = await self._on_replica.run_once(query, plans=plans)
                if enough(answer):
                    return answer, as_of
            except Exception as error:  # noqa: BLE001 - whatever it is there, the primary has the last word
                if classify(error) is not Failure.CONTENTION:  # else this read alone was in the way of what is replayed
                    self._replica.fail(error)
            deadline_seconds -= asyncio.get_running_loop().time() - started
        return await self._primary.run(query, deadline_seconds=deadline_seconds, plans=plans), None
