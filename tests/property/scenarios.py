"""Scenarios: some accounts, and what happens to them step by step.

The model is at hand while a scenario is drawn, so that most of it makes sense: what is captured was held, what is
reversed was moved. The rest is wrong in one way or two, and rejected for it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.property.model import Model
from tests.property.requests import UNKNOWN, Capture, Fence, Group, Open, Post, Request, Reverse, Void
from tests.property.rules import LARGEST

_BOUNDS = ("minimum_balance", "maximum_balance")

T = TypeVar("T")
S = TypeVar("S", bound="Step")

_DOLLARS, _EUROS = ["cash", "ada", "ben", "loan"], ["till", "eve"]
_PAIRS = [*permutations(_DOLLARS, 2)] * 2 + [*permutations(_EUROS, 2)] * 3
_ODD_SIDES: dict[str, list[Any]] = {
    "debit": [*_DOLLARS, *_EUROS, "nobody", "nobody"],
    "credit": [*_DOLLARS, *_EUROS, "nobody", "nobody"],
    "currency": ["EUR", "USD", "XAU"],
    "amount": [LARGEST, LARGEST - 70],
}


@dataclass(frozen=True)
class Send:
    """Groups for one transaction, perhaps after a dry run of them."""

    groups: list[Group]
    dry_run_first: bool


@dataclass(frozen=True)
class TimeIsOver:
    """The end of an open hold is reached."""

    hold: int


@dataclass(frozen=True)
class Sweep:
    """Overdue holds are freed."""


@dataclass(frozen=True)
class Revise:
    """An operator changes an account."""

    name: str
    changes: dict[str, Any]


Step = Send | TimeIsOver | Sweep | Revise


@dataclass(frozen=True)
class Scenario:
    accounts: dict[str, dict[str, Any]]
    steps: list[Step]


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    accounts = _accounts(draw)
    author = Author(draw, Model(accounts))
    return Scenario(accounts, [author.endowment(), *(author.step() for _ in range(draw(st.integers(1, 40))))])


def _accounts(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Draw accounts of either normal side, some bounded; cash and till have no bounds, so that money can begin."""

    def account(currency: str, **terms: Any) -> dict[str, Any]:
        usual = {"normal_side": "credit", "minimum_balance": None, "maximum_balance": None, "status": "open"}
        return usual | {"currency": currency, "opened": "long ago"} | terms

    sides = st.sampled_from(["credit", "debit"])
    floors, ceilings = st.sampled_from([0, 0, -20, None]), st.sampled_from([None, None, 50, 100])
    return {
        "cash": account("USD", normal_side="debit"),
        "ada": account("USD", minimum_balance=0),
        "ben": account("USD", normal_side=draw(sides), minimum_balance=draw(floors), maximum_balance=draw(ceilings)),
        "loan": account("USD", normal_side="debit", minimum_balance=0, maximum_balance=draw(ceilings)),
        "till": account("EUR"),
        "eve": account("EUR", opened="today", normal_side=draw(sides), minimum_balance=draw(floors)),
    }


class Author:
    """Draws what happens next and lets it happen to a model of its own."""

    def __init__(self, draw: st.DrawFn, model: Model) -> None:
        self._draw = draw
        self._model = model
        self._keys: list[str] = []
        self._fenced: list[str] = []
        self._sent: list[Group] = []
        self._oddities = [0]

    def endowment(self) -> Send:
        """Most get something to begin with."""
        pairs = [("cash", "ada"), ("cash", "ben"), ("loan", "ada"), ("till", "eve")]
        return self._happen(Send([[self._post(pair)] for pair in pairs], dry_run_first=False))

    def step(self) -> Step:
        still_open = self._model.facts.open_holds()
        in_time = [number for number in still_open if number not in self._model.facts.overdue]
        overdue = len(in_time) < len(still_open)
        kinds = (
            ["send"] * 8 + ["again", "revise", "revise"] * 2 + ["over"] * 2 * bool(in_time) + ["sweep"] * 2 * overdue
        )
        match self._one_of(kinds):
            case "again":
                return self._happen(Send([self._one_of(self._sent)], dry_run_first=False))
            case "revise":
                return self._happen(self._revision())
            case "over":
                return self._happen(TimeIsOver(self._one_of(in_time)))
            case "sweep":
                return self._happen(Sweep())
        groups = [self._group() for _ in range(self._number(1, 4))]
        return self._happen(Send(groups, dry_run_first=self._one_of([False, False, True])))

    def _happen(self, step: S) -> S:
        match step:
            case Send(groups, _):
                self._model.send(groups)
                self._sent += groups
            case TimeIsOver(hold):
                self._model.time_is_over(hold)
            case Sweep():
                self._model.sweep()
            case Revise(name, changes):
                self._model.revise(name, changes)
        return step

    def _group(self) -> Group:
        size = self._one_of([1] * 7 + [2, 2, 3])
        self._oddities = [0] * 5 + [1, 1, 1, 2] if size == 1 else [0] * 15 + [1]
        kinds: list[Callable[[], Request]] = [self._post, self._post, self._post, self._open, self._open, self._open]
        kinds += [self._reverse, self._reverse]
        if self._model.facts.holds:
            kinds += [self._capture, self._capture, self._capture, self._capture, self._void]
        if size == 1:
            kinds += [self._fence]
        return [self._one_of(kinds)() for _ in range(size)]

    # Requests, and how each can be wrong.

    def _post(self, pair: tuple[str, str] | None = None) -> Post:
        post = Post(**self._identity(), **self._sides(pair), at_most=self._one_of([False, False, True]))
        odd_times: dict[str, list[Any]] = {"effective": ["long ago", "in the far future", "yesterday", "next week"]}
        return self._oddly(post, _ODD_SIDES | odd_times)

    def _open(self) -> Open:
        hold = Open(**self._identity(), **self._sides())
        return self._oddly(hold, _ODD_SIDES | {"expires": ["in the past", "too late", "in an hour"]})

    def _capture(self) -> Capture:
        holds = self._holds()
        partly = [number for number in self._model.facts.open_holds() if self._model.facts.captured(number)]
        hold = self._one_of(holds + partly * 24)
        whole, left = self._model.facts.holds[hold]["amount"], self._model.facts.reserved(hold)
        part = self._number(1, max(left, 1))
        amount = self._one_of([None, part, part, self._near(left), self._near(left, whole)])
        capture = Capture(**self._identity(), hold=hold, amount=amount, final=self._one_of([False, False, False, True]))
        return self._oddly(capture, {"hold": [UNKNOWN], "effective": ["long ago", "yesterday"], "amount": [LARGEST]})

    def _void(self) -> Void:
        return self._oddly(Void(**self._identity(), hold=self._one_of(self._holds())), {"hold": [UNKNOWN]})

    def _holds(self) -> list[int]:
        """Return the numbers of all holds, those that are open several times."""
        return [*range(len(self._model.facts.holds))] + self._model.facts.open_holds() * 8

    def _reverse(self) -> Reverse:
        whole_amounts = [transfer["amount"] for transfer in self._model.facts.transfers]
        transfers = [*range(len(whole_amounts))]
        partly = [number for number in transfers if 0 < self._model.facts.reversed(number) < whole_amounts[number]]
        transfer = self._one_of(transfers + transfers[-3:] * 2 + partly * 6)
        whole, left = whole_amounts[transfer], whole_amounts[transfer] - self._model.facts.reversed(transfer)
        amount = self._one_of([None, self._number(1, max(left, 1)), self._near(left, whole)])
        reversal = Reverse(**self._identity(), transfer=transfer, amount=amount)
        odd: dict[str, list[Any]] = {
            "transfer": [UNKNOWN],
            "effective": ["in the far future", "next week", "yesterday"],
            "amount": [LARGEST],
        }
        return self._oddly(reversal, odd)

    def _fence(self) -> Fence:
        fence = Fence(**self._identity())
        self._fenced.append(fence.key)
        return fence

    def _sides(self, pair: tuple[str, str] | None = None) -> dict[str, Any]:
        """Draw two accounts, most times two between which something can move, and an amount near what can."""
        possible = [pair for pair in _PAIRS if self._room(*pair) > 0]
        debit, credit = pair or self._one_of(possible * 3 + _PAIRS)
        room = max(1, min(60, self._room(debit, credit)))
        return {
            "debit": debit,
            "credit": credit,
            "amount": self._one_of([self._number(1, room), self._number(1, 60), self._near(room)]),
            "currency": self._model.facts.accounts[debit]["currency"],
        }

    def _room(self, debit: str, credit: str) -> int:
        """Return how much can move; nothing when one of the accounts is not open."""
        rooms = [LARGEST]
        for name in (debit, credit):
            account = self._model.facts.accounts[name]
            if account["status"] != "open":
                return 0
            falls = (name == debit) == (account["normal_side"] == "credit")
            if falls and account["minimum_balance"] is not None:
                rooms.append(self._model.facts.available(name) - account["minimum_balance"])
            if not falls and account["maximum_balance"] is not None:
                rooms.append(account["maximum_balance"] - self._model.facts.balance(name))
        return min(rooms)

    def _near(self, *numbers: int) -> int:
        """Draw one of ``numbers``, or one more or less; 1 at least."""
        return max(1, self._one_of([*numbers]) + self._one_of([0, 0, 0, 1, -1]))

    def _oddly(self, request: T, odd: dict[str, list[Any]]) -> T:
        """Return ``ask``, most times as it is, else with one or two of its fields as in ``odd``."""
        for _ in range(self._one_of(self._oddities)):
            name = self._one_of(sorted(odd))
            request = replace(request, **{name: self._one_of(odd[name])})  # type: ignore[type-var]
        return request

    def _identity(self) -> dict[str, Any]:
        """Return a client and a key: most times a new one."""
        client = self._one_of(["shop"] * 11 + ["bank"])
        reused = self._one_of([False] * 9 + [True])
        if reused and self._keys:
            return {"client": client, "key": self._one_of(self._keys[-6:] + self._fenced * 3)}
        self._keys.append(f"key-{len(self._keys)}")
        return {"client": client, "key": self._keys[-1]}

    def _revision(self) -> Revise:
        statuses = {name: account["status"] for name, account in self._model.facts.accounts.items()}
        frozen = [name for name, status in statuses.items() if status == "frozen"]
        empty = [name for name in statuses if not self._model.facts.balance(name)]
        holds = [self._model.facts.holds[number] for number in self._model.facts.open_holds()]
        customers = ["ada", "ben", "loan", "eve"]
        match self._one_of(
            ["bounds", "bounds", "freeze"] * 2 + ["close"] + ["thaw"] * 6 * bool(frozen) + ["end"] * bool(empty)
        ):
            case "freeze":
                busy = [hold[side] for hold in holds for side in ("debit", "credit")]
                return Revise(self._one_of(busy or customers), {"status": "frozen"})
            case "thaw":
                return Revise(self._one_of(frozen), {"status": "open"})
            case "close":
                return Revise(self._one_of(customers), {"status": "closed"})
            case "end":
                return Revise(self._one_of(empty), {"status": "closed"})
        name = self._one_of(customers)
        used = [self._model.facts.balance(name), self._model.facts.available(name)]
        changes = {
            bound: self._one_of([None, self._number(-20, 80), self._one_of(used) + self._one_of([0, 1, -1])])
            for bound in self._one_of([_BOUNDS, _BOUNDS[:1], _BOUNDS[1:]])
        }
        return Revise(name, changes)

    def _number(self, least: int, most: int) -> int:
        return self._draw(st.integers(least, most))

    def _one_of(self, choices: list[T]) -> T:
        return self._draw(st.sampled_from(choices))
