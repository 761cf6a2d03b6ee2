"""The working set of one batch: accounts and earlier decisions in, new facts out."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct, structs

from service.domain import rejections
from service.domain.accounts import Account
from service.domain.decide import decide
from service.domain.rejections import Rejection
from service.domain.transfers import PostTransfer, Transfer

POST_TRANSFER = "post_transfer"
"""The operation of decisions on transfers."""


class Decision(Struct, frozen=True, kw_only=True, gc=False):
    """What the service answered to a command, for ever: a transfer or the rejection that took its place."""

    ledger_id: int
    client_id: str
    idempotency_key: str
    fingerprint: bytes
    operation: str
    transfer: Transfer | None = None
    rejection: Rejection | None = None
    created_at: datetime


class Answer(Struct, frozen=True, gc=False):
    """A decision on its way to the caller; ``replayed`` when it had been taken before."""

    outcome: Transfer | Rejection
    replayed: bool = False


class Book:
    """Decides units of commands in order, each seeing the effects of those before it.

    ``accounts`` and ``decisions`` are what storage loaded under locks for the commands at hand; ``now`` is the
    database's time, read after the locks. What has to be stored is in ``new_transfers``, ``new_decisions`` and
    ``touched`` (the changed accounts' ids, each with the version that was loaded).
    """

    def __init__(self, accounts: Iterable[Account], decisions: Iterable[Decision], now: datetime) -> None:
        self.accounts = {account.id: account for account in accounts}
        self.decisions = {(decision.client_id, decision.idempotency_key): decision for decision in decisions}
        self.now = now
        self.new_transfers: list[Transfer] = []
        self.new_decisions: list[Decision] = []
        self.touched: dict[UUID, int] = {}

    def execute(self, unit: Sequence[PostTransfer], transfer_ids: Iterator[UUID]) -> list[Answer]:
        """Answer the commands of ``unit``, which apply together or not at all; ``transfer_ids`` names new transfers.

        When one command of several is refused, nothing of the unit is applied: the refused one keeps its own
        rejection and every other one is remembered as refused with it (batch_rejected).
        """
        if len(unit) == 1:
            return [self._execute_one(unit[0], transfer_ids)]
        group_id = next(transfer_ids)

        saved = {
            account_id: structs.replace(self.accounts[account_id])
            for command in unit
            for account_id in (command.debit_account_id, command.credit_account_id)
            if account_id in self.accounts
        }
        touched_before = self.touched.copy()
        transfers_before, decisions_before = len(self.new_transfers), len(self.new_decisions)
        answers: list[Answer] = []
        for command in unit:
            answer = self._execute_one(command, transfer_ids, group_id)
            answers.append(answer)
            if isinstance(answer.outcome, Rejection) and not answer.replayed:
                break
        else:
            return answers

        self.accounts.update(saved)
        self.touched = touched_before
        del self.new_transfers[transfers_before:]
        for decision in self.new_decisions[decisions_before:]:
            del self.decisions[decision.client_id, decision.idempotency_key]
        del self.new_decisions[decisions_before:]
        return self._refuse_together(unit, refused=len(answers) - 1, answer=answers[-1])

    def _refuse_together(self, unit: Sequence[PostTransfer], *, refused: int, answer: Answer) -> list[Answer]:
        """Remember every command of ``unit`` as refused because number ``refused`` was."""
        assert isinstance(answer.outcome, Rejection), "a unit is refused by a rejection"
        companion = rejections.batch_rejected(unit[refused].idempotency_key, answer.outcome.code)
        answers = []
        for index, command in enumerate(unit):
            replay = self._replay(command)
            if replay is not None:
                answers.append(replay)
                continue
            rejection = answer.outcome if index == refused else companion
            self._remember(command, rejection)
            answers.append(Answer(rejection))
        return answers

    def _execute_one(self, command: PostTransfer, transfer_ids: Iterator[UUID], group_id: UUID | None = None) -> Answer:
        replay = self._replay(command)
        if replay is not None:
            return replay
        outcome = decide(command, self.accounts, transfer_id=next(transfer_ids), group_id=group_id, now=self.now)
        if isinstance(outcome, Transfer):
            self._apply(outcome)
        self._remember(command, outcome)
        return Answer(outcome)

    def _replay(self, command: PostTransfer) -> Answer | None:
        """Answer from the earlier decision under the command's key, if there is one.

        A key that stands for another request is refused without being stored: the key is already taken.
        """
        earlier = self.decisions.get((command.client_id, command.idempotency_key))
        if earlier is None:
            return None
        if earlier.fingerprint != command.fingerprint:
            return Answer(rejections.idempotency_key_reused(command.idempotency_key))
        outcome = earlier.transfer or earlier.rejection
        assert outcome is not None, "a decision on a transfer holds a transfer or a rejection"
        return Answer(outcome, replayed=True)

    def _remember(self, command: PostTransfer, outcome: Transfer | Rejection) -> None:
        decision = Decision(
            ledger_id=command.ledger_id,
            client_id=command.client_id,
            idempotency_key=command.idempotency_key,
            fingerprint=command.fingerprint,
            operation=POST_TRANSFER,
            transfer=outcome if isinstance(outcome, Transfer) else None,
            rejection=outcome if isinstance(outcome, Rejection) else None,
            created_at=self.now,
        )
        self.decisions[command.client_id, command.idempotency_key] = decision
        self.new_decisions.append(decision)

    def _apply(self, transfer: Transfer) -> None:
        debit = self.accounts[transfer.debit_account_id]
        credit = self.accounts[transfer.credit_account_id]
        self.touched.setdefault(debit.id, debit.version)
        self.touched.setdefault(credit.id, credit.version)
        debit.debits_posted += transfer.amount
        credit.credits_posted += transfer.amount
        debit.version = transfer.debit_account_version
        credit.version = transfer.credit_account_version
        debit.updated_at = credit.updated_at = self.now
        self.new_transfers.append(transfer)
