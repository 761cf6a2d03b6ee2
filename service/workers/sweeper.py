"""The sweeper: frees what expired holds reserve."""

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from service.domain.holds import Hold, HoldStatus
from service.errors import LedgerDamagedError
from service.posting.committer import Committer
from service.posting.room import expiries
from service.settings import Settings
from service.storage.database import Session
from service.storage.repositories.holds import HoldRepository
from service.storage.transactions import Transactions
from service.telemetry import metrics


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

    async def work(self) -> bool:
        """Sweep once; return whether there may be more to do at once. Raises as ``sweep`` does."""
        return await self.sweep() >= self._settings.hold_sweep_holds_max

    async def sweep(self) -> int:
        """Expire up to ``settings.hold_sweep_holds_max`` holds and return how many of them are expired now: one in a
        ledger that is too far ahead of the clock stays open.

        Raises StorageError, BatchFailedError or OverloadedError; what is left is found the next time.
        """

        async def find(session: Session) -> list[tuple[int, UUID]]:
            return await HoldRepository(session).expired(limit=self._settings.hold_sweep_holds_max)

        expired = await self._transactions.run(find, writes=lambda _: False)
        overdue = freed = 0
        for ledger_id, holds in groupby(sorted(expired), key=lambda one: one[0]):
            untouched = await self._untouched(ledger_id, [hold_id for _, hold_id in holds])
            overdue += len(untouched)
            try:
                answers = await self._committer.submit(ledger_id, expiries(untouched)) if untouched else []
            except LedgerDamagedError:  # it is stopped, and the others are not
                continue
            freed += sum(isinstance(one.result, Hold) and one.result.status == HoldStatus.EXPIRED for [one] in answers)
        metrics.holds_overdue.set(overdue - freed)
        return freed

    async def _untouched(self, ledger_id: int, hold_ids: Sequence[UUID]) -> list[UUID]:
        return await self._transactions.run(
            lambda session: HoldRepository(session).untouched(ledger_id, hold_ids), writes=lambda _: False
        )
