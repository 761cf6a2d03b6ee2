"""Witnessing: asks a witness to cosign the latest checkpoint of every log."""

import asyncio
import logging
import time
from collections.abc import Sequence

from service.audit.ledger_log import LedgerLog
from service.audit.witnesses import Witness
from service.domain.history import LoggedLedger
from service.domain.identifiers import first_identifier
from service.errors import LogDamagedError, WitnessError
from service.proofs.errors import ProofsError
from service.proofs.notes import parse_note
from service.proofs.witnesses import AddCheckpoint, parse_known_size, read_cosignatures
from service.storage.database import Session
from service.storage.nodes import AllLedgers, Part
from service.storage.repositories import Repositories
from service.storage.repositories.cosignatures import LatestCheckpoint
from service.storage.transactions import Transactions
from service.workers.witness_client import Ask, WitnessClient

logger = logging.getLogger(__name__)

LEDGERS_AT_ONCE = 100
"""How many ledgers a turn asks about at most: between turns, it is looked which checkpoints are the latest."""
ASKED_AT_ONCE = 8
"""About how many logs a witness is asked at the same time at most."""
PAUSE_TURNS = 60
"""How many turns a log is left alone that the witness did not cosign."""

_TRIES_MAX = 3
_CONFLICT = 409
_REFUSALS = {
    400: "it takes the request for malformed",
    403: "it does not know the key that signed the checkpoint",
    404: "it does not know the log",
    422: "the log does not go on from what it cosigned",
}


class Witnessing:
    """Has one witness cosign the latest checkpoint of every log, wherever it has not. A PeriodicWorker has it look,
    every ``settings.log_witness_interval_seconds``.

    Of all instances one asks a witness: the one whose connection of ``transactions`` (a pool of one) has its lock. No
    transaction is open while the witness is waited for. Another instance, or a witness restored from a backup, may know
    of another size than this one remembers: the witness says so, and is asked again from there.
    """

    def __init__(self, transactions: Transactions, witness: Witness, client: WitnessClient) -> None:
        self._transactions = transactions
        self._ledgers = AllLedgers("log-witness", transactions.run)
        self._witness = witness
        self._client = client
        self._turn = 0
        self._done: dict[int, object] = {}
        """Where the head of each ledger was when all up to it had been cosigned."""
        self._known_sizes: dict[int, int] = {}
        """What the witness cosigned last, by ledger."""
        self._left_until: dict[int, int] = {}
        """The turn before which a ledger is left alone."""
        self._complete_at: float | None = None

    @property
    def behind_seconds(self) -> float | None:
        """How long the witness has not cosigned every log, since this instance asks it; None where another one does."""
        return None if self._complete_at is None else time.monotonic() - self._complete_at

    async def work(self) -> bool:
        """Have checkpoints cosigned, LEDGERS_AT_ONCE at most; return whether there are more. Raises StorageError.

        A witness that cannot be asked is logged, and asked again with the next turn; so is a log that it refuses, and
        left alone for PAUSE_TURNS, so that it holds up no other one.
        """
        self._turn += 1
        began = time.monotonic()
        waiting = [one for found in await self._ledgers.attend(self._find_waiting) for one in found]
        if not waiting:
            self._note_complete(began)
            return False
        try:
            async with self._client.opened() as ask:
                await self._attend_to_all(waiting[:LEDGERS_AT_ONCE], ask)
        except WitnessError as error:
            logger.warning(
                "a witness cannot be asked",
                extra={"witness": self._witness.name, "reason": f"{self._witness.name}: {error}"},
            )
            return False
        if len(waiting) > LEDGERS_AT_ONCE:
            return True
        self._note_complete(began)
        return False

    def _note_complete(self, began: float) -> None:
        """Note that a turn, which began then, left no log that was not cosigned, unless one is left alone or its node
        is away.
        """
        left_alone = any(until > self._turn for until in self._left_until.values())
        if self._complete_at is not None and not left_alone and not self._ledgers.waiting:
            self._complete_at = began

    async def _find_waiting(self, part: Part) -> Sequence[LatestCheckpoint]:
        return await self._transactions.run(
            lambda session: self._waiting(session, part), writes=lambda _: False, deadline_seconds=part.seconds_max
        )

    async def _waiting(self, session: Session, part: Part) -> Sequence[LatestCheckpoint]:
        """Return the checkpoints that the witness has to be asked about; none when another instance does."""
        repositories = Repositories(session)
        if not await repositories.cosignatures.claim(self._witness.key.id):
            self._complete_at = None
            return []
        if self._complete_at is None:
            self._complete_at = time.monotonic()
        heads = await repositories.log.heads(part.ledger_ids)  # of ledgers that are there: the sealer tells of others
        moved = [
            ledger_id
            for ledger_id, last_at in heads.last_at.items()
            if self._done.get(ledger_id) != last_at and self._left_until.get(ledger_id, 0) <= self._turn
        ]
        latest = await repositories.cosignatures.latest(moved, self._witness.name) if moved else []
        for one in latest:
            if one.cosigned and one.checkpoint.last_entry_id >= first_identifier(one.last_at):
                self._done[one.ledger_id] = one.last_at
        return [one for one in latest if not one.cosigned]

    async def _attend_to_all(self, waiting: Sequence[LatestCheckpoint], ask: Ask) -> None:
        """Attend to ``waiting``, ASKED_AT_ONCE at a time; where one cannot be asked, no other one is begun. Raises what
        ``_attend_to`` does, the first of it.
        """
        left = iter(waiting)
        failed = False

        async def attend() -> None:
            nonlocal failed
            for latest in left:
                if failed:
                    return
                try:
                    await self._attend_to(latest, ask)
                except Exception:
                    failed = True
                    raise

        attending = (attend() for _ in range(min(ASKED_AT_ONCE, len(waiting))))
        for failure in await asyncio.gather(*attending, return_exceptions=True):
            if failure is not None:
                raise failure

    async def _attend_to(self, latest: LatestCheckpoint, ask: Ask) -> None:
        # Whatever happens now, be it a fault of ours, holds up no other log. Raises WitnessError.
        self._left_until[latest.ledger_id] = self._turn + PAUSE_TURNS
        try:
            refusal = await self._cosign(latest, ask)
        except WitnessError:
            del self._left_until[latest.ledger_id]
            raise
        except (ProofsError, LogDamagedError) as error:
            refusal = str(error)
        if refusal is None:
            del self._left_until[latest.ledger_id]
            return
        logger.error(
            "a witness does not cosign a log",
            extra={
                "witness": self._witness.name,
                "ledger": latest.ledger,
                "size": latest.checkpoint.size,
                "reason": f"{self._witness.name}, {latest.ledger}: {refusal}",
            },
        )

    async def _cosign(self, latest: LatestCheckpoint, ask: Ask) -> str | None:
        """Have the checkpoint cosigned; return why it is not, and None when it is, or need not be any more. Raises
        WitnessError, ProofsError, LogDamagedError, StorageError.
        """
        size, known = latest.checkpoint.size, self._known_sizes.get(latest.ledger_id, 0)
        for _ in range(_TRIES_MAX):
            if known > size:
                return await self._explain_larger(latest, known)
            answer = await ask(await self._request(latest, known))
            if answer.status != _CONFLICT:
                break
            asked, known = known, parse_known_size(answer.text)
            if known == asked:
                return f"it cosigned another history of {known} entries"
            self._known_sizes[latest.ledger_id] = known
        if answer.status != 200:  # noqa: PLR2004 - HTTP's own
            return _REFUSALS.get(answer.status, "it says each time that it knows of another size")
        await self._keep(latest, answer.text)
        self._known_sizes[latest.ledger_id] = size
        return None

    async def _request(self, latest: LatestCheckpoint, known: int) -> str:
        ledger = LoggedLedger(latest.ledger_id, latest.ledger)
        checkpoint = latest.checkpoint
        path = await self._transactions.run(
            lambda session: LedgerLog(session, ledger).prove_consistency(known, checkpoint.size),
            writes=lambda _: False,
        )
        return str(AddCheckpoint(known, tuple(path), checkpoint.note))

    async def _keep(self, latest: LatestCheckpoint, answer: str) -> None:
        """Keep the cosignature of an answer. Raises ProofsError when there is none, or a wrong one."""
        [signature] = read_cosignatures(answer, parse_note(latest.checkpoint.note), [self._witness.key])

        async def keep(session: Session) -> None:
            await Repositories(session).cosignatures.add(
                latest.ledger_id, size=latest.checkpoint.size, witness=self._witness.name, signature=str(signature)
            )

        await self._transactions.run(keep)

    async def _explain_larger(self, latest: LatestCheckpoint, known: int) -> str | None:
        """Return why the witness may have cosigned more than ``latest``; None where the log has grown meanwhile."""
        now = await self._transactions.run(
            lambda session: Repositories(session).log.checkpoint(latest.ledger_id), writes=lambda _: False
        )
        if now is not None and now.size >= known:
            return None
        self._known_sizes.pop(latest.ledger_id, None)  # it is asked again next time
        return f"it cosigned {known} entries, and the log has {latest.checkpoint.size}: some were taken out of it"
