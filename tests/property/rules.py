"""The rules of the ledger a second time, as simply as they can be said, from what the service promises and not from
how it keeps it.
"""

from typing import Any, NoReturn

from tests.property.asks import Capture, Open, Post, Reverse, Void
from tests.property.facts import Answer, Facts

LARGEST = 2**63 - 1
EFFECTIVE_DAYS = {None: 0, "yesterday": -1, "next week": 7}
"""The value dates that are never out of range for being too far away, in days from now."""
EXPIRES = {"usual", "in an hour"}


class RefusalError(Exception):
    """What is asked for is refused; ``answer`` says why."""

    def __init__(self, said: str, **why: Any) -> None:
        super().__init__(said)
        self.answer: Answer = {"said": said, **why}


def refuse(said: str, **why: Any) -> NoReturn:
    raise RefusalError(said, **why)


class Rules:
    """Decides what is asked of ``facts``, and lets it happen. ``group`` numbers what applies together. Names of
    accounts that lack room, while holds reserve some of it, go to ``short``.
    """

    def __init__(self, facts: Facts, group: int | None, short: set[str]) -> None:
        self.facts = facts
        self.group = group
        self.short = short

    # In the order in which they are promised.

    def post(self, ask: Post) -> Answer:
        self._two_accounts(ask)
        self._accounts_exist(ask.debit, ask.credit)
        self._accounts_are_open(ask.debit, ask.credit)
        self._accounts_hold(ask.currency, ask.debit, ask.credit)
        new = any(self.facts.accounts[name]["opened"] == "today" for name in (ask.debit, ask.credit))
        day = self._day(ask.effective, since=0 if new else -1)
        amount = ask.amount
        if ask.at_most:
            for name in self._falling(ask.debit, ask.credit):
                if self.facts.accounts[name]["minimum_balance"] is not None:
                    amount = min(amount, self.facts.available(name) - self.facts.accounts[name]["minimum_balance"])
            amount = max(amount, 1)
        self._counters_have_room(ask.debit, ask.credit, amount)
        self._minimum_is_kept(ask.debit, ask.credit, amount)
        self._maximum_is_kept(ask.debit, ask.credit, amount)
        if amount < ask.amount:
            sides = (ask.debit, ask.credit)
            self.short |= {name for name in sides if self.facts.debits_held(name) or self.facts.credits_held(name)}
        return self._move(ask.debit, ask.credit, amount, day)

    def open(self, ask: Open) -> Answer:
        self._two_accounts(ask)
        self._accounts_exist(ask.debit, ask.credit)
        self._accounts_are_open(ask.debit, ask.credit)
        self._accounts_hold(ask.currency, ask.debit, ask.credit)
        if ask.expires not in EXPIRES:
            refuse("time_out_of_range", field="expires_at")
        self._counters_have_room(ask.debit, ask.credit, ask.amount)
        self._minimum_is_kept(ask.debit, ask.credit, ask.amount)
        self.facts.changes.append((ask.debit, ask.credit))
        self.facts.holds.append(
            {
                "debit": ask.debit,
                "credit": ask.credit,
                "amount": ask.amount,
                "currency": ask.currency,
                "status": "open",
                "debit_version": self.facts.version(ask.debit),
                "credit_version": self.facts.version(ask.credit),
                "closed_debit_version": None,
                "closed_credit_version": None,
                "group": self.group,
            }
        )
        return self.facts.hold(len(self.facts.holds) - 1)

    def capture(self, ask: Capture) -> Answer:
        hold = self._open_hold(ask.hold)
        left = self.facts.reserved(ask.hold)
        amount = left if ask.amount is None else ask.amount
        if amount > left:
            refuse(
                "capture_exceeds_hold",
                hold=ask.hold,
                captured_amount=self.facts.captured(ask.hold),
                excess=amount - left,
            )
        self._accounts_are_open(hold["debit"], hold["credit"])
        day = self._day(ask.effective, since=0)
        self._maximum_is_kept(hold["debit"], hold["credit"], amount)
        answer = self._move(hold["debit"], hold["credit"], amount, day, hold=ask.hold)
        if ask.final or amount == left:
            self.facts.close(hold, "captured")
        return answer

    def void(self, ask: Void) -> Answer:
        hold = self._open_hold(ask.hold)
        self.facts.changes.append((hold["debit"], hold["credit"]))
        self.facts.close(hold, "voided")
        return self.facts.hold(ask.hold)

    def reverse(self, ask: Reverse) -> Answer:
        if not 0 <= ask.transfer < len(self.facts.transfers):
            refuse("transfer_not_found")
        transfer = self.facts.transfers[ask.transfer]
        if transfer["reverses"] is not None:
            refuse("reversal_not_reversible", transfer=ask.transfer, reverses=transfer["reverses"])
        left = transfer["amount"] - self.facts.reversed(ask.transfer)
        if left == 0:
            refuse("already_reversed", transfer=ask.transfer)
        amount = left if ask.amount is None else ask.amount
        if amount > left:
            refuse("reversal_exceeds_transfer", transfer=ask.transfer, excess=amount - left)
        debit, credit = transfer["credit"], transfer["debit"]
        self._accounts_are_open(debit, credit)
        day = self._day(ask.effective, since=transfer["day"])
        self._counters_have_room(debit, credit, amount)
        self._minimum_is_kept(debit, credit, amount)
        self._maximum_is_kept(debit, credit, amount)
        return self._move(debit, credit, amount, day, reverses=ask.transfer)

    # One rule each.

    def _two_accounts(self, ask: Post | Open) -> None:
        if ask.debit == ask.credit:
            refuse("same_account", account=ask.debit)

    def _day(self, effective: str | None, *, since: int) -> int:
        """Return the day of a value date, which has a first one: what it refers to was not there before."""
        day = EFFECTIVE_DAYS.get(effective)
        if day is None or (effective is not None and day < since):
            refuse("time_out_of_range", field="effective_at")
        return max(day, since)

    def _accounts_exist(self, *names: str) -> None:
        for name in names:
            if name not in self.facts.accounts:
                refuse("account_not_found", account=name)

    def _accounts_are_open(self, *names: str) -> None:
        for status in ("closed", "frozen"):
            for name in names:
                if self.facts.accounts[name]["status"] == status:
                    refuse(f"account_{status}", account=name)

    def _accounts_hold(self, currency: str, *names: str) -> None:
        for name in names:
            if self.facts.accounts[name]["currency"] != currency:
                refuse("currency_mismatch", account=name, currency=currency)

    def _counters_have_room(self, debit: str, credit: str, amount: int) -> None:
        if self.facts.debits(debit) + self.facts.debits_held(debit) + amount > LARGEST:
            self.short |= {debit} if self.facts.debits_held(debit) else set()
            refuse("balance_overflow", account=debit, side="debit")
        if self.facts.credits(credit) + self.facts.credits_held(credit) + amount > LARGEST:
            self.short |= {credit} if self.facts.credits_held(credit) else set()
            refuse("balance_overflow", account=credit, side="credit")

    def _falling(self, debit: str, credit: str) -> list[str]:
        """Return those of the two whose balance falls."""
        sides = ((debit, "credit"), (credit, "debit"))
        return [name for name, normal_side in sides if self.facts.accounts[name]["normal_side"] == normal_side]

    def _minimum_is_kept(self, debit: str, credit: str, amount: int) -> None:
        for name in self._falling(debit, credit):
            minimum, available = self.facts.accounts[name]["minimum_balance"], self.facts.available(name)
            if minimum is not None and available - amount < minimum:
                self.short |= {name} if self.facts.holds_count_for(name, "insufficient_funds") else set()
                numbers = {"available_balance": available, "minimum_balance": minimum, "amount": amount}
                refuse("insufficient_funds", account=name, **numbers, shortfall=minimum - available + amount)

    def _maximum_is_kept(self, debit: str, credit: str, amount: int) -> None:
        for name in (debit, credit):
            maximum, balance = self.facts.accounts[name]["maximum_balance"], self.facts.balance(name)
            if name not in self._falling(debit, credit) and maximum is not None and balance + amount > maximum:
                numbers = {"balance": balance, "maximum_balance": maximum, "amount": amount}
                refuse("balance_limit_exceeded", account=name, **numbers, excess=balance + amount - maximum)

    def _open_hold(self, number: int) -> dict[str, Any]:
        if not 0 <= number < len(self.facts.holds):
            refuse("hold_not_found")
        hold = self.facts.holds[number]
        if hold["status"] == "expired" or (hold["status"] == "open" and number in self.facts.overdue):
            refuse("hold_expired", hold=number)
        if hold["status"] != "open":
            refuse(
                "hold_not_open", hold=number, hold_status=hold["status"], captured_amount=self.facts.captured(number)
            )
        return hold

    # What happens.

    def _move(
        self,
        debit: str,
        credit: str,
        amount: int,
        day: int,
        *,
        hold: int | None = None,
        reverses: int | None = None,
    ) -> Answer:
        transfer = {
            "debit": debit,
            "credit": credit,
            "amount": amount,
            "currency": self.facts.accounts[debit]["currency"],
            "day": day,
            "hold": hold,
            "reverses": reverses,
            "group": self.group,
        }
        self.facts.changes.append((debit, credit))
        self.facts.transfers.append(transfer)
        transfer |= {"debit_version": self.facts.version(debit), "credit_version": self.facts.version(credit)}
        transfer |= {"debit_balance": self.facts.balance(debit), "credit_balance": self.facts.balance(credit)}
        return self.facts.transfer(len(self.facts.transfers) - 1)
