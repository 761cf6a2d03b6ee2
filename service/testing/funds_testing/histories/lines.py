"""The lines of an account: each change of its counters by version, with the counters after it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from funds_testing.histories.standing import Account, Hold, Standing, Transfer

Fact = Transfer | Hold


@dataclass(frozen=True, slots=True)
class Change:
    """What one version changed, on the sides of its account; ``balance_after`` where the fact says it."""

    version: int
    fact: Fact
    debit: int = 0
    credit: int = 0
    debit_held: int = 0
    credit_held: int = 0
    balance_after: int | None = None
    ends: bool = False
    """Whether it is the end of a hold without a capture."""


@dataclass(frozen=True, slots=True)
class Line:
    """The counters behind a change."""

    change: Change
    debits_posted: int
    credits_posted: int
    debits_held: int
    credits_held: int
    balance: int
    available: int

    @property
    def counters(self) -> tuple[int, int, int, int]:
        """Debited, credited, and what of each is held."""
        return self.debits_posted, self.credits_posted, self.debits_held, self.credits_held


@dataclass(frozen=True)
class Lines:
    """The lines of one account, in the order of their versions."""

    account: Account
    lines: Sequence[Line] = field(default_factory=list)

    @property
    def changes(self) -> list[Change]:
        """What each version changed."""
        return [line.change for line in self.lines]


def lines_of(standing: Standing) -> dict[str, Lines]:
    """Return the lines of every account by its identifier."""
    changes: defaultdict[str, list[Change]] = defaultdict(list)
    holds = {hold.id: hold for hold in standing.holds}
    for account_id, change in _changes(standing, holds):
        changes[account_id].append(change)
    return {
        account.id: Lines(account, _added_up(account, sorted(changes[account.id], key=lambda one: one.version)))
        for account in standing.accounts
    }


def _changes(standing: Standing, holds: Mapping[str, Hold]) -> Iterator[tuple[str, Change]]:
    for transfer in standing.transfers:
        freed = _freed(transfer, holds.get(transfer.hold_id or ""))
        yield (
            transfer.debit_account_id,
            Change(
                transfer.debit_account_version, transfer, debit=transfer.amount, debit_held=-freed,
                balance_after=transfer.debit_balance_after,
            ),
        )  # fmt: skip
        yield (
            transfer.credit_account_id,
            Change(
                transfer.credit_account_version, transfer, credit=transfer.amount, credit_held=-freed,
                balance_after=transfer.credit_balance_after,
            ),
        )  # fmt: skip
    for hold in standing.holds:
        yield hold.debit_account_id, Change(hold.debit_account_version, hold, debit_held=hold.amount)
        yield hold.credit_account_id, Change(hold.credit_account_version, hold, credit_held=hold.amount)
        if hold.status in {"voided", "expired"}:
            rest = hold.captured_amount - hold.amount
            versions = hold.closed_debit_account_version or 0, hold.closed_credit_account_version or 0
            yield hold.debit_account_id, Change(versions[0], hold, debit_held=rest, ends=True)
            yield hold.credit_account_id, Change(versions[1], hold, credit_held=rest, ends=True)


def _freed(transfer: Transfer, hold: Hold | None) -> int:
    """How much less is held after a transfer: a capture takes its amount, the last one all that is left."""
    if hold is None:
        return 0
    last = hold.status == "captured" and hold.closed_debit_account_version == transfer.debit_account_version
    return transfer.amount + (hold.amount - hold.captured_amount if last else 0)


def _added_up(account: Account, changes: Sequence[Change]) -> list[Line]:
    lines = []
    debited = credited = debits_held = credits_held = 0
    for change in changes:
        debited, credited = debited + change.debit, credited + change.credit
        debits_held, credits_held = debits_held + change.debit_held, credits_held + change.credit_held
        balance, held = (
            (credited - debited, debits_held) if account.normal_side == "credit" else (debited - credited, credits_held)
        )
        lines.append(Line(change, debited, credited, debits_held, credits_held, balance, balance - held))
    return lines
