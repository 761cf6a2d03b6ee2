"""A small history that is right, and what could be wrong with it: a plant for each kind of finding, and more."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from funds_testing.histories import Call, Decision, Ending, Kind
from tests.histories.simulated import LEDGER, TREASURY, Simulated, Try

Plant = Callable[[Simulated], None]

SECONDS = 10.0


def right() -> Simulated:
    """One request after the other: money for a; some of it to b, sent twice; too much to b; a hold and its capture;
    reads; a transfer to c that is refused, lost and answered; another; one that is refused and given up.
    """
    made = Simulated()
    made.run([_try(number, *request) for number, request in enumerate(_REQUESTS)])
    return made


def _body(debit: str, credit: str, amount: int) -> dict[str, Any]:
    return {"debit_account_id": debit, "credit_account_id": credit, "amount": amount, "currency": "USD"}


_REQUESTS: list[tuple[str, str | None, dict[str, Any], str]] = [
    ("post_transfer", "fund", _body(TREASURY, "a", 100), "answered"),
    ("post_transfer", "pay", _body("a", "b", 30), "answered"),
    ("post_transfer", "pay", _body("a", "b", 30), "answered"),
    ("post_transfer", "too much", _body("a", "b", 500), "answered"),
    ("open_hold", "hold", _body("a", "b", 20), "answered"),
    ("capture_hold", "capture", {"hold_id": "00000003", "amount": None, "final": True}, "answered"),
    ("read_account", None, {"account_id": "a"}, "answered"),
    ("read_transfer", None, {"transfer_id": "00000002"}, "answered"),
    ("read_key", "pay", {}, "answered"),
    ("post_transfer", "again", _body("b", "c", 5), "refused"),
    ("post_transfer", "again", _body("b", "c", 5), "lost after"),
    ("post_transfer", "again", _body("b", "c", 5), "answered"),
    ("post_transfer", "later", _body("b", "c", 6), "answered"),
    ("read_account", None, {"account_id": "b"}, "answered"),
    ("post_transfer", "given up", _body("b", "c", 7), "refused"),
    ("read_key", "given up", {}, "answered"),
]


def _try(number: int, operation: str, key: str | None, terms: dict[str, Any], fate: str) -> Try:
    at = number * SECONDS
    return Try(operation, key, dict(terms), at, at + 1, at + 2, fate)


def _calls(made: Simulated, key: str | None, operation: str = "post_transfer") -> list[Call]:
    return [call for call in made.calls if call.key == key and call.operation == operation]


def _change(made: Simulated, call: Call, **changes: Any) -> None:
    made.calls[made.calls.index(call)] = replace(call, **changes)


def _transfer(made: Simulated, key: str) -> Any:
    return next(one for one in made.transfers.values() if one.key == key)


def _edit(made: Simulated, key: str, **changes: Any) -> None:
    transfer = _transfer(made, key)
    made.transfers[transfer.id] = replace(transfer, **changes)


def _undo(made: Simulated, key: str) -> None:
    """Take a transfer, its decision and its effect away, as if nothing of it had ever been."""
    transfer = _transfer(made, key)
    del made.transfers[transfer.id], made.decisions[key]
    for name, counter in ((transfer.debit_account_id, "debits_posted"), (transfer.credit_account_id, "credits_posted")):
        account = made.accounts[name]
        counters = {counter: getattr(account, counter) - transfer.amount, "version": account.version - 1}
        made.accounts[name] = replace(account, **counters)


def lost_with_its_decision(made: Simulated) -> None:
    _undo(made, "later")


def lost_without_its_decision(made: Simulated) -> None:
    """The decision was not written: the next try under the key would be decided again."""
    del made.decisions["pay"]


def rejection_forgotten(made: Simulated) -> None:
    del made.decisions["too much"]


def told_another_amount(made: Simulated) -> None:
    [call] = _calls(made, "later")
    _change(made, call, told={**call.told, "amount": 60})


def doubled(made: Simulated) -> None:
    """The same key made two transfers, each with its effect."""
    made.answers.pop("pay")
    made.run([Try("post_transfer", "pay", _body("a", "b", 30), 500, 501, 502)])


def decided_twice(made: Simulated) -> None:
    """Two callers were each told that theirs was the first, though only one transfer stands."""
    _first, second = _calls(made, "pay")
    _change(made, second, replayed=False)


def nobody_asked(made: Simulated) -> None:
    made.run([Try("post_transfer", "invented", _body("a", "b", 1), 500, 501, 502)])
    made.calls = [call for call in made.calls if call.key != "invented"]


def other_than_asked(made: Simulated) -> None:
    [call] = _calls(made, "later")
    _change(made, call, terms=_body("b", "c", 60))


def below_floor(made: Simulated) -> None:
    made.accounts["a"] = replace(made.accounts["a"], minimum_balance=60)


def below_floor_on_the_way(made: Simulated) -> None:
    """In the end all is well, and between two transfers it was not."""
    made.accounts["c"] = replace(made.accounts["c"], minimum_balance=8)
    assert made.accounts["c"].credits_posted > 8


def above_ceiling(made: Simulated) -> None:
    made.accounts["b"] = replace(made.accounts["b"], maximum_balance=44)


def captured_beyond_the_hold(made: Simulated) -> None:
    [hold] = made.holds.values()
    made.holds[hold.id] = replace(hold, amount=19)


def money_made(made: Simulated) -> None:
    made.accounts["c"] = replace(made.accounts["c"], credits_posted=made.accounts["c"].credits_posted + 1)


def counted_twice(made: Simulated) -> None:
    """Both sides: debits are still credits."""
    for name, counter in (("b", "debits_posted"), ("c", "credits_posted")):
        account = made.accounts[name]
        made.accounts[name] = replace(account, **{counter: getattr(account, counter) + 6})


def balance_after_is_wrong(made: Simulated) -> None:
    _edit(made, "later", credit_balance_after=12)


def version_skipped(made: Simulated) -> None:
    _edit(made, "later", credit_account_version=3)
    made.accounts["c"] = replace(made.accounts["c"], version=3)


def version_twice(made: Simulated) -> None:
    _edit(made, "later", credit_account_version=1)


def version_ahead(made: Simulated) -> None:
    made.accounts["c"] = replace(made.accounts["c"], version=3)


def differing_replay(made: Simulated) -> None:
    _first, second = _calls(made, "pay")
    _change(made, second, ending=Ending.REJECTED, told={"code": "insufficient_funds"})


def differing_number(made: Simulated) -> None:
    _first, second = _calls(made, "pay")
    _change(made, second, told={**second.told, "debit_balance_after": 71})


def stale_account(made: Simulated) -> None:
    """The account was read as it was before the capture."""
    [call] = [call for call in made.calls if call.terms == {"account_id": "a"}]
    old = {"debits_posted": 30, "credits_posted": 100, "debits_held": 20, "credits_held": 0, "version": 3}
    _change(made, call, told={**call.told, **old})


def stale_version(made: Simulated) -> None:
    """A replica was asked for a version, and answered without it."""
    [call] = [call for call in made.calls if call.terms == {"account_id": "b"}]
    _change(made, call, as_of=True, terms={"account_id": "b", "min_version": call.told["version"] + 1})


def stale_refusal(made: Simulated) -> None:
    """A version was asked for that somebody had been told of, and it was said not to be reached."""
    [call] = [call for call in made.calls if call.terms == {"account_id": "b"}]
    version = call.told["version"]
    told = {"code": "version_not_reached", "version": version - 1}
    terms = {"account_id": "b", "min_version": version}
    _change(made, call, ending=Ending.UNKNOWN, told=told, terms=terms)


def stale_transfer(made: Simulated) -> None:
    [call] = _calls(made, None, "read_transfer")
    terms = {"transfer_id": _transfer(made, "pay").id}
    _change(made, call, ending=Ending.MISSING, told={}, terms=terms)


def stale_key(made: Simulated) -> None:
    [call] = _calls(made, "pay", "read_key")
    _change(made, call, told={"outcome": "never_seen"})


def torn_read(made: Simulated) -> None:
    [call] = [call for call in made.calls if call.terms == {"account_id": "b"}]
    _change(made, call, told={**call.told, "debits_posted": call.told["debits_posted"] + 1})


def read_of_a_version_that_never_was(made: Simulated) -> None:
    [call] = [call for call in made.calls if call.terms == {"account_id": "b"}]
    _change(made, call, told={**call.told, "version": 99})


def read_before_it_was_asked(made: Simulated) -> None:
    [call] = [call for call in made.calls if call.terms == {"account_id": "b"}]
    _change(made, call, invoked=0.5, completed=0.6)


def not_applied_that_was(made: Simulated) -> None:
    """COMMIT was done, and the caller was told that nothing was applied, and gave up."""
    made.run([Try("post_transfer", "given up", _body("b", "c", 7), 500, 501, 502)])
    made.calls = [call for call in made.calls if call.key != "given up" or call.ending is Ending.NOT_APPLIED]


def not_applied_that_was_by_its_place(made: Simulated) -> None:
    """The caller sent it again. That it had been applied before shows in the order: another one came in between."""
    first, lost, _last = _calls(made, "again")
    [later] = _calls(made, "later")
    _change(made, lost, ending=Ending.NOT_APPLIED, completed=lost.invoked + 2)
    _change(made, later, invoked=first.invoked + 12.5, completed=first.invoked + 13.5)
    [again] = [call for call in _calls(made, "again") if call.ending is Ending.APPLIED]
    _change(made, again, replayed=True)


def not_applied_that_was_by_its_key(made: Simulated) -> None:
    """Nothing else was sent under the key yet, and a look-up found it applied."""
    _first, lost, _last = _calls(made, "again")
    _change(made, lost, ending=Ending.NOT_APPLIED, completed=lost.invoked + 2)
    made.calls.append(
        Call(99, "caller", "read_key", LEDGER, lost.invoked + 3, lost.invoked + 4, Ending.SEEN, "again", {},
             {"outcome": "applied"})
    )  # fmt: skip


def rejected_and_moved(made: Simulated) -> None:
    for call in _calls(made, "later"):
        _change(made, call, ending=Ending.REJECTED, told={"code": "insufficient_funds"})


def fenced_and_moved(made: Simulated) -> None:
    made.calls.append(Call(99, "caller", "fence_key", LEDGER, 0, 1, Ending.FENCED, "later", {}, {"outcome": "fenced"}))


def rejected_and_moved_under_another_decision(made: Simulated) -> None:
    """The decision says rejected, and the money moved all the same."""
    rejected_and_moved(made)
    made.decisions["later"] = Decision(LEDGER, "later", "post_transfer", "rejected", None, "insufficient_funds")


def out_of_order(made: Simulated) -> None:
    """What was asked for last stands first."""
    one, two = _transfer(made, "pay"), _transfer(made, "later")
    ids = {one.id: two.id, two.id: one.id}
    made.transfers = {one.id: replace(one, id=ids.get(one.id, one.id)) for one in made.transfers.values()}
    for call in list(made.calls):
        if call.told.get("id") in ids:
            _change(made, call, told={**call.told, "id": ids[call.told["id"]]})


PLANTS: dict[Plant, Kind] = {
    lost_with_its_decision: Kind.LOST,
    lost_without_its_decision: Kind.LOST,
    rejection_forgotten: Kind.LOST,
    told_another_amount: Kind.LOST,
    doubled: Kind.DOUBLED,
    decided_twice: Kind.DOUBLED,
    nobody_asked: Kind.UNASKED,
    other_than_asked: Kind.UNASKED,
    below_floor: Kind.BELOW_FLOOR,
    below_floor_on_the_way: Kind.BELOW_FLOOR,
    above_ceiling: Kind.BELOW_FLOOR,
    captured_beyond_the_hold: Kind.BELOW_FLOOR,
    money_made: Kind.SUM,
    counted_twice: Kind.SUM,
    balance_after_is_wrong: Kind.SUM,
    version_skipped: Kind.VERSION_GAP,
    version_twice: Kind.VERSION_GAP,
    version_ahead: Kind.VERSION_GAP,
    differing_replay: Kind.DIFFERING_REPLAY,
    differing_number: Kind.DIFFERING_REPLAY,
    stale_account: Kind.STALE_READ,
    stale_version: Kind.STALE_READ,
    stale_refusal: Kind.STALE_READ,
    stale_transfer: Kind.STALE_READ,
    stale_key: Kind.STALE_READ,
    torn_read: Kind.UNTRUE_READ,
    read_of_a_version_that_never_was: Kind.UNTRUE_READ,
    read_before_it_was_asked: Kind.UNTRUE_READ,
    not_applied_that_was: Kind.NOT_APPLIED,
    not_applied_that_was_by_its_place: Kind.NOT_APPLIED,
    not_applied_that_was_by_its_key: Kind.NOT_APPLIED,
    rejected_and_moved: Kind.REJECTED,
    fenced_and_moved: Kind.REJECTED,
    rejected_and_moved_under_another_decision: Kind.REJECTED,
    out_of_order: Kind.ORDER,
}
