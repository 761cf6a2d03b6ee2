"""What happened in a ledger, as lists, and every number counted from them whenever it is needed."""

from dataclasses import dataclass, field
from typing import Any

Answer = dict[str, Any]
"""``said`` is ``transfer``, ``hold``, ``fenced`` or the code of a rejection; the rest are the numbers that a caller
must be told."""


@dataclass
class Facts:
    """Accounts by name, and all that happened. Transfers and holds are known by their place in their list."""

    accounts: dict[str, dict[str, Any]]
    transfers: list[dict[str, Any]] = field(default_factory=list)
    holds: list[dict[str, Any]] = field(default_factory=list)
    changes: list[tuple[str, str]] = field(default_factory=list)
    keys: dict[tuple[str, str], tuple[Any, Answer]] = field(default_factory=dict)
    overdue: list[int] = field(default_factory=list)

    def copy(self) -> "Facts":
        return Facts(
            {name: {**account} for name, account in self.accounts.items()},
            [{**transfer} for transfer in self.transfers],
            [{**hold} for hold in self.holds],
            [*self.changes],
            {**self.keys},
            [*self.overdue],
        )

    def debits(self, name: str) -> int:
        return sum(transfer["amount"] for transfer in self.transfers if transfer["debit"] == name)

    def credits(self, name: str) -> int:
        return sum(transfer["amount"] for transfer in self.transfers if transfer["credit"] == name)

    def debits_held(self, name: str) -> int:
        return sum(self.reserved(number) for number, hold in enumerate(self.holds) if hold["debit"] == name)

    def credits_held(self, name: str) -> int:
        return sum(self.reserved(number) for number, hold in enumerate(self.holds) if hold["credit"] == name)

    def captured(self, hold: int) -> int:
        return sum(transfer["amount"] for transfer in self.transfers if transfer["hold"] == hold)

    def reserved(self, hold: int) -> int:
        return self.holds[hold]["amount"] - self.captured(hold) if self.holds[hold]["status"] == "open" else 0

    def open_holds(self) -> list[int]:
        return [number for number, hold in enumerate(self.holds) if hold["status"] == "open"]

    def reversed(self, transfer: int) -> int:
        return sum(reversal["amount"] for reversal in self.transfers if reversal["reverses"] == transfer)

    def version(self, name: str) -> int:
        return sum(name in change for change in self.changes)

    def balance(self, name: str) -> int:
        rise = self.credits(name) - self.debits(name)
        return rise if self.accounts[name]["normal_side"] == "credit" else -rise

    def available(self, name: str) -> int:
        if self.accounts[name]["normal_side"] == "credit":
            return self.balance(name) - self.debits_held(name)
        return self.balance(name) - self.credits_held(name)

    def holds_count_for(self, name: str, rejection: str) -> bool:
        """Return whether something is held that counts for a rejection of this kind."""
        if rejection == "insufficient_funds":
            return self.available(name) != self.balance(name)
        return self.debits_held(name) + self.credits_held(name) > 0

    def close(self, hold: dict[str, Any], status: str) -> None:
        """End a hold with the change that was counted last."""
        hold["status"] = status
        hold["closed_debit_version"] = self.version(hold["debit"])
        hold["closed_credit_version"] = self.version(hold["credit"])

    def groups(self) -> int:
        """Return how many groups of transfers and holds applied."""
        return len({fact["group"] for fact in self.transfers + self.holds} - {None})

    def transfer(self, number: int) -> Answer:
        """Return what is said of a transfer."""
        return {"said": "transfer", "number": number, **self.transfers[number]}

    def hold(self, number: int) -> Answer:
        """Return what is said of a hold."""
        return {"said": "hold", "number": number, "captured": self.captured(number), **self.holds[number]}

    def state(self) -> dict[str, Any]:
        """Return what must be stored by now."""
        counted = (self.debits, self.credits, self.debits_held, self.credits_held, self.version)
        reversals = {number: self.reversed(number) for number in range(len(self.transfers))}
        return {
            "accounts": {
                name: [account["status"], account["minimum_balance"], account["maximum_balance"]]
                + [count(name) for count in counted]
                for name, account in self.accounts.items()
            },
            "holds": [self.hold(number) for number in range(len(self.holds))],
            "transfers": [self.transfer(number) for number in range(len(self.transfers))],
            "reversed": {number: amount for number, amount in reversals.items() if amount},
            "keys": {key: stored(answer) for key, (_, answer) in self.keys.items()},
        }


def stored(answer: Answer) -> tuple[str, Any]:
    """Return what is stored under a key for ``answer``: the outcome, and what was made or why it was not."""
    if answer["said"] == "fenced":
        return "fenced", None
    if answer["said"] in {"transfer", "hold"}:
        return "applied", answer["number"]
    return "rejected", answer["said"]
