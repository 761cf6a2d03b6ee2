"""Balances, and what an operator may change of an account, in the documented order."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec import UNSET, structs

from service.domain.accounts import Account, AccountDetails, AccountRevision, check_revision, revised, revision_tag
from service.domain.limits import INT64_MAX
from service.domain.rules import CHANGE_RULES
from tests.support.domain_samples import LATER, A, account, in_possession_of
from tests.support.rejections import told

DOCUMENTED = [rule.code for rule in CHANGE_RULES]
STATE: dict[str, Any] = {
    "name": "Cash",
    "metadata": {"branch": "7", "region": "north"},
    "minimum_balance": 0,
    "maximum_balance": None,
    "status": "open",
    "code": None,
}


@dataclass
class Scene:
    """A revision of an account that no rule rejects, until a test breaks rules."""

    account: Account = field(default_factory=lambda: in_possession_of(100, A))
    changes: dict[str, Any] = field(default_factory=dict)

    def rejection(self) -> str | None:
        rejection = check_revision(self.account, AccountRevision(**self.changes))
        return None if rejection is None else rejection.code


def _closed(scene: Scene) -> None:
    scene.account.status = "closed"


def _not_empty(scene: Scene) -> None:
    scene.changes["status"] = "closed"


def _crossed(scene: Scene) -> None:
    scene.changes |= {"minimum_balance": 7, "maximum_balance": 6}


def _minimum_above_what_is_available(scene: Scene) -> None:
    scene.changes |= {"minimum_balance": 101, "maximum_balance": 101}


def _maximum_below_the_balance(scene: Scene) -> None:
    scene.changes |= {"minimum_balance": 99, "maximum_balance": 99}


BREAKS = [_closed, _not_empty, _crossed, _minimum_above_what_is_available, _maximum_below_the_balance]


def test_the_documented_order_of_revisions() -> None:
    assert DOCUMENTED == [
        "account_closed",
        "account_not_empty",
        "balance_limit_exceeded",
        "insufficient_funds",
        "balance_limit_exceeded",
    ]


@pytest.mark.parametrize("place", range(len(BREAKS)))
def test_a_broken_rule_rejects_alone_and_before_all_later_ones(place: int) -> None:
    for broken in (BREAKS[place : place + 1], BREAKS[place:]):
        scene = Scene()
        for broken_rule in reversed(broken):  # reversed, so that the earliest rule sets the bounds last
            broken_rule(scene)
        assert scene.rejection() == DOCUMENTED[place]


@pytest.mark.parametrize(("normal_side", "balance", "available"), [("credit", 58, 53), ("debit", -58, -65)])
def test_balances_are_netted_on_the_normal_side(normal_side: str, balance: int, available: int) -> None:
    one = account(A, normal_side=normal_side, debits_posted=42, credits_posted=100, debits_held=5, credits_held=7)
    assert (one.balance, one.available_balance) == (balance, available)


@pytest.mark.parametrize("counter", ["debits_held", "credits_held"])
def test_an_account_with_holds_on_any_side_does_not_close(counter: str) -> None:
    rejection = check_revision(account(A, **{counter: 3}), AccountRevision(status="closed"))
    assert rejection
    assert rejection.code == "account_not_empty"
    assert told(rejection) == {"account_id": str(A), "balance": 0, "debits_held": 0, "credits_held": 0} | {counter: 3}


@pytest.mark.parametrize("balance", [1, -1])
def test_an_account_with_a_balance_does_not_close(balance: int) -> None:
    one = account(A, credits_posted=10 + balance, debits_posted=10)
    rejection = check_revision(one, AccountRevision(status="closed"))
    assert rejection
    assert (rejection.code, told(rejection)["balance"]) == ("account_not_empty", balance)


def test_an_account_through_which_money_went_closes_when_it_is_empty() -> None:
    assert check_revision(account(A, credits_posted=10, debits_posted=10), AccountRevision(status="closed")) is None


@pytest.mark.parametrize("changes", [{}, {"name": "new"}, {"metadata": {}}, {"status": "open"}, {"status": "closed"}])
def test_closed_is_for_ever(changes: dict[str, Any]) -> None:
    rejection = check_revision(account(A, status="closed"), AccountRevision(**changes))
    assert rejection
    assert rejection.code == "account_closed"


@pytest.mark.parametrize(("status", "new"), [("open", "frozen"), ("frozen", "open"), ("frozen", "closed")])
def test_frozen_accounts_open_and_close(status: str, new: str) -> None:
    assert check_revision(account(A, status=status, credits_held=0), AccountRevision(status=new)) is None


@pytest.mark.parametrize("status", ["open", "frozen"])
def test_an_account_with_money_and_holds_freezes_and_opens(status: str) -> None:
    assert check_revision(in_possession_of(100, A, debits_held=10), AccountRevision(status=status)) is None


def test_the_room_that_is_used_cannot_be_taken_away() -> None:
    one = in_possession_of(100, A, debits_held=30)
    assert check_revision(one, AccountRevision(minimum_balance=70)) is None
    rejection = check_revision(one, AccountRevision(minimum_balance=71))
    assert rejection
    assert rejection.code == "insufficient_funds"
    assert told(rejection) == {
        "account_id": str(A),
        "balance": 100,
        "held": 30,
        "available_balance": 70,
        "minimum_balance": 71,
        "amount": 0,
        "shortfall": 1,
    }


def test_the_maximum_does_not_go_below_the_balance() -> None:
    one = in_possession_of(100, A, debits_held=30)
    assert check_revision(one, AccountRevision(maximum_balance=100)) is None
    rejection = check_revision(one, AccountRevision(maximum_balance=99))
    assert rejection
    assert rejection.code == "balance_limit_exceeded"
    assert (told(rejection)["balance"], told(rejection)["excess"]) == (100, 1)


@pytest.mark.parametrize(
    ("kept", "changes", "allowed"),
    [
        ({"minimum_balance": 5}, {"maximum_balance": 4}, False),
        ({"minimum_balance": 5}, {"maximum_balance": 4, "minimum_balance": None}, False),
        ({"minimum_balance": 100}, {"maximum_balance": 100}, True),
        ({"maximum_balance": 100}, {"minimum_balance": 100}, True),
        ({"maximum_balance": 100}, {"minimum_balance": 101, "maximum_balance": None}, False),
        ({"minimum_balance": 5, "maximum_balance": 200}, {"minimum_balance": None, "maximum_balance": None}, True),
        ({}, {"minimum_balance": -INT64_MAX, "maximum_balance": INT64_MAX}, True),
    ],
)
def test_a_bound_is_judged_with_the_other_as_it_will_be(
    kept: dict[str, Any], changes: dict[str, Any], *, allowed: bool
) -> None:
    assert (check_revision(in_possession_of(100, A, **kept), AccountRevision(**changes)) is None) == allowed


def test_bounds_that_cross_are_named() -> None:
    rejection = check_revision(account(A), AccountRevision(minimum_balance=-1, maximum_balance=-2))
    assert rejection
    assert told(rejection) == {"account_id": str(A), "minimum_balance": -1, "maximum_balance": -2}


def test_a_revision_tells_what_it_leaves_from_what_it_removes() -> None:
    before = known()
    changed = {"updated_at": LATER}
    assert revised(before, AccountRevision(), at=LATER) == structs.replace(before, **changed)
    removed = AccountRevision(name=None, minimum_balance=None, status=UNSET)
    assert revised(before, removed, at=LATER) == structs.replace(before, name=None, minimum_balance=None, **changed)
    assert before == known()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Till"},
        {"metadata": {}},
        {"minimum_balance": -5},
        {"maximum_balance": 5},
        {"status": "frozen"},
        {"code": "1000:cash"},
    ],
)
def test_a_revision_sets_what_it_names_and_nothing_else(change: dict[str, Any]) -> None:
    expected = structs.replace(known(), **change, updated_at=LATER)
    assert revised(known(), AccountRevision(**change), at=LATER) == expected


def known(**changes: Any) -> AccountDetails:
    return AccountDetails(**(structs.asdict(account()) | {"reference": None} | STATE | changes))


def tag(**changes: Any) -> str:
    return revision_tag(known(**changes))


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"name": "Cash "},
        {"metadata": {}},
        {"metadata": {"branch": "7", "region": "south"}},
        {"metadata": {"branch": "north", "region": "7"}},
        {"minimum_balance": None},
        {"minimum_balance": 1},
        {"maximum_balance": 0},
        {"status": "frozen"},
        {"code": "1000:cash"},
    ],
)
def test_the_tag_tells_states_apart(change: dict[str, Any]) -> None:
    assert tag() != tag(**change)


def test_the_tag_of_a_state_is_its_own_whatever_the_order_of_metadata() -> None:
    reordered = dict(reversed(STATE["metadata"].items()))
    assert tag() == tag(metadata=reordered)
    assert tag().isalnum(), "it goes into a header"


def test_the_tag_of_an_account_without_a_code_is_what_it_was_before_there_were_codes() -> None:
    """So a tag that was read before an upgrade is good after it, and the versions on either side agree."""
    assert tag() == "a2fe987a31ed0f6ef0e1ba86d429ffc7"


def test_the_tag_tells_bounds_apart() -> None:
    assert tag() != tag(minimum_balance=None, maximum_balance=0)
