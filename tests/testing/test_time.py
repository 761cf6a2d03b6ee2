"""Time that moves for holds: they expire as if it had passed."""

from funds_testing import Account, TestLedger
from tests.support.http_ledger import problem
from tests.testing.conftest import Caller


def test_a_hold_expires_when_its_time_is_over(funds_ledger: TestLedger, caller: Caller, payer: Account) -> None:
    hold = caller.hold("deposit", expires_in_seconds=3600).json()["id"]
    assert payer.read()["available_balance"] == 900
    assert funds_ledger.advance(3590) == []
    assert caller.http.get(f"/holds/{hold}").json()["status"] == "open"
    assert funds_ledger.advance(20) == [hold]
    assert caller.http.get(f"/holds/{hold}").json()["status"] == "expired"
    assert payer.read()["available_balance"] == 1000
    problem(caller.capture(hold, "late"), 409, "hold_expired")


def test_holds_keep_their_order(funds_ledger: TestLedger, caller: Caller) -> None:
    holds = [caller.hold(f"hold-{days}", expires_in_seconds=86_400 * days).json()["id"] for days in (1, 2, 3)]
    assert [funds_ledger.advance(86_401) for _ in range(4)] == [[hold] for hold in holds] + [[]]


def test_every_open_hold_can_be_ended(funds_ledger: TestLedger, caller: Caller) -> None:
    captured = caller.hold("captured").json()["id"]
    caller.capture(captured, "capture")
    open_ones = {caller.hold(f"hold-{number}").json()["id"] for number in range(3)}
    assert set(funds_ledger.expire()) == open_ones
    assert funds_ledger.expire() == []
    assert caller.http.get(f"/holds/{captured}").json()["status"] == "captured"


def test_time_moves_in_one_ledger_alone(funds_ledger: TestLedger, caller: Caller) -> None:
    other = funds_ledger.service.ledger()
    hold = caller.hold("deposit").json()["id"]
    assert other.expire() == []
    assert caller.http.get(f"/holds/{hold}").json()["status"] == "open"
    assert caller.capture(hold, "in-time").status_code == 201


def test_an_expiry_is_an_entry_of_the_history(funds_ledger: TestLedger, caller: Caller) -> None:
    caller.hold("deposit")
    funds_ledger.expire()
    events = caller.http.get("/events?limit=1000").json()["items"]
    assert events[-1]["type"] == "funds.hold.expired"
