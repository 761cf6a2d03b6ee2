"""The rules of the ledger a second time, as simple as possible: written from what the service promises, and not from
its code.
"""

from typing import Any, NoReturn

from tests.property.facts import Answer, Facts
from tests.property.requests import Capture, Open, Post, Reverse, Void

LARGEST = 2**63 - 1
EFFECTIVE_DAYS = {None: 0, "yesterday": -1, "next week": 7}
"""The value dates that are never out of range for being too far away, in days from now."""
EXPIRES = {"usual", "in an hour"}


class RejectedError(Exception):
    """A request is rejected; ``answer`` says why."""

    def __init__(self, said: str, **why: Any) -> None:
        super().__init__(said)
        self.answer: Answer = {"said": said, **why}


def reject(said: str, **why: Any) -> NoReturn:
    raise RejectedError(said, **why)


class Rules:
    """Decides requests on ``facts`` and applies them. ``group`` is the number of the group. Names of accounts that lack
    room, while holds reserve some of it, are added to ``short``.
    """

    def __init__(self, facts: Facts, group: int | None, short: set[str]) -> None:
        self.facts = facts
        self.group = group
        self.short = short

    # In the order in which they are promised.

    def post(self, request: Post) -> Answer:
        self._two_accounts(request)
        self._accounts_exist(request.debit, request.credit)
        self._accounts_are_open(request.debit, request.credit)
        self._accounts_hold(request.currency, request.debit, request.credit)
        new = any(self.facts.accounts[name]["opened"] == "today" for name in (request.debit, request.credit))
        day = self._day(request.effective, since=0 if new else -1)
        amount = request.amount
        if request.at_most:
            for name in self._falling(request.debit, request.credit):
                if self.facts.accounts[name]["minimum_balance"] is not None:
                    amount = min(amount, self.facts.available(name) - self.facts.accounts[name]["minimum_balance"])
            amount = max(amount, 1)
        self._counters_have_room(request.debit, request.credit, amount)
        self._minimum_is_kept(request.debit, request.credit, amount)
        self._maximum_is_kept(request.debit, request.credit, amount)
        if amount < request.amount:
            sides = (request.debit, request.credit)
            self.short |= {name for name in sides if self.facts.debits_held(name) or self.facts.credits_held(name)}
        return self._move(request.debit, request.credit, amount, day)

    def open(self, request: Open) -> Answer:
        self._two_accounts(request)
        self._accounts_exist(request.debit, request.credit)
        self._accounts_are_open(request.debit, request.credit)
        self._accounts_hold(request.currency, request.debit, request.credit)
        if request.expires not in EXPIRES:
            reject("time_out_of_range", field="expires_at")
        self._counters_have_room(request.debit, request.credit, request.amount)
        self._minimum_is_kept(request.debit, request.credit, request.amount)
        self.facts.changes.append((request.debit, request.credit))
        self.facts.holds.append(
            {
                "debit": request.debit,
                "credit": request.credit,
                "amount": request.amount,
                "currency": request.currency,
                "status": "open",
                "debit_version": self.facts.version(request.debit),
                "credit_version": self.facts.version(request.credit),
                "closed_debit_version": None,
                "closed_credit_version": None,
                "group": self.group,
            }
        )
        return self.facts.hold(len(self.facts.holds) - 1)

    def capture(self, request: Capture) -> Answer:
        hold = self._open_hold(request.hold)
        left = self.facts.reserved(request.hold)
        amount = left if request.amount is None else request.amount
        if amount > left:
            reject(
                "capture_exceeds_hold",
                hold=request.hold,
                captured_amount=self.facts.captured(request.hold),
                excess=amount - left,
            )
        self._accounts_are_open(hold["debit"], hold["credit"])
        day = self._day(request.effective, since=0)
        self._maximum_is_kept(hold["debit"], hold["credit"], amount)
        answer = self._move(hold["debit"], hold["credit"], amount, day, hold=request.hold)
        if request.final or amount == left:
            self.facts.close(hold, "captured")
        return answer

    def void(self, request: Void) -> Answer:
        hold = self._open_hold(request.hold)
        self.facts.changes.append((hold["debit"], hold["credit"]))
        self.facts.close(hold, "voided")
        return self.facts.hold(request.hold)

    def reverse(self, request: Reverse) -> Answer:
        if not 0 <= request.transfer < len(self.facts.transfers):
            reject("transfer_not_found")
        transfer = self.facts.transfers[request.transfer]
        if transfer["reverses"] is not None:
            reject("reversal_not_reversible", transfer=request.transfer, reverses=transfer["reverses"])
        left = transfer["amount"] - self.facts.reversed(request.transfer)
        if left == 0:
            reject("already_reversed", transfer=request.transfer)
        amount = left if request.amount is None else request.amount
        if amount > left:
            reject("reversal_exceeds_transfer", transfer=request.transfer, excess=amount - left)
        debit, credit = transfer["credit"], transfer["debit"]
        self._accounts_are_open(debit, credit)
        day = self._day(request.effective, since=transfer["day"])
        self._counters_have_room(debit, credit, amount)
        self._minimum_is_kept(debit, credit, amount)
        self._maximum_is_kept(debit, credit, amount)
        return self._move(debit, credit, amount, day, reverses=request.transfer)

    # One rule each.

    def _two_accounts(self, request: Post | Open) -> None:
        if request.debit == request.credit:
            reject("same_account", account=request.debit)

    def _day(self, effective: str | None, *, since: int) -> int:
        """Return the day of a value date, which has a first one: what it refers to was not there before."""
        day = EFFECTIVE_DAYS.get(effective)
        if day is None or (effective is not None and day < since):
            reject("time_out_of_range", field="effective_at")
        return max(day, since)

    def _accounts_exist(self, *names: str) -> None:
        for name in names:
            if name not in self.facts.accounts:
                reject("account_not_found", account=name)

    def _accounts_are_open(self, *names: str) -> None:
        for status in ("closed", "frozen"):
            for name in names:
                if self.facts.accounts[name]["status"] == status:
                    reject(f"account_{status}", account=name)

    def _accounts_hold(self, currency: str, *names: str) -> None:
        for name in names:
            if self.facts.accounts[name]["currency"] != currency:
                reject("currency_mismatch", account=name, currency=currency)

    def _counters_have_room(self, debit: str, credit: str, amount: int) -> None:
        if self.facts.debits(debit) + self.facts.debits_held(debit) + amount > LARGEST:
            self.short |= {debit} if self.facts.debits_held(debit) else set()
            reject("balance_overflow", account=debit, side="debit")
        if self.facts.credits(credit) + self.facts.credits_held(credit) + amount > LARGEST:
            self.short |= {credit} if self.facts.credits_held(credit) else set()
            reject("balance_overflow", account=credit, side="credit")

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
                reject("insufficient_funds", account=name, **numbers, shortfall=minimum - available + amount)

    def _maximum_is_kept(self, debit: str, credit: str, amount: int) -> None:
        for name in (debit, credit):
            maximum, balance = self.facts.accounts[name]["maximum_balance"], self.facts.balance(name)
            if name not in self._falling(debit, credit) and maximum is not None and balance + amount > maximum:
                numbers = {"balance": balance, "maximum_balance": maximum, "amount": amount}
                reject("balance_limit_exceeded", account=name, **numbers, excess=balance + amount - maximum)

    def _open_hold(self, number: int) -> dict[str, Any]:
        if not 0 <= number < len(self.facts.holds):
            reject("hold_not_found")
        hold = self.facts.holds[number]
        if hold["status"] == "expired" or (hold["status"] == "open" and number in self.facts.overdue):
            reject("hold_expired", hold=number)
        if hold["status"] != "open":
            reject(
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
