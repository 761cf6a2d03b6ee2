"""Batches of any length: several requests, keys from the start, results in order, and every doubt ended."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
import pytest

from funds_client import (  # fmt: skip
    AtMost,
    BatchItem,
    ClientSettings,
    HoldTerms,
    Intent,
    IntentError,
    OutcomeUnknownError,
    batch_item,
    results_of,
)
from funds_client.batches import chunks, groups_of, read_results
from funds_client.errors import (
    BatchRejectedError,
    ClockBehindError,
    InsufficientFundsError,
    KeyFencedError,
    OtherProblemError,
)
from funds_client.exchange import Answer, Send
from funds_client.ledger_intents import Intents
from funds_client.wire.batches import ITEMS_MAX
from tests.client.conftest import EACH_KIND, Accounts, MakeShell
from tests.client.http_faults import Fault, FaultyNetwork
from tests.client.imagined import TRANSFER, Clock, conditions, problem
from tests.client.shells import PATIENT, Shell

TENS = replace(PATIENT, batch_items_max=10)


def item(accounts: Accounts, amount: int, **more: Any) -> BatchItem:
    return batch_item(debit=accounts.bank, credit=accounts.customer, amount=amount, currency="USD", **more)


async def balance(shell: Shell, accounts: Accounts) -> int:
    return int((await shell.call("get_account", accounts.customer)).balance)


@EACH_KIND
async def test_a_batch_is_sent_in_parts_and_answered_in_order(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts
) -> None:
    shell = make_shell(settings=TENS)
    network.faults.extend([Fault.LOST, Fault.ANSWER_LOST, Fault.BODY_CUT])
    items = [item(accounts, amount) for amount in range(1, 26)]
    results = await shell.call("batch", items)
    assert [result.transfer.amount for result in results] == list(range(1, 26))
    assert [result.idempotency_key for result in results] == [one.idempotency_key for one in items]
    assert await balance(shell, accounts) == 325
    assert len(network.to("/batch")) == 3 + 3


async def test_each_item_says_what_became_of_it(make_shell: MakeShell, accounts: Accounts) -> None:
    shell = make_shell()
    too_much = batch_item(debit=accounts.customer, credit=accounts.bank, amount=99, currency="USD", group="g")
    reserve = batch_item(
        debit=accounts.bank, credit=accounts.customer, amount=4, currency="USD", hold=HoldTerms(expires_in_seconds=60)
    )
    available = batch_item(debit=accounts.customer, credit=accounts.bank, amount=AtMost(50), currency="USD")
    first, grouped, rejected, held, some = await shell.call(
        "batch", [item(accounts, 7), item(accounts, 1, group="g"), too_much, reserve, available]
    )
    assert first.transfer.amount == 7
    assert isinstance(grouped.error, BatchRejectedError)
    assert grouped.error.reason.refused_code == "insufficient_funds"
    assert isinstance(rejected.error, InsufficientFundsError)
    assert rejected.error.reason.shortfall == 91
    assert held.hold.amount == 4
    assert some.transfer.amount == 7


async def test_an_atomic_batch_is_rejected_whole(make_shell: MakeShell, accounts: Accounts) -> None:
    shell = make_shell()
    too_much = batch_item(debit=accounts.customer, credit=accounts.bank, amount=99, currency="USD")
    with pytest.raises(BatchRejectedError) as caught:
        await shell.call("batch", [item(accounts, 7), too_much], mode="atomic")
    first, second = results_of(caught.value)
    assert isinstance(first.error, BatchRejectedError)
    assert isinstance(second.error, InsufficientFundsError)
    assert await balance(shell, accounts) == 0


async def test_a_batch_that_ends_in_the_middle_is_resumed_as_a_whole(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts
) -> None:
    shell = make_shell(settings=TENS)
    network.meets = lambda seen: seen.path.endswith("/batch") and len(network.to("/batch")) == 2
    network.then = Fault.REVOKED  # of the second part: refused, but the first one stands
    intent = shell.client.intents.batch([item(accounts, 1) for _ in range(25)])
    with pytest.raises(OutcomeUnknownError) as caught:
        await shell.call("batch", intent.items)
    assert caught.value.intent == intent
    assert await balance(shell, accounts) == 10
    results = await shell.call("resume", Intent.from_bytes(intent.to_bytes()))
    assert [result.replayed for result in results] == [True] * 10 + [False] * 15
    assert await balance(shell, accounts) == 25


async def test_at_the_deadline_every_group_is_fenced(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts
) -> None:
    """Nothing of the batch arrived until its deadline; then it is asked what became of it."""
    settings = ClientSettings(attempt_seconds=0.5, deadline_seconds=0.6, fence_seconds=60)
    network.meets = lambda seen: seen.path.endswith("/batch") and not network.to("/fence")
    network.then = Fault.SILENCE
    shell = make_shell(settings=settings)
    group = [item(accounts, 1, group="g"), item(accounts, 1, group="g")]
    first, second, third = await shell.call("batch", [item(accounts, 1), *group])
    assert isinstance(first.error, KeyFencedError)
    assert {type(second.error), type(third.error)} == {KeyFencedError, BatchRejectedError}
    assert len({seen.path for seen in network.to("/fence")}) == 2
    assert await balance(shell, accounts) == 0


def test_groups_stay_whole_and_in_the_place_of_their_first_item() -> None:
    accounts = Accounts(UUID(int=1), UUID(int=2))
    names = [None, "a", None, "b", "a", None, "b", "b"]
    items = [item(accounts, 1, group=name) for name in names]
    groups = groups_of(items, atomic=False)
    assert groups == [[0], [1, 4], [2], [3, 6, 7], [5]]
    assert list(chunks(groups, 3)) == [[0, 1, 4], [2], [3, 6, 7], [5]]
    assert list(chunks(groups, 4)) == [[0, 1, 2, 4], [3, 5, 6, 7]]
    assert groups_of(items, atomic=True) == [list(range(8))]


def test_what_no_request_could_have_is_not_taken() -> None:
    accounts = Accounts(UUID(int=1), UUID(int=2))
    one, intents = item(accounts, 1), Intents("main")
    for items, mode in (([one, one], "independent"), ([], "independent"), ([item(accounts, 1, group="g")], "atomic")):
        with pytest.raises(IntentError):
            intents.batch(items, mode=mode)  # type: ignore[arg-type]
    with pytest.raises(IntentError):
        intents.batch([item(accounts, 0)])
    many = [msgspec.structs.replace(one, idempotency_key=str(key)) for key in range(ITEMS_MAX + 1)]
    with pytest.raises(IntentError):
        intents.batch(many, mode="atomic")
    assert len(intents.batch(many).items) == ITEMS_MAX + 1


def answered(*results: dict[str, Any]) -> Answer:
    told = [{"idempotency_key": "k", "status": 1, "replayed": False} | result for result in results]
    return Answer(status=207, body=msgspec.json.encode({"posted": 0, "rejected": 1, "results": told}))


def rejected(code: str, **members: Any) -> dict[str, Any]:
    return {"problem": msgspec.json.decode(problem(code, 422, **members).body)}


def test_an_unknown_code_of_an_item_has_a_type() -> None:
    [result] = read_results(answered(rejected("moon_in_the_wrong_phase")))
    assert isinstance(result.error, OtherProblemError)


def test_what_is_rejected_for_now_is_sent_again() -> None:
    clock = {"last_change": "2026-11-28T00:00:09Z", "clock": "2026-11-28T00:00:00Z", "ahead_seconds": 9.0}
    behind = rejected("clock_behind", retryable=True, **clock)
    intent = Intents("main").batch([item(Accounts(UUID(int=1), UUID(int=2)), 5)])
    course = intent.course(conditions(Clock(), ClientSettings()), in_doubt=False)
    first = course.send(None)
    course.send(answered(behind))
    again = course.send(None)
    assert isinstance(first, Send)
    assert isinstance(again, Send)
    assert first.request == again.request
    with pytest.raises(StopIteration) as end:
        course.send(answered({"transfer": TRANSFER}))
    assert end.value.value[0].transfer.amount == 5

    time = Clock()
    course = intent.course(conditions(time, ClientSettings()), in_doubt=False)
    course.send(None)
    time.seconds += 60  # it stays so until the deadline
    with pytest.raises(StopIteration) as end:
        course.send(answered(behind))
    assert isinstance(end.value.value[0].error, ClockBehindError)


@pytest.mark.parametrize("told", ["internal_error", "debit_not_allowed"])
def test_what_is_not_remembered_of_an_item_says_nothing_of_the_request_before_it(told: str) -> None:
    """The first request may still be on its way, and the second one's rejection is not remembered."""
    item_id = {"account_id": str(UUID(int=1))} if told == "debit_not_allowed" else {}
    for answer in (answered(rejected(told, **item_id)), whole(told, **item_id)):
        mode = "independent" if answer.status == 207 else "atomic"
        intent = Intents("main").batch([item(Accounts(UUID(int=1), UUID(int=2)), 5)], mode=mode)  # type: ignore[arg-type]
        course = intent.course(conditions(Clock(), ClientSettings()), in_doubt=True)
        course.send(None)
        fence = course.send(answer)
        assert isinstance(fence, Send)
        assert fence.request.path.endswith("/fence")


def whole(code: str, **members: Any) -> Answer:
    result = {"idempotency_key": "k", "status": 1, "replayed": False} | rejected(code, **members)
    return problem("batch_rejected", 422, posted=0, rejected=1, results=[result])
