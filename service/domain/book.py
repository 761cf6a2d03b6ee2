"""The working set of one batch: accounts, holds and earlier decisions in, new facts out."""

from collections.abc import Generator, Iterable, Iterator, MutableMapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct, structs

from service.domain import rejections
from service.domain.accounts import Account
from service.domain.checks import rooms
from service.domain.commands import (
    AnyCommand,
    CaptureHold,
    Command,
    ExpireHold,
    FenceKey,
    OpenHold,
    PostTransfer,
    ReverseTransfer,
    VoidHold,
)
from service.domain.decide import (
    close_hold,
    decide_capture,
    decide_hold,
    decide_reversal,
    decide_transfer,
    decide_void,
    expiry,
)
from service.domain.holds import Hold, HoldStatus
from service.domain.order import next_place
from service.domain.policy import Policy
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer

K = TypeVar("K")
V = TypeVar("V")


class Fenced(Struct, frozen=True):
    """The outcome of a key that was made unusable before it was used."""


FENCED = Fenced()


class AccountChanged(Struct, frozen=True):
    """The outcome of a key under which an account was opened or revised: the book knows no more of it."""

    account_id: UUID


Outcome = Transfer | Hold | Rejection | Fenced


class Decision(Struct, frozen=True, kw_only=True, gc=False):
    """What the service answered to a command, for ever.

    What was refused keeps its terms and its accounts, as far as they are known: an operator will ask.
    """

    ledger_id: int
    client_id: str
    idempotency_key: str
    fingerprint: bytes
    operation: str
    outcome: Outcome | AccountChanged
    terms: dict[str, Any] | None = None
    debit_account_id: UUID | None = None
    credit_account_id: UUID | None = None
    created_at: datetime


class Answer(Struct, frozen=True, gc=False):
    """An outcome on its way to the caller; ``replayed`` when it had been decided before."""

    outcome: Outcome
    replayed: bool = False


class Contents(Struct, frozen=True, kw_only=True):
    """What storage loaded under locks for the commands at hand; ``clock`` is the database's, read after the locks.

    ``transfers`` are those to be reversed, ``reversed_amounts`` what has been reversed of them before.
    """

    accounts: Iterable[Account]
    decisions: Iterable[Decision]
    clock: datetime
    holds: Iterable[Hold] = ()
    transfers: Iterable[Transfer] = ()
    reversed_amounts: dict[UUID, int] = {}


class Book:
    """Decides units of commands in order, each seeing the effects of those before it.

    What has to be stored is in ``new_transfers``, ``new_holds``, ``new_decisions``, and in what changed:
    ``touched_accounts`` (ids, with the version that was loaded), ``touched_holds`` and ``touched_transfers`` (ids, with
    the amount captured or reversed that was loaded).

    All is decided by ``clock``. ``at`` is the place in the order of the unit at hand: the clock's time too, unless an
    account that it touches was changed later than that. What touches an account whose last change lies too far ahead
    (``too_far_ahead``: ids, with its time) is refused with clock_behind, and that is not remembered.

    ``short_of_room`` are accounts for whose lack of room something was refused, or moved less, while holds reserve some
    of it. When one of these holds has expired, the batch must be decided again, with its expiry in front.
    """

    def __init__(self, contents: Contents, policy: Policy) -> None:
        self.accounts = {account.id: account for account in contents.accounts}
        self.holds = {hold.id: hold for hold in contents.holds}
        self.transfers = {transfer.id: transfer for transfer in contents.transfers}
        self.reversed_amounts = dict(contents.reversed_amounts)
        self.decisions = {(decision.client_id, decision.idempotency_key): decision for decision in contents.decisions}
        self.clock = contents.clock
        self.at = contents.clock
        self.new_transfers: list[Transfer] = []
        self.new_holds: list[Hold] = []
        self.new_decisions: list[Decision] = []
        self.touched_accounts: dict[UUID, int] = {}
        self.touched_holds: dict[UUID, int] = {}
        self.touched_transfers: dict[UUID, int] = {}
        self.short_of_room: set[UUID] = set()
        self._policy = policy
        # Of the accounts that are ahead of the clock, where their next change is placed.
        self._next_places = {
            account.id: next_place(account.updated_at, self.clock)
            for account in self.accounts.values()
            if account.updated_at >= self.clock
        }
        # Of accounts that share an expired hold with one that is too far ahead, why it cannot be freed now.
        self._stuck: dict[UUID, Rejection] = {}
        self.too_far_ahead = {
            account_id: self.accounts[account_id].updated_at
            for account_id in self._next_places
            if self.accounts[account_id].updated_at - self.clock > policy.clock_ahead_max
        }
        self._undo: list[tuple[MutableMapping[Any, Any], Any, Any]] | None = None
        self._begun: int | None = None

    @property
    def changed(self) -> bool:
        """Whether anything has to be stored."""
        return bool(self.new_decisions or self.touched_accounts)

    def touched_by_place(self) -> dict[datetime, list[UUID]]:
        """Return the ids in ``touched_accounts`` by the place of their last change: nearly always the clock's alone."""
        if not self._next_places:
            return {self.clock: list(self.touched_accounts)}
        places: dict[datetime, list[UUID]] = {}
        for account_id in self.touched_accounts:
            places.setdefault(self.accounts[account_id].updated_at, []).append(account_id)
        return places

    @property
    def decided_transfers(self) -> int:
        """How many of ``new_transfers`` stand: those of a unit that is being executed may still be taken back."""
        return len(self.new_transfers) if self._begun is None else self._begun

    def execute(self, unit: Sequence[AnyCommand], new_ids: Iterator[UUID]) -> list[Answer]:
        """Answer the commands of ``unit``, which apply together or not at all; ``new_ids`` names what they make.

        When one command of several is refused, now or before, nothing of the unit is applied: the refused one keeps
        its own rejection and every other one is remembered as refused with it (batch_rejected).
        """
        if len(unit) == 1:
            refusal = self._refusal_for_now(unit)
            return [
                self._execute_one(unit[0], new_ids, None) if refusal is None else self._refuse_for_now(unit[0], refusal)
            ]
        steps = self.executing(unit, new_ids)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                answers: list[Answer] = end.value
                return answers

    def executing(self, unit: Sequence[AnyCommand], new_ids: Iterator[UUID]) -> Generator[None, None, list[Answer]]:
        """Execute ``unit`` a command a step, and return its answers: a unit may have ten thousand commands, and whoever
        steps may do something else in between. No other unit can be executed before the last step.
        """
        refusal = self._refusal_for_now(unit)
        if refusal is not None:
            return [self._refuse_for_now(command, refusal) for command in unit]
        group_id = next(new_ids)
        lists: tuple[list[Any], ...] = (self.new_transfers, self.new_holds, self.new_decisions)
        lengths = [len(one) for one in lists]
        self._undo, self._begun = [], len(self.new_transfers)
        try:
            answers: list[Answer] = []
            for command in unit:
                answer = self._execute_one(command, new_ids, group_id)
                answers.append(answer)
                if isinstance(answer.outcome, Rejection):
                    break
                yield
            else:
                return answers
            for mapping, key, before in reversed(self._undo):
                if before is None:
                    del mapping[key]
                else:
                    mapping[key] = before
        finally:
            self._undo = self._begun = None
        for one, length in zip(lists, lengths, strict=True):
            del one[length:]
        last = answers[-1].outcome
        if isinstance(last, Rejection) and last in self._stuck.values():
            return [self._refuse_for_now(command, last) for command in unit]
        return (yield from self._refuse_together(unit, refused=len(answers) - 1, rejection=last))

    def _refusal_for_now(self, unit: Sequence[AnyCommand]) -> Rejection | None:
        """Find the place of ``unit`` in the order; return why it has none now, None when it has."""
        self.at = self.clock
        return self._place(unit) if self._next_places else None

    def _place(self, unit: Sequence[AnyCommand]) -> Rejection | None:
        """Find the place of ``unit`` in the order, after the last changes of the accounts that it touches.

        Refused (clock_behind) where it would be too far ahead of the clock, or what happens to a hold would stand
        behind the hold's end.
        """
        touched = (account_id for command in unit for account_id in self._accounts_of(command))
        ahead = {account_id: self._next_places[account_id] for account_id in touched if account_id in self._next_places}
        if not ahead:
            return None
        account_id, self.at = max(ahead.items(), key=lambda item: item[1])
        ends = [self._end(command) for command in unit]
        behind = any(end is not None and self.clock < end <= self.at for end in ends)
        if behind or not self.too_far_ahead.keys().isdisjoint(ahead):
            last_change = self.accounts[account_id].updated_at
            return rejections.clock_behind(account_id, last_change=last_change, clock=self.clock)
        return None

    def _end(self, command: AnyCommand) -> datetime | None:
        """Return the end of the hold that ``command`` opens, captures or voids."""
        match command:
            case OpenHold():
                return expiry(command, self._policy, self.clock)
            case CaptureHold() | VoidHold():
                hold = self.holds.get(command.hold_id)
                return None if hold is None else hold.expires_at
        return None

    def _refuse_for_now(self, command: AnyCommand, refusal: Rejection) -> Answer:
        """Answer from the earlier decision, or with ``refusal``, which is not remembered."""
        if isinstance(command, ExpireHold):
            hold = self.holds[command.hold_id]
            if hold.status == HoldStatus.OPEN and hold.expires_at <= self.clock:
                self._stuck |= {hold.debit_account_id: refusal, hold.credit_account_id: refusal}
            return Answer(hold)
        return self._replay(command) or Answer(refusal)

    def _refuse_together(
        self, unit: Sequence[AnyCommand], *, refused: int, rejection: Outcome
    ) -> Generator[None, None, list[Answer]]:
        """Remember every command of ``unit`` as refused because number ``refused`` was, one a step."""
        assert isinstance(rejection, Rejection), "a unit is refused by a rejection"
        answers = []
        for index, command in enumerate(unit):
            yield
            assert isinstance(command, Command), "only commands of callers come in company"
            replay = self._replay(command)
            if replay is not None:
                answers.append(replay)
                continue
            cause = unit[refused]
            assert isinstance(cause, Command), "only commands of callers come in company"
            outcome = (
                rejection if index == refused else rejections.batch_rejected(cause.idempotency_key, rejection.code)
            )
            self._remember(command, outcome)
            answers.append(Answer(outcome))
        return answers

    def _execute_one(self, command: AnyCommand, new_ids: Iterator[UUID], group_id: UUID | None) -> Answer:
        if isinstance(command, ExpireHold):
            return Answer(self._expire(command))
        replay = self._replay(command)
        if replay is not None:
            return replay
        outcome = self._decide(command, new_ids, group_id)
        if self._stuck and isinstance(outcome, Rejection):
            short = rejections.short_of_room(outcome)
            if short in self._stuck:
                outcome = self._stuck[short]
            if outcome in self._stuck.values():
                return Answer(outcome)
        self._remember(command, outcome)
        return Answer(outcome)

    def _decide(self, command: Command, new_ids: Iterator[UUID], group_id: UUID | None) -> Outcome:
        match command:
            case PostTransfer():
                return self._post(command, next(new_ids), group_id)
            case OpenHold():
                return self._open_hold(command, next(new_ids), group_id)
            case CaptureHold():
                return self._capture(command, next(new_ids), group_id)
            case VoidHold():
                return self._void(command)
            case ReverseTransfer():
                return self._reverse(command, next(new_ids), group_id)
            case FenceKey():
                return FENCED
        raise AssertionError(f"no rules for {type(command).__name__}")

    def _post(self, command: PostTransfer, new_id: UUID, group_id: UUID | None) -> Transfer | Rejection:
        outcome = decide_transfer(
            command, self.accounts, self._policy, new_id=new_id, group_id=group_id, now=self.clock, at=self.at
        )
        if isinstance(outcome, Transfer):
            if command.at_most and outcome.amount < command.amount:
                short = self._short_of(command)
                self.short_of_room |= short
                for account_id in short & self._stuck.keys():
                    return self._stuck[account_id]
            self._move(outcome)
        return outcome

    def _short_of(self, command: PostTransfer) -> set[UUID]:
        """Return the accounts that lack room for all of a balancing amount, and have some that holds reserve."""
        room = rooms(self.accounts[command.debit_account_id], self.accounts[command.credit_account_id])
        lacking = (self.accounts[account_id] for account_id, amount in room.items() if amount < command.amount)
        return {account.id for account in lacking if account.available_balance < account.balance}

    def _open_hold(self, command: OpenHold, new_id: UUID, group_id: UUID | None) -> Hold | Rejection:
        outcome = decide_hold(
            command, self.accounts, self._policy, new_id=new_id, group_id=group_id, now=self.clock, at=self.at
        )
        if isinstance(outcome, Hold):
            self._count(outcome.debit_account_id, outcome.credit_account_id, held=outcome.amount)
            self.new_holds.append(outcome)
        return outcome

    def _capture(self, command: CaptureHold, new_id: UUID, group_id: UUID | None) -> Transfer | Rejection:
        hold = self.holds.get(command.hold_id)
        decided = decide_capture(
            command, hold, self.accounts, self._policy, new_id=new_id, group_id=group_id, now=self.clock, at=self.at
        )
        if isinstance(decided, Rejection):
            return decided
        assert hold is not None, "what was captured was found"
        transfer, after = decided
        self._move(transfer, held=after.reserved - hold.reserved)
        self._change_hold(after)
        return transfer

    def _void(self, command: VoidHold) -> Hold | Rejection:
        hold = self.holds.get(command.hold_id)
        outcome = decide_void(command.hold_id, hold, self.accounts, now=self.clock, at=self.at)
        if isinstance(outcome, Hold):
            self._release(outcome)
        return outcome

    def _expire(self, command: ExpireHold) -> Hold:
        """Free what the hold reserves, if it is open and past its time; else it stays as it is."""
        hold = self.holds[command.hold_id]
        if hold.status == HoldStatus.OPEN and hold.expires_at <= self.clock:
            hold = close_hold(hold, HoldStatus.EXPIRED, self.accounts, self.at)
            self._release(hold)
        return hold

    def _reverse(self, command: ReverseTransfer, new_id: UUID, group_id: UUID | None) -> Transfer | Rejection:
        before = self.reversed_amounts.get(command.transfer_id, 0)
        outcome = decide_reversal(
            command,
            self.transfers.get(command.transfer_id),
            before,
            self.accounts,
            self._policy,
            new_id=new_id,
            group_id=group_id,
            now=self.clock,
            at=self.at,
        )
        if isinstance(outcome, Transfer):
            self._move(outcome)
            self._first(self.touched_transfers, command.transfer_id, before)
            self._set(self.reversed_amounts, command.transfer_id, before + outcome.amount)
        return outcome

    def _replay(self, command: Command) -> Answer | None:
        """Answer from the earlier decision under the command's key, if there is one.

        A key that stands for another request, or was fenced, is refused without being stored: the key is taken.
        """
        earlier = self.decisions.get((command.client_id, command.idempotency_key))
        if earlier is None:
            return None
        if isinstance(command, FenceKey):
            return Answer(FENCED, replayed=True)  # whatever the key stands for: it is used up
        if isinstance(earlier.outcome, Fenced):
            return Answer(rejections.key_fenced(command.idempotency_key, _standing(earlier)))
        if earlier.fingerprint != command.fingerprint:
            return Answer(rejections.idempotency_key_reused(command.idempotency_key, _standing(earlier)))
        assert not isinstance(earlier.outcome, AccountChanged), "the fingerprint covers the operation"
        return Answer(earlier.outcome, replayed=True)

    def _remember(self, command: Command, outcome: Outcome) -> None:
        terms = debit = credit = None
        created_at = self.at
        if isinstance(outcome, Rejection):
            created_at = self.clock  # it changes no account, so it needs no place among their changes
            short = rejections.short_of_room(outcome)
            if short is not None:
                self.short_of_room.add(short)
            terms = command.terms()
            debit, credit = self._accounts_of(command)
        decision = Decision(
            ledger_id=command.ledger_id,
            client_id=command.client_id,
            idempotency_key=command.idempotency_key,
            fingerprint=command.fingerprint,
            operation=command.operation,
            outcome=outcome,
            terms=terms,
            debit_account_id=debit,
            credit_account_id=credit,
            created_at=created_at,
        )
        self._set(self.decisions, (command.client_id, command.idempotency_key), decision)
        self.new_decisions.append(decision)

    def _accounts_of(self, command: Command | ExpireHold) -> tuple[UUID | None, UUID | None]:
        match command:
            case PostTransfer() | OpenHold():
                return command.debit_account_id, command.credit_account_id
            case CaptureHold() | VoidHold() | ExpireHold():
                hold = self.holds.get(command.hold_id)
                return (None, None) if hold is None else (hold.debit_account_id, hold.credit_account_id)
            case ReverseTransfer():
                transfer = self.transfers.get(command.transfer_id)
                return (None, None) if transfer is None else (transfer.credit_account_id, transfer.debit_account_id)
        return None, None

    def _move(self, transfer: Transfer, *, held: int = 0) -> None:
        self._count(transfer.debit_account_id, transfer.credit_account_id, posted=transfer.amount, held=held)
        self.new_transfers.append(transfer)

    def _release(self, closed: Hold) -> None:
        reserved = self.holds[closed.id].reserved
        self._count(closed.debit_account_id, closed.credit_account_id, held=-reserved)
        self._change_hold(closed)

    def _change_hold(self, after: Hold) -> None:
        self._first(self.touched_holds, after.id, self.holds[after.id].captured_amount)
        self._set(self.holds, after.id, after)

    def _count(self, debit_account_id: UUID, credit_account_id: UUID, *, posted: int = 0, held: int = 0) -> None:
        """Add to the counters of both accounts: one change, one version."""
        debit, credit = self.accounts[debit_account_id], self.accounts[credit_account_id]
        if self._undo is not None:
            self._undo.append((self.accounts, debit.id, structs.replace(debit)))
            self._undo.append((self.accounts, credit.id, structs.replace(credit)))
        self._first(self.touched_accounts, debit.id, debit.version)
        self._first(self.touched_accounts, credit.id, credit.version)
        debit.debits_posted += posted
        debit.debits_held += held
        debit.version += 1
        credit.credits_posted += posted
        credit.credits_held += held
        credit.version += 1
        debit.updated_at = credit.updated_at = self.at
        if self._next_places and self.at > self.clock:
            self._set(self._next_places, debit.id, self.at)
            self._set(self._next_places, credit.id, self.at)

    def _set(self, mapping: MutableMapping[K, V], key: K, value: V) -> None:
        """Set what a refused unit takes back."""
        if self._undo is not None:
            self._undo.append((mapping, key, mapping.get(key)))
        mapping[key] = value

    def _first(self, mapping: MutableMapping[K, V], key: K, value: V) -> None:
        """Set what is not set yet; a refused unit takes it back."""
        if key not in mapping:
            self._set(mapping, key, value)


def _standing(decision: Decision) -> dict[str, str]:
    """Return what a caller is told of ``decision`` who asks for something else under its key."""
    said = partial(rejections.earlier_request, operation=decision.operation, decided_at=decision.created_at)
    match decision.outcome:
        case Transfer() as transfer:
            return said(outcome="applied", transfer_id=transfer.id)
        case Hold() as hold:
            return said(outcome="applied", hold_id=hold.id)
        case AccountChanged(account_id=account_id):
            return said(outcome="applied", account_id=account_id)
        case Rejection() as rejection:
            return said(outcome="rejected", code=rejection.code)
        case Fenced():
            return said(outcome="fenced")
