"""The sealer: appends what happened in each ledger to the ledger's log, with a checkpoint where anything did."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct

from service.audit.ledger_log import NO_KEYS, LedgerLog, Sealing
from service.audit.log_keys import LogKeys
from service.audit.log_signer import Sign
from service.domain.history import LoggedLedger
from service.errors import LogDamagedError
from service.storage import constraints
from service.storage.database import Session
from service.storage.errors import violated_constraint
from service.storage.nodes import EVERY_LEDGER, AllLedgers, Part, is_unavailable
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions

logger = logging.getLogger(__name__)

SignFor = Callable[[str], Sign]
"""Gives what signs the checkpoints of the ledger of a name; "" is the installation's own history."""


class _Turn(Struct):
    """How far the logs of some ledgers are now (None: one is damaged), and what failed of others."""

    done: set[Sealing | None] = set()
    failures: list[Exception] = []


class Sealer:
    """Seals the history of every ledger whose head has moved. A PeriodicWorker has it look, every
    ``settings.log_seal_interval_seconds``.

    Any number of instances may be at it: a ledger that another one is sealing is left to it. It goes on from
    checkpoints that ``keys`` verify. One that cannot be sealed keeps no other one from being sealed, and comes last in
    the next turns.
    """

    def __init__(self, transactions: Transactions, sign_for: SignFor, keys: LogKeys = NO_KEYS) -> None:
        self._transactions = transactions
        self._ledgers = AllLedgers("log-sealer", transactions.run)
        self._sign_for = sign_for
        self._keys = keys
        self._sealed: dict[int, datetime] = {}
        self._damaged: set[int] = set()
        self._gone: frozenset[int] = frozenset()
        self._made_at = time.monotonic()
        self._failed: set[int] = set()
        self._sealed_at: float | None = None

    @property
    def damaged_count(self) -> int:
        """Of how many ledgers the history is not what was sealed, or the ledger is gone from under it."""
        return len(self._damaged | self._gone)

    @property
    def behind_seconds(self) -> float:
        """How long not everything has been sealed: the lag, before the first turn since this was made."""
        return time.monotonic() - (self._made_at if self._sealed_at is None else self._sealed_at)

    @property
    def lag_seconds(self) -> float | None:
        """How long ago a turn began that sealed everything there was; None before the first."""
        return None if self._sealed_at is None else time.monotonic() - self._sealed_at

    async def work(self) -> bool:
        """Seal what is new, a part of it in each ledger; return whether there is more at once. A ledger whose history
        is not what was sealed is logged, a line a minute, and sealed no further. Raises what a ledger could not be
        sealed for, the first of them, when the others were; at once when the database does not answer. While a node is
        away, its ledgers are left out.
        """
        began = time.monotonic()
        turns = await self._ledgers.attend(self._seal_moved)
        for turn in turns:
            for failure in turn.failures:
                raise failure
        done = set().union(*(turn.done for turn in turns))
        if done <= {Sealing.COMPLETE} and not self._ledgers.waiting:
            self._sealed_at = began
        return Sealing.UNFINISHED in done

    async def _seal_moved(self, part: Part) -> _Turn:
        moved = await self._transactions.run(
            lambda session: self._moved(session, part), writes=lambda _: False, deadline_seconds=part.seconds_max
        )
        turn = _Turn()
        for ledger, last_at in moved:
            try:
                turn.done.add(await self._seal(ledger, last_at))
            except Exception as error:
                if is_unavailable(error):
                    raise
                turn.failures.append(error)
        return turn

    async def _moved(self, session: Session, part: Part) -> Sequence[tuple[LoggedLedger, datetime]]:
        """Return the ledgers whose head has moved since they were sealed, and to where; those are left out that another
        process, or this one before it was started, has sealed up to there.
        """
        log = Repositories(session).log
        heads = await log.heads(part.ledger_ids)
        if part is EVERY_LEDGER:
            self._note_gone(heads.of_no_ledger)
        moved = {
            ledger_id: last_at for ledger_id, last_at in heads.last_at.items() if self._sealed.get(ledger_id) != last_at
        }
        unsealed = await log.unsealed(list(moved)) if moved else []
        found = [(ledger, moved[ledger.id]) for ledger in unsealed]
        for ledger_id in moved.keys() - {ledger.id for ledger in unsealed}:
            self._note_sealed(ledger_id, moved[ledger_id])
        return sorted(found, key=lambda one: one[0].id in self._failed)

    async def _seal(self, ledger: LoggedLedger, last_at: datetime) -> Sealing | None:
        """Seal the next entries of ``ledger``, whose head was at ``last_at``; None where it is damaged."""
        sign = self._sign_for(ledger.name)
        self._failed.add(ledger.id)
        try:
            sealing = await self._transactions.run(lambda session: LedgerLog(session, ledger, self._keys).seal(sign))
        except LogDamagedError as error:
            self._tell_damaged(ledger, str(error))
            return None
        except Exception as error:
            if violated_constraint(error) != constraints.PK_LOG_TILES:
                raise
            self._tell_damaged(ledger, f"ledger {ledger.id} has a tile in its log that was never full")
            return None
        self._failed.discard(ledger.id)
        self._damaged.discard(ledger.id)
        if sealing is Sealing.COMPLETE:
            self._note_sealed(ledger.id, last_at)
        return sealing

    def _note_sealed(self, ledger_id: int, last_at: datetime) -> None:
        self._sealed[ledger_id] = last_at
        self._failed.discard(ledger_id)
        self._damaged.discard(ledger_id)

    def _note_gone(self, ledger_ids: frozenset[int]) -> None:
        """Log once of each ledger that it is gone, and only its head is there: it is sealed no further, and no witness
        is asked about it.
        """
        for ledger_id in sorted(ledger_ids - self._gone):
            reason = f"ledger {ledger_id} has a head, and is not there: its log is not gone on with"
            logger.error("a ledger is damaged", extra={"ledger": str(ledger_id), "reason": reason})
        self._gone = ledger_ids

    def _tell_damaged(self, ledger: LoggedLedger, reason: str) -> None:
        """Log that a ledger is damaged, a line a minute."""
        self._damaged.add(ledger.id)
        logger.error("a ledger is damaged", extra={"ledger": ledger.title, "reason": reason})
