"""Trial balances: every account's balance on the side that it is on, and what both sides come to in each currency."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from service.domain.accounts import AccountDetails, NormalSide
from service.domain.codes import SEPARATOR


class TrialBalanceLine(Struct, frozen=True):
    """An account and its balance, in minor units: on the debit side, or on the credit side, or zero."""

    account: AccountDetails
    debit_balance: int
    credit_balance: int

    @classmethod
    def of(cls, account: AccountDetails, balance: int) -> "TrialBalanceLine":
        """Return the line of ``account`` whose ``balance`` is on its normal side."""
        debit = balance if account.normal_side == NormalSide.DEBIT else -balance
        return cls(account, max(debit, 0), max(-debit, 0))


class Totals(Struct, frozen=True, kw_only=True):
    """What the lines of accounts come to in one currency, in minor units."""

    currency: str
    account_count: int = 0
    debit_balances: int = 0
    credit_balances: int = 0

    def plus(self, line: TrialBalanceLine) -> "Totals":
        """Return the totals with ``line``."""
        return Totals(
            currency=self.currency,
            account_count=self.account_count + 1,
            debit_balances=self.debit_balances + line.debit_balance,
            credit_balances=self.credit_balances + line.credit_balance,
        )


class TrialBalancePlace(Struct, frozen=True, kw_only=True):
    """Where a trial balance goes on: in a currency, behind the account called ``id`` (None: at its first), which has
    ``code`` where the lines are those of a code; and what the lines before come to in this currency.
    """

    so_far: Totals
    code: str | None = None
    id: UUID | None = None


class TrialBalanceOf(Struct, frozen=True, kw_only=True):
    """Which accounts, at which time: of one ``currency`` and of one ``code``, or of all; by value date ``as_of``, as
    was known at ``known_at``, which does not lie behind the ledger's last place.
    """

    as_of: datetime
    known_at: datetime
    currency: str | None = None
    code: str | None = None


def roll_up(sums: dict[tuple[str, str], Totals], group: str, line: TrialBalanceLine) -> None:
    """Add ``line``, of an account that the code ``group`` stands for, to ``sums``: those of the group, and those of the
    code one segment behind it, each in the currency.
    """
    code = line.account.code
    assert code is not None, "an account of a group has a code"
    depth = group.count(SEPARATOR) + 2
    child = SEPARATOR.join(code.split(SEPARATOR)[:depth])
    for one in dict.fromkeys((group, child)):
        key = (one, line.account.currency)
        sums[key] = sums.get(key, Totals(currency=line.account.currency)).plus(line)
