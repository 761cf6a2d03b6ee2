"""The verifier: asks the rules of every ledger, over and over, in small slices, and says at once what it finds."""

import asyncio
import logging
import time
from itertools import groupby

from msgspec import Struct

from service.audit.integrity import Step, verify_slice
from service.audit.ledger_log import NO_KEYS
from service.audit.log_keys import LogKeys
from service.domain.history import LoggedLedger
from service.domain.integrity import Finding, Freshness, Pass, Verification
from service.posting.damage import DamagedLedgers
from service.settings import Settings
from service.storage.clock import database_time
from service.storage.database import Session
from service.storage.errors import reason
from service.storage.nodes import AllLedgers, Part, is_of_a_node
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions

logger = logging.getLogger(__name__)

WATCH_INTERVAL_SECONDS = 2.0
_KEEP_SECONDS = 10.0
"""How often the place of a pass is kept; after a restart it goes on there."""


class _Work(Struct):
    """The ledger that is being verified, and what is known of it."""

    ledger: LoggedLedger
    known: Verification
    current: Pass
    kept_at: float


class LedgerVerifier:
    """Verifies the installation's own history and every ledger, one after the other, in the order of their ids; a
    PeriodicWorker begins the next round
    ``settings.verify_interval_seconds`` after one ended. The first one waits as long: a start is busy enough.

    Each slice is a short read-only transaction of ``slices`` (Mode.SNAPSHOT, a pool of one connection). After it, the
    verifier pauses so that it is at work for no more than ``settings.verify_share`` of the time, however slow the
    database is. The checkpoints of logs are verified by ``keys``. Of several processes
    one verifies; the others look again after the interval, and go on where it was.
    """

    def __init__(
        self,
        slices: Transactions,
        keeping: Transactions,
        damaged: DamagedLedgers,
        settings: Settings,
        *,
        keys: LogKeys = NO_KEYS,
    ) -> None:
        self._keys = keys
        self._slices = slices
        self._keeping = keeping
        self._damaged = damaged
        self._settings = settings
        self._started = False
        self._last_ledger_id: int | None = None
        self._turn: LoggedLedger | None = None
        self._work: _Work | None = None

    async def work(self) -> bool:
        """Verify a slice and pause; return whether there is more of this round. Raises the driver's errors: the same
        slice is tried again.
        """
        if not self._started:
            self._started = True
            return False
        started = time.monotonic()
        more = await self.verify_next()
        if more:
            share = self._settings.verify_share
            await asyncio.sleep((time.monotonic() - started) * (1 - share) / share)
        return more

    async def verify_next(self) -> bool:
        """Verify one slice; return whether there is more of this round. A ledger whose node is away waits for the next
        round.
        """
        try:
            return await self._verify_next()
        except Exception as error:
            if self._turn is None or not await is_of_a_node(self._slices.run_once, error):
                raise
            told = f"{self._turn.title}: {reason(error)}"
            logger.warning("a ledger cannot be verified now", extra={"ledger": self._turn.title, "reason": told})
            self._last_ledger_id, self._turn, self._work = self._turn.id, None, None
            return True

    async def _verify_next(self) -> bool:
        work = self._work or await self._slices.run_once(self._begin)
        if work is None:
            self._last_ledger_id = None
            return False
        self._work = work
        step = await self._slices.run_once(lambda session: self._verify(session, work))
        if step is None:  # another process verifies now
            self._work = None
            return False
        await self._note(work, step)
        return True

    async def _begin(self, session: Session) -> _Work | None:
        """Take the next ledger, where its pass is; None at the end of the round, or when another process verifies."""
        repositories = Repositories(session)
        if not await repositories.integrity.claim():
            return None
        self._turn = ledger = await repositories.verifications.following(self._last_ledger_id)
        if ledger is None:
            return None
        known = await repositories.verifications.of(ledger.id)
        current = known.running or Pass(await database_time(session))
        return _Work(ledger, Verification(known.complete, current), current, time.monotonic())

    async def _verify(self, session: Session, work: _Work) -> Step | None:
        if not await Repositories(session).integrity.claim():
            return None
        return await verify_slice(session, work.ledger.id, work.current.place, may_skip=True, keys=self._keys)

    async def _note(self, work: _Work, step: Step) -> None:
        """Tell and keep what ``step`` gave."""
        current = work.current
        current.add(step.row_count, step.entry_count, step.findings, step.unasked, step.unknown_witnesses)
        _tell(work.ledger.title, step)
        current.place = step.next or current.place
        if step.next is None:
            await self._keep(work, ended=True)
            self._last_ledger_id, self._turn, self._work = work.ledger.id, None, None
        elif step.findings or time.monotonic() - work.kept_at >= _KEEP_SECONDS:
            await self._keep(work)
        if step.findings:  # other processes look in the table
            self._damaged.ids = frozenset({*self._damaged.ids, work.ledger.id})

    async def _keep(self, work: _Work, *, ended: bool = False) -> None:
        async def keep(session: Session) -> None:
            if ended:
                work.current.ended_at = await database_time(session)
                work.known = Verification(work.current, None)
            await Repositories(session).verifications.keep(work.ledger.id, work.known)

        await self._keeping.run(keep)
        work.kept_at = time.monotonic()


class IntegrityWatch:
    """Looks at what the verifier, in whichever process, knows of all ledgers, and tells this process's writers."""

    def __init__(self, transactions: Transactions, damaged: DamagedLedgers) -> None:
        self._transactions = transactions
        self._ledgers = AllLedgers("integrity-watch", transactions.run)
        self._damaged = damaged
        self.freshness: Freshness | None = None

    async def look(self) -> None:
        """Look once. Of ledgers whose node is away, what was damaged is so still. Raises StorageError."""
        found = await self._ledgers.attend(self._look)
        if not found:
            return
        damaged = self._ledgers.waiting.intersection(self._damaged.ids).union(*(one.damaged for one in found))
        self.freshness = Freshness(
            as_of=max(one.as_of for one in found),
            damaged=damaged,
            oldest_at=min((one.oldest_at for one in found if one.oldest_at is not None), default=None),
            unverified=sum(one.unverified for one in found),
        )
        self._damaged.ids = damaged

    async def _look(self, part: Part) -> Freshness:
        return await self._transactions.run(
            lambda session: Repositories(session).verifications.freshness(part.ledger_ids),
            writes=lambda _: False,
            deadline_seconds=part.seconds_max,
        )


def _tell(ledger: str, step: Step) -> None:
    """Log what was found, a line for each rule: its first row and how many there are, without what callers sent."""

    def by_rule(finding: Finding) -> str:
        return finding.rule

    for rule, found in groupby(sorted(step.findings), key=by_rule):
        first, *others = found
        row = {} if first.table == "decisions" else {"row": first.id}  # a decision's identifier is the caller's key
        logger.error(
            "a ledger is damaged",
            extra={
                "ledger": ledger,
                "rule": rule,
                "table": first.table,
                **row,
                "finding_count": 1 + len(others),
                "reason": f"{ledger}: {rule}",
            },
        )
    for rule in step.unasked:
        logger.warning(
            "a rule takes too long to be asked",
            extra={"ledger": ledger, "rule": rule, "reason": f"{ledger}: {rule}"},
        )
