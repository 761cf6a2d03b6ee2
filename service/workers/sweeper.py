"""The sweeper: frees what expired holds reserve."""

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from msgspec import Struct

from service.domain.holds import Hold, HoldStatus
from service.errors import BatchFailedError, LedgerDamagedError, OverloadedError, StorageError
from service.posting.committer import Committer
from service.posting.room import expiries
from service.settings import Settings
from service.storage.database import Session
from service.storage.nodes import AllLedgers, Part, is_unavailable
from service.storage.repositories.holds import HoldRepository
from service.storage.transactions import Transactions
from service.telemetry import metrics


class _Sweep(Struct):
    """How many holds of some ledgers were past their time, how many of these were freed, and what failed of others."""

    overdue: int = 0
    freed: int = 0
    failures: list[Exception] = []


class HoldSweeper:
    """Looks for holds past their time and submits their expiry, so that it takes its turn with captures and voids of
    the same hold. A PeriodicWorker has it look, ``settings.hold_sweep_interval_seconds`` after it last freed few.

    Any number of instances may sweep at once: a hold that another transaction locks is skipped, and to expire a hold
    that has ended changes nothing.
    """

    def __init__(self, committer: Committer, transactions: Transactions, settings: Settings) -> None:
        self._committer = committer
        self._transactions = transactions
        self._settings = settings
        self._ledgers = AllLedgers("hold-sweeper", transactions.run)

    async def work(self) -> bool:
        """Sweep once; return whether there may be more to do at once. Raises as ``sweep`` does."""
        return await self.sweep() >= self._settings.hold_sweep_holds_max

    async def sweep(self) -> int:
        """Expire up to ``settings.hold_sweep_holds_max`` holds and return how many of them are expired now: one in a
        ledger that is too far ahead of the clock stays open. Where a node is away, as many of each other one.

        Raises StorageError, BatchFailedError or OverloadedError: at once when the database does not answer, and else
        the first of them when all other ledgers were swept; what is left is found the next time.
        """
        sweeps = await self._ledgers.attend(self._sweep)
        freed = sum(sweep.freed for sweep in sweeps)
        metrics.holds_overdue.set(sum(sweep.overdue for sweep in sweeps) - freed)
        for sweep in sweeps:
            for failure in sweep.failures:
                raise failure
        return freed

    async def _sweep(self, part: Part) -> _Sweep:
        async def find(session: Session) -> list[tuple[int, UUID]]:
            limit = self._settings.hold_sweep_holds_max
            return await HoldRepository(session).expired(limit=limit, ledger_ids=part.ledger_ids)

        expired = await self._transactions.run(find, writes=lambda _: False, deadline_seconds=part.seconds_max)
        sweep = _Sweep()
        for ledger_id, holds in groupby(sorted(expired), key=lambda one: one[0]):
            try:
                await self._free(ledger_id, [hold_id for _, hold_id in holds], sweep)
            except LedgerDamagedError:  # it is stopped, and the others are not
                continue
            except (StorageError, BatchFailedError, OverloadedError) as error:
                if is_unavailable(error):
                    raise
                sweep.failures.append(error)
        return sweep

    async def _free(self, ledger_id: int, hold_ids: Sequence[UUID], sweep: _Sweep) -> None:
        untouched = await self._untouched(ledger_id, hold_ids)
        sweep.overdue += len(untouched)
        answers = await self._committer.submit(ledger_id, expiries(untouched)) if untouched else []
        sweep.freed += sum(
            isinstance(one.result, Hold) and one.result.status == HoldStatus.EXPIRED for [one] in answers
        )

    async def _untouched(self, ledger_id: int, hold_ids: Sequence[UUID]) -> list[UUID]:
        return await self._transactions.run(
            lambda session: HoldRepository(session).untouched(ledger_id, hold_ids), writes=lambda _: False
        )
