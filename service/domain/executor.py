"""Executing commands on the state of a batch, in order: replay what was decided before, decide the rest."""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from service.domain import rejections
from service.domain.batch_state import BatchState
from service.domain.checks import check_clock, check_end, rooms
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
from service.domain.decisions import FENCED, Answer, CommandAnswer, CommandResult, Decision, Fenced
from service.domain.history import EntryData, EntryType, HistoryEntry, KeyFenced, RequestRejected, hold_closed
from service.domain.holds import Hold, HoldStatus
from service.domain.idempotency import replay
from service.domain.identifiers import Identifiers
from service.domain.rejections import ClockBehind, DebitNotAllowed, Rejection
from service.domain.rights import DebitLimit
from service.domain.transfers import Transfer

Group = Sequence[AnyCommand]
"""Commands that apply together or not at all; a single command is a group of one."""


class Executor:
    """Executes groups of commands on ``state``, each seeing the effects of those before it. ``new_ids`` names what they
    make.

    Where the ledger's last change lies too far ahead of the clock (``clock_behind``), only what was decided before is
    answered: everything else is rejected for now, which is not remembered, and no hold expires.

    ``short_of_room`` are accounts for whose lack of room something was rejected, or moved less, while holds reserve
    some of it. When one of these holds has expired, the batch must be decided again, with its expiry in front.
    """

    def __init__(self, state: BatchState, new_ids: Identifiers) -> None:
        self.state = state
        self.new_ids = new_ids
        self.clock_behind = check_clock(state.moment)
        self.short_of_room: set[UUID] = set()

    def execute(self, group: Group) -> list[CommandAnswer]:
        """Answer the commands of ``group``."""
        if len(group) == 1:
            return [self.execute_one(group[0], None)]
        answers = self.begin(group).advance(2 * len(group))
        assert answers is not None, "a command of a group is executed once, and rejected once at most"
        return answers

    def begin(self, group: Group) -> "GroupExecution":
        """Return the execution of a group of several, to be advanced to its end before another group is executed."""
        return GroupExecution(self, group)

    def execute_one(self, command: AnyCommand, group_id: UUID | None) -> CommandAnswer:
        """Replay the decision on ``command``, or decide and apply it."""
        if isinstance(command, ExpireHold):
            return Answer(self._expire(command))
        replay = self.replay(command)
        if replay is not None:
            return replay
        behind = self._clock_behind(command)
        if behind is not None:
            return Answer(behind)
        if command.debit_limit is not None:
            not_allowed = self._not_allowed(command, command.debit_limit)
            if not_allowed is not None:
                return Answer(not_allowed)
        result = self.decide(command, group_id)
        self.remember(command, result)
        return Answer(result)

    def replay(self, command: Command) -> CommandAnswer | None:
        """Answer from the earlier decision under the command's key, if there is one."""
        earlier = self.state.decisions.get((command.client_id, command.idempotency_key))
        # The fingerprint covers the operation: what is replayed is the result of a command.
        return cast("CommandAnswer | None", replay(earlier, command.operation, command.fingerprint))

    def remember(self, command: Command, result: CommandResult) -> None:
        """Add the decision on ``command``."""
        terms = debit = credit = None
        if isinstance(result, Rejection):
            short = result.short_of_room()
            if short is not None:
                self.short_of_room.add(short)
            terms = command.terms()
            debit, credit = self.accounts_of(command)
        self.state.remember(
            Decision(
                ledger_id=command.ledger_id,
                client_id=command.client_id,
                idempotency_key=command.idempotency_key,
                fingerprint=command.fingerprint,
                operation=command.operation,
                result=result,
                terms=terms,
                debit_account_id=debit,
                credit_account_id=credit,
                created_at=self.state.moment.place,
            )
        )
        if isinstance(result, Rejection):
            self._record(command, "command.rejected", RequestRejected(command.operation, result, terms))
        elif isinstance(result, Fenced):
            self._record(command, "key.fenced", KeyFenced())

    def _record(self, command: Command, entry_type: EntryType, data: EntryData) -> None:
        """Add what became of ``command`` to the history, where no transfer or hold tells it."""
        at = self.state.moment.place
        self.state.record(HistoryEntry.by(command, next(self.new_ids), entry_type, data, at=at))

    def decide(self, command: Command, group_id: UUID | None) -> CommandResult:
        """Decide on ``command`` by the rules of its operation, and apply it."""
        match command:
            case PostTransfer():
                return self._post(command, group_id)
            case OpenHold():
                return self._open_hold(command, group_id)
            case CaptureHold():
                return self._capture(command, group_id)
            case VoidHold():
                return self._void(command)
            case ReverseTransfer():
                return self._reverse(command, group_id)
            case FenceKey():
                return FENCED
        raise TypeError(f"there are no rules for {type(command).__name__}")

    def _post(self, command: PostTransfer, group_id: UUID | None) -> Transfer | Rejection:
        state = self.state
        result = decide_transfer(
            command,
            state.accounts,
            state.moment,
            new_id=next(self.new_ids),
            group_id=group_id,
        )
        if isinstance(result, Transfer):
            if command.at_most and result.amount < command.amount:
                self.short_of_room |= self._short_of(command)
            state.post(result)
        return result

    def _short_of(self, command: PostTransfer) -> set[UUID]:
        """Return the accounts that lack room for all of a balancing amount, and have some that holds reserve."""
        accounts = self.state.accounts
        room = rooms(accounts[command.debit_account_id], accounts[command.credit_account_id])
        lacking = (accounts[account_id] for account_id, amount in room.items() if amount < command.amount)
        return {account.id for account in lacking if account.available_balance < account.balance}

    def _open_hold(self, command: OpenHold, group_id: UUID | None) -> Hold | Rejection:
        state = self.state
        result = decide_hold(
            command,
            state.accounts,
            state.moment,
            new_id=next(self.new_ids),
            group_id=group_id,
        )
        if isinstance(result, Hold):
            state.open(result)
        return result

    def _capture(self, command: CaptureHold, group_id: UUID | None) -> Transfer | Rejection:
        state = self.state
        decided = decide_capture(
            command,
            state.holds.get(command.hold_id),
            state.accounts,
            state.moment,
            new_id=next(self.new_ids),
            group_id=group_id,
        )
        if isinstance(decided, Rejection):
            return decided
        transfer, after = decided
        state.post_capture(transfer, after)
        if after.status != HoldStatus.OPEN:
            state.record(hold_closed(command, next(self.new_ids), after))
        return transfer

    def _void(self, command: VoidHold) -> Hold | Rejection:
        state = self.state
        hold = state.holds.get(command.hold_id)
        result = decide_void(command.hold_id, hold, state.accounts, state.moment)
        if isinstance(result, Hold):
            state.release(result)
            state.record(hold_closed(command, next(self.new_ids), result))
        return result

    def _expire(self, command: ExpireHold) -> Hold:
        """Free what the hold reserves, if it is open and past its time; else it stays as it is."""
        state = self.state
        hold = state.holds[command.hold_id]
        past = hold.status == HoldStatus.OPEN and hold.expires_at <= state.moment.clock
        if past and self.clock_behind is None:
            hold = close_hold(hold, HoldStatus.EXPIRED, state.accounts, state.moment)
            state.release(hold)
            state.record(hold_closed(None, next(self.new_ids), hold))
        return hold

    def _reverse(self, command: ReverseTransfer, group_id: UUID | None) -> Transfer | Rejection:
        state = self.state
        result = decide_reversal(
            command,
            state.transfers.get(command.transfer_id),
            state.reversed_amounts.get(command.transfer_id, 0),
            state.accounts,
            state.moment,
            new_id=next(self.new_ids),
            group_id=group_id,
        )
        if isinstance(result, Transfer):
            state.post_reversal(result, command.transfer_id)
        return result

    def _clock_behind(self, command: Command) -> ClockBehind | None:
        """Return why ``command`` has no place in the order now."""
        moment = self.state.moment
        if self.clock_behind is not None or moment.place == moment.clock:
            return self.clock_behind
        match command:
            case OpenHold():
                return check_end(expiry(command, moment), moment)
            case CaptureHold() | VoidHold():
                hold = self.state.holds.get(command.hold_id)
                return None if hold is None else check_end(hold.expires_at, moment)
        return None

    def _not_allowed(self, command: Command, limit: DebitLimit) -> DebitNotAllowed | None:
        """Return why the caller's token may not have ``command``: it debits another account, or frees what a hold
        reserves of one. A hold or a transfer that is not there is for the operation's own rules.
        """
        account_id, _ = self.accounts_of(command)
        if account_id is None or limit.allows(account_id, self.state.codes.get(account_id)):
            return None
        return DebitNotAllowed(account_id)

    def accounts_of(self, command: Command) -> tuple[UUID | None, UUID | None]:
        """Return the accounts that ``command`` would debit and credit, as far as what it names is there."""
        match command:
            case PostTransfer() | OpenHold():
                return command.debit_account_id, command.credit_account_id
            case CaptureHold() | VoidHold():
                hold = self.state.holds.get(command.hold_id)
                return (None, None) if hold is None else (hold.debit_account_id, hold.credit_account_id)
            case ReverseTransfer():
                transfer = self.state.transfers.get(command.transfer_id)
                return (None, None) if transfer is None else (transfer.credit_account_id, transfer.debit_account_id)
        return None, None


class GroupExecution:
    """The execution of a group of several commands, some at a time: a group may have ten thousand.

    When one command is rejected, now or before, nothing of the group is applied: the rejected one keeps its own
    rejection, and every other one is remembered as rejected with it (batch_rejected). What rejects one command for now
    (clock_behind) rejects the whole group for now. Where the token does not allow one, nothing of the group is
    remembered.
    """

    def __init__(self, executor: Executor, group: Group) -> None:
        self._executor = executor
        self._group = group
        self._group_id = next(executor.new_ids)
        self._answers: list[CommandAnswer] = []
        self._cause: tuple[Command, Rejection] | None = None
        executor.state.begin_group()

    def advance(self, commands_max: int) -> list[CommandAnswer] | None:
        """Execute up to ``commands_max`` commands; return the answers once the group is decided to its end, None before
        that.
        """
        for _ in range(commands_max):
            command = self._group[len(self._answers)]
            if self._cause is None:
                self._execute(command)
            else:
                self._answers.append(self._reject(command, *self._cause))
            if len(self._answers) == len(self._group):
                if self._cause is None:
                    self._executor.state.end_group()
                return self._answers
        return None

    def _execute(self, command: AnyCommand) -> None:
        """Execute ``command``; when it is rejected, take the group back, and begin again to reject every command."""
        answer = self._executor.execute_one(command, self._group_id)
        self._answers.append(answer)
        if isinstance(answer.result, Rejection):
            self._executor.state.take_back_group()
            self._answers = []
            assert isinstance(command, Command), "only callers' commands come in groups of several"
            self._cause = command, answer.result

    def _reject(self, command: AnyCommand, cause: Command, rejection: Rejection) -> CommandAnswer:
        assert isinstance(command, Command), "only callers' commands come in groups of several"
        replay = self._executor.replay(command)
        if replay is not None:
            return replay
        if isinstance(rejection, ClockBehind):
            return Answer(rejection)
        own = rejection if command is cause else rejections.BatchRejected(cause.idempotency_key, rejection.code)
        if not isinstance(rejection, DebitNotAllowed):
            self._executor.remember(command, own)
        return Answer(own)
