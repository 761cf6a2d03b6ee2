"""A ledger in memory with callers whose requests overlap, are lost, refused and sent again: histories that are right.

Written from what the service promises; nothing of its code, and nothing of the checker's rules, is used.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from funds_testing.histories import Account, Call, Decision, Ending, Hold, Standing, Transfer

LEDGER = "bank"
CUSTOMERS = ("a", "b", "c")
TREASURY = "t"
COUNTERS = ("debits_posted", "credits_posted", "debits_held", "credits_held", "version")


@dataclass
class Try:
    """A request under way: when it was sent, when it takes effect if it does, when it was answered if it was."""

    operation: str
    key: str | None
    terms: dict[str, Any]
    invoked: float
    effect: float
    completed: float
    fate: str = "answered"


@dataclass
class Simulated:
    """Execute tries in the order in which they take effect, and keep what their callers saw."""

    accounts: dict[str, Account] = field(default_factory=dict)
    transfers: dict[str, Transfer] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    answers: dict[str, tuple[Ending, dict[str, Any]]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    made: int = 0
    dice: random.Random = field(default_factory=random.Random)
    terms: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each key stands for, from its first try on: one that names a hold or a transfer names one that is there."""

    def __post_init__(self) -> None:
        for name in (TREASURY, *CUSTOMERS):
            side, minimum = ("debit", None) if name == TREASURY else ("credit", 0)
            self.accounts[name] = Account(name, LEDGER, "USD", side, minimum, None, 0, 0, 0, 0, 0)

    @property
    def standing(self) -> Standing:
        return Standing(
            list(self.accounts.values()),
            list(self.transfers.values()),
            list(self.holds.values()),
            list(self.decisions.values()),
        )

    def run(self, tries: list[Try]) -> None:
        for one in sorted(tries, key=lambda one: one.effect):
            self._call(one)
        numbered = enumerate(sorted(self.calls, key=lambda call: call.invoked))
        self.calls = [replace(call, number=number) for number, call in numbered]

    def _terms(self, one: Try) -> dict[str, Any]:
        found = {"hold_id": list(self.holds), "transfer_id": list(self.transfers)}
        named = {name: self.dice.choice([*found[name], "0"]) for name in found if one.terms.get(name) == ""}
        terms = one.terms | named
        return terms if one.key is None else self.terms.setdefault(one.key, terms)

    def _call(self, one: Try) -> None:
        if one.operation != "read_key":
            one.terms = self._terms(one)
        ending, told, replayed = Ending.UNKNOWN, dict[str, Any](), False
        if one.fate == "refused":
            ending, told = Ending.NOT_APPLIED, {"code": "overloaded"}
        elif one.operation == "read_account":
            ending, told = Ending.SEEN, self._shown(one.terms["account_id"])
        elif one.operation == "read_key":
            assert one.key is not None
            decision = self.decisions.get(one.key)
            ending, told = Ending.SEEN, {"outcome": decision.outcome if decision else "never_seen"}
        elif one.operation == "read_transfer":
            found = one.terms["transfer_id"] in self.transfers
            ending, told = (Ending.SEEN, {"id": one.terms["transfer_id"]}) if found else (Ending.MISSING, {})
        elif one.fate != "lost before":
            assert one.key is not None
            replayed = one.key in self.answers
            if not replayed:
                self.answers[one.key] = self._decide(one)
            ending, told = self.answers[one.key]
        if one.fate.startswith("lost"):
            ending, told, replayed = Ending.UNKNOWN, {}, False
        completed = None if one.fate.startswith("lost") else one.completed
        call = Call(
            0, "caller", one.operation, LEDGER, one.invoked, completed, ending, one.key, one.terms, told, replayed
        )
        self.calls.append(call)

    def _shown(self, name: str) -> dict[str, Any]:
        account = self.accounts[name]
        return {"id": name} | {counter: getattr(account, counter) for counter in COUNTERS}

    def _decide(self, one: Try) -> tuple[Ending, dict[str, Any]]:
        assert one.key is not None
        made = getattr(self, f"_{one.operation}")(one.key, one.terms)
        code = made if isinstance(made, str) else None
        outcome, resource = ("rejected", None) if code else ("applied", made.id)
        self.decisions[one.key] = Decision(LEDGER, one.key, one.operation, outcome, resource, code)
        if code:
            return Ending.REJECTED, {"code": code}
        names = [name for name in type(made).__dataclass_fields__ if name not in {"ledger", "key"}]
        return Ending.APPLIED, {name: getattr(made, name) for name in names}

    def _available(self, name: str) -> int:
        account = self.accounts[name]
        return account.credits_posted - account.debits_posted - account.debits_held

    def _change(self, name: str, **more: int) -> Account:
        account = self.accounts[name]
        changed = {counter: getattr(account, counter) + more.get(counter, 0) for counter in COUNTERS}
        self.accounts[name] = replace(account, **changed | {"version": account.version + 1})
        return self.accounts[name]

    def _next_id(self) -> str:
        self.made += 1
        return f"{self.made:08}"

    def _post_transfer(self, key: str, terms: dict[str, Any]) -> Transfer | str:
        debit, credit, amount = terms["debit_account_id"], terms["credit_account_id"], terms["amount"]
        if isinstance(amount, dict):
            amount = min(amount["at_most"], max(self._available(debit), 1))
        if debit != TREASURY and self._available(debit) < amount:
            return "insufficient_funds"
        return self._move(key, debit, credit, amount)

    def _move(self, key: str, debit: str, credit: str, amount: int, freed: int = 0, **more: str | None) -> Transfer:
        one = self._change(debit, debits_posted=amount, debits_held=-freed)
        other = self._change(credit, credits_posted=amount, credits_held=-freed)
        made = Transfer(
            self._next_id(), LEDGER, key, debit, credit, amount, "USD", one.version, other.version,
            _balance(one), _balance(other), **more,
        )  # fmt: skip
        self.transfers[made.id] = made
        return made

    def _open_hold(self, key: str, terms: dict[str, Any]) -> Hold | str:
        debit, credit, amount = terms["debit_account_id"], terms["credit_account_id"], terms["amount"]
        if debit != TREASURY and self._available(debit) < amount:
            return "insufficient_funds"
        one, other = self._change(debit, debits_held=amount), self._change(credit, credits_held=amount)
        made = Hold(self._next_id(), LEDGER, key, debit, credit, amount, "USD", one.version, other.version)
        self.holds[made.id] = made
        return made

    def _capture_hold(self, key: str, terms: dict[str, Any]) -> Transfer | str:
        hold = self.holds.get(terms["hold_id"])
        if hold is None or hold.status != "open":
            return "hold_not_open"
        left = hold.amount - hold.captured_amount
        amount = left if terms["amount"] is None else terms["amount"]
        if amount > left or amount == 0:
            return "capture_exceeds_hold"
        last = terms["final"] or amount == left
        freed = left if last else amount
        made = self._move(key, hold.debit_account_id, hold.credit_account_id, amount, freed, hold_id=hold.id)
        hold = replace(hold, captured_amount=hold.captured_amount + amount)
        if last:
            hold = _closed(hold, "captured", made.debit_account_version, made.credit_account_version)
        self.holds[hold.id] = hold
        return made

    def _void_hold(self, _key: str, terms: dict[str, Any]) -> Hold | str:
        hold = self.holds.get(terms["hold_id"])
        if hold is None or hold.status != "open":
            return "hold_not_open"
        freed = hold.captured_amount - hold.amount
        one = self._change(hold.debit_account_id, debits_held=freed)
        other = self._change(hold.credit_account_id, credits_held=freed)
        self.holds[hold.id] = _closed(hold, "voided", one.version, other.version)
        return self.holds[hold.id]

    def _reverse_transfer(self, key: str, terms: dict[str, Any]) -> Transfer | str:
        moved = self.transfers.get(terms["transfer_id"])
        if moved is None or moved.reverses_id:
            return "transfer_not_found"
        if any(one.reverses_id == moved.id for one in self.transfers.values()):
            return "already_reversed"
        if moved.credit_account_id != TREASURY and self._available(moved.credit_account_id) < moved.amount:
            return "insufficient_funds"
        sides = moved.credit_account_id, moved.debit_account_id
        return self._move(key, *sides, moved.amount, reverses_id=moved.id)


def _balance(account: Account) -> int:
    return (account.credits_posted - account.debits_posted) * (1 if account.normal_side == "credit" else -1)


def _closed(hold: Hold, status: str, debit_version: int, credit_version: int) -> Hold:
    return replace(
        hold,
        status=status,
        closed_debit_account_version=debit_version,
        closed_credit_account_version=credit_version,
    )


def simulate(dice: random.Random, requests: int, *, calm: bool = False) -> Simulated:
    """A history of ``requests`` random ones; where it is ``calm``, one after the other, each answered."""
    tries, now = [], 0.0
    for number in range(requests):
        now += 10 if calm else dice.random()
        tries += _tries(dice, number, now, calm=calm)
    made = Simulated(dice=dice)
    made.run(tries)
    return made


def _tries(dice: random.Random, number: int, now: float, *, calm: bool) -> list[Try]:
    operation, terms = _request(dice)
    key = None if operation in {"read_account", "read_transfer"} else f"key-{number}"
    if operation == "read_key":
        key = f"key-{dice.randrange(number + 1)}"
    tries = []
    for _ in range(1 if calm or operation.startswith("read") else dice.choice((1, 1, 2, 3))):
        effect = now + dice.random() * 3
        fates = ("answered", "answered", "answered", "lost before", "lost after", "refused")
        fate = "answered" if calm or operation.startswith("read") else dice.choice(fates)
        tries.append(Try(operation, key, terms, now, effect, effect + dice.random() * 3, fate))
        now += dice.random() * 5  # the next one may overlap
    return tries


def _request(dice: random.Random) -> tuple[str, dict[str, Any]]:
    debit, credit = dice.sample((TREASURY, *CUSTOMERS), 2)
    body: dict[str, Any] = {
        "debit_account_id": debit,
        "credit_account_id": credit,
        "amount": dice.randint(1, 50),
        "currency": "USD",
    }
    requests: list[tuple[str, dict[str, Any]]] = [
        ("post_transfer", body | {"debit_account_id": TREASURY, "credit_account_id": dice.choice(CUSTOMERS)}),
        ("post_transfer", body),
        ("post_transfer", body | {"amount": {"at_most": body["amount"]}}),
        ("open_hold", body),
        ("capture_hold", {"hold_id": "", "amount": dice.choice((None, 1)), "final": dice.random() < 0.5}),
        ("void_hold", {"hold_id": ""}),
        ("reverse_transfer", {"transfer_id": "", "amount": None}),
        ("read_account", {"account_id": debit}),
        ("read_transfer", {"transfer_id": ""}),
        ("read_key", {}),
    ]
    return dice.choice(requests)


def counts(made: Simulated) -> dict[str, int]:
    """How often each operation ended in which way: whether histories have everything in them."""
    found: defaultdict[str, int] = defaultdict(int)
    for call in made.calls:
        found[f"{call.operation} {call.ending}"] += 1
    return dict(found)
