"""Batch requests: an answer for every item, groups that apply together, replay of the whole and of parts, bounds."""

import asyncio
from uuid import uuid4

import pytest

from tests.api.conftest import MakeClient
from tests.api.moves import read_key
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, pointers, problem, unique


@pytest.fixture
async def payer(ledger: LedgerClient) -> JSON:
    """An account that can pay 10."""
    payer = await ledger.account(minimum_balance=0)
    await ledger.move(await ledger.account(), payer, 10)
    return payer


def _codes(batch: JSON) -> list[str | int]:
    """What became of each item: its status, or the code of its problem."""
    return [one["problem"]["code"] if "problem" in one else one["status"] for one in batch["results"]]


async def test_every_item_gets_the_answer_of_a_request_of_its_own(
    ledger: LedgerClient, payer: JSON, payee: JSON
) -> None:
    items = [item(payer, payee, amount=2, reference="first", metadata={"k": "v"}), item(payer, payee, amount=3)]
    response = await ledger.batch(*items)
    assert response.status_code == 201
    batch = answer(response)
    assert (batch["posted"], batch["rejected"]) == (2, 0)
    for sent, result in zip(items, batch["results"], strict=True):
        assert (result["idempotency_key"], result["status"], result["replayed"]) == (
            sent["idempotency_key"],
            201,
            False,
        )
        read = answer(await ledger.client.get(f"{ledger.transfers}/{result['transfer']['id']}"))
        assert read == result["transfer"]
        assert read["amount"] == sent["amount"]
        assert read["group_id"] is None
    assert (await ledger.read_account(payer))["balance"] == 5


async def test_items_apply_in_their_order_and_see_each_other(ledger: LedgerClient, payee: JSON) -> None:
    poor = await ledger.account(minimum_balance=0)
    response = await ledger.batch(item(poor, payee), item(payee, poor), item(poor, payee))
    assert response.status_code == 207
    assert _codes(answer(response)) == ["insufficient_funds", 201, 201]


async def test_a_rejected_item_affects_no_other(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    response = await ledger.batch(
        item(payer, payee, amount=4),
        item(payer, payee, amount=7),
        item(payer, {"id": str(uuid4())}),
        item(payer, payer),
        item(payer, payee, currency="XXX"),
        item(payer, payee, amount=6),
    )
    assert response.status_code == 207
    batch = answer(response)
    expected = [201, "insufficient_funds", "account_not_found", "same_account", "currency_mismatch", 201]
    assert _codes(batch) == expected
    assert (batch["posted"], batch["rejected"]) == (2, 4)
    assert [one["status"] for one in batch["results"]] == [201, 422, 404, 422, 422, 201]
    refused = batch["results"][1]["problem"]
    explanation = {"account_id": payer["id"], "available_balance": 6, "shortfall": 1, "status": 422, "retryable": False}
    assert refused | explanation == refused
    assert refused["instance"] == ledger.batches
    assert refused["type"] == "/problems/insufficient_funds"
    assert (await ledger.read_account(payer))["balance"] == 0


async def test_a_batch_of_rejections_only(ledger: LedgerClient, payee: JSON) -> None:
    response = await ledger.batch(item(payee, payee), item(payee, payee))
    assert response.status_code == 207
    assert (answer(response)["posted"], answer(response)["rejected"]) == (0, 2)


async def test_an_atomic_batch_applies_whole(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    response = await ledger.batch(item(payer, payee, amount=4), item(payee, payer), mode="atomic")
    assert response.status_code == 201
    results = answer(response)["results"]
    assert len({one["transfer"]["group_id"] for one in results}) == 1
    assert results[0]["transfer"]["group_id"] is not None
    assert (await ledger.read_account(payee))["balance"] == 3


async def test_an_atomic_batch_applies_not_at_all(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    items = [item(payer, payee, amount=4), item(payer, payee, amount=7), item(payer, payee)]
    response = await ledger.batch(*items, mode="atomic")
    refused = problem(response, 422, "batch_rejected")
    assert (refused["posted"], refused["rejected"], refused["outcome"]) == (0, 3, "not_applied")
    assert _codes(refused) == ["batch_rejected", "insufficient_funds", "batch_rejected"]
    for other in (refused["results"][0], refused["results"][2]):
        assert other["problem"]["refused_code"] == "insufficient_funds"
        assert other["problem"]["refused_idempotency_key"] == items[1]["idempotency_key"]
    assert (await ledger.read_account(payer))["balance"] == 10
    assert (await ledger.read_account(payee))["version"] == 0


async def test_groups_apply_together_in_the_place_of_their_first_item(ledger: LedgerClient, payee: JSON) -> None:
    poor, rich = await ledger.account(minimum_balance=0), await ledger.account()
    response = await ledger.batch(
        item(rich, poor, amount=5, group="first"),
        item(poor, payee, amount=5),
        item(poor, payee, amount=5, group="first"),
        item(poor, payee, group="second"),
        item(rich, payee, group="second"),
        item(rich, payee),
    )
    assert response.status_code == 207
    batch = answer(response)
    expected = [201, "insufficient_funds", 201, "insufficient_funds", "batch_rejected", 201]
    assert _codes(batch) == expected
    groups = [one["transfer"]["group_id"] for one in batch["results"] if "transfer" in one]
    assert groups[0] == groups[1] is not None
    assert groups[2] is None


async def test_a_group_of_one_is_an_item_like_any_other(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    [result] = answer(await ledger.batch(item(payer, payee, "alone-" + payer["id"], group="alone")))["results"]
    assert result["transfer"]["group_id"] is None


async def test_an_atomic_batch_is_one_group_already(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    response = await ledger.batch(item(payer, payee), item(payer, payee, group="g"), mode="atomic")
    assert pointers(response) == ["/transfers/1/group"]
    assert (await ledger.read_account(payer))["balance"] == 10


@pytest.mark.parametrize("mode", ["independent", "atomic"])
async def test_a_batch_replays_whole(ledger: LedgerClient, payer: JSON, payee: JSON, mode: str) -> None:
    items = [item(payer, payee, amount=2) for _ in range(3)]
    first, again = [answer(await ledger.batch(*items, mode=mode)) for _ in range(2)]
    assert [one["replayed"] for one in again["results"]] == [True, True, True]
    assert [one | {"replayed": False} for one in again["results"]] == first["results"]
    assert (again["posted"], again["rejected"]) == (3, 0)
    assert (await ledger.read_account(payer))["balance"] == 4


async def test_rejections_replay_too(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    items = [item(payer, payee, amount=11), item(payer, payee, amount=10)]
    await ledger.batch(*items)
    await ledger.move(payee, payer, 10)
    response = await ledger.batch(*items)
    assert response.status_code == 207
    assert _codes(answer(response)) == ["insufficient_funds", 201]
    assert [one["replayed"] for one in answer(response)["results"]] == [True, True]


async def test_a_rejected_atomic_batch_replays_its_rejection(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    items = [item(payer, payee), item(payer, payee, amount=11)]
    first = problem(await ledger.batch(*items, mode="atomic"), 422, "batch_rejected")
    await ledger.move(payee, payer, 100)
    again = problem(await ledger.batch(*items, mode="atomic"), 422, "batch_rejected")
    assert [one["replayed"] for one in again["results"]] == [True, True]
    assert _codes(again) == _codes(first)


async def test_what_was_applied_before_replays_and_the_rest_applies(
    ledger: LedgerClient, payer: JSON, payee: JSON
) -> None:
    items = [item(payer, payee, amount=2) for _ in range(3)]
    await ledger.batch(items[1])
    response = await ledger.batch(*items)
    assert response.status_code == 201
    assert [one["replayed"] for one in answer(response)["results"]] == [False, True, False]
    assert (await ledger.read_account(payer))["balance"] == 4


async def test_an_item_and_a_single_transfer_share_their_key(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    key = unique("key")
    posted = await ledger.post(payer, payee, key, amount=2)
    [result] = answer(await ledger.batch(item(payer, payee, key, amount=2)))["results"]
    assert (result["replayed"], result["transfer"]) == (True, answer(posted))

    key = unique("key")
    [result] = answer(await ledger.batch(item(payer, payee, key)))["results"]
    replayed = await ledger.post(payer, payee, key)
    assert (replayed.headers["Idempotency-Replayed"], answer(replayed)) == ("true", result["transfer"])


@pytest.mark.parametrize("mode", ["independent", "atomic"])
@pytest.mark.parametrize("second", [{}, {"amount": 2}, {"hold": {}}])
@pytest.mark.parametrize("dry_run", ["true", "false"])
async def test_a_key_twice_in_one_batch_is_refused_with_both_places(
    ledger: LedgerClient, payer: JSON, payee: JSON, mode: str, second: JSON, dry_run: str
) -> None:
    duplicate = item(payer, payee)
    body = {"transfers": [item(payer, payee), duplicate, item(payer, payee), duplicate | second], "mode": mode}
    response = await ledger.client.post(ledger.batches, json=body, params={"dry_run": dry_run})
    assert pointers(response) == ["/transfers/1/idempotency_key", "/transfers/3/idempotency_key"]
    assert "same key" in answer(response)["detail"]
    assert (await ledger.read_account(payer))["balance"] == 10
    assert (await read_key(ledger, duplicate["idempotency_key"]))["outcome"] == "never_seen"


async def test_a_key_in_two_groups_is_refused(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    key = unique("key")
    response = await ledger.batch(
        item(payer, payee, key, group="first"),
        item(payer, payee, group="first"),
        item(payer, payee, key, group="second"),
        item(payer, payee, key, group="third"),
    )
    assert pointers(response) == ["/transfers/0/idempotency_key", "/transfers/2/idempotency_key"]


async def test_a_key_that_was_decided_in_a_group_stands_for_that_group(
    ledger: LedgerClient, payer: JSON, payee: JSON
) -> None:
    items = [item(payer, payee), item(payer, payee)]
    assert (await ledger.batch(*items, mode="atomic")).status_code == 201
    alone = await ledger.batch(items[0])
    assert _codes(answer(alone)) == ["idempotency_key_reused"]
    other_group = await ledger.batch(items[0], item(payer, payee), mode="atomic")
    assert "idempotency_key_reused" in _codes(problem(other_group, 422, "batch_rejected"))
    assert (await ledger.read_account(payer))["balance"] == 8


async def test_keys_of_a_batch_belong_to_its_client(
    ledger: LedgerClient, payer: JSON, payee: JSON, make_client: MakeClient
) -> None:
    sent = item(payer, payee)
    await ledger.batch(sent)
    other = ledger.seen_by(await make_client("transfers:write"))
    [result] = answer(await other.batch(sent))["results"]
    assert (result["replayed"], result["status"]) == (False, 201)


async def test_a_batch_needs_no_key_of_its_own_and_ignores_one(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    body = {"transfers": [item(payer, payee)]}
    for replayed in (False, True):
        response = await ledger.client.post(ledger.batches, json=body, headers=keyed())
        assert [one["replayed"] for one in answer(response)["results"]] == [replayed]


@pytest.mark.parametrize("mode", ["independent", "atomic"])
async def test_the_largest_batch_and_one_more(ledger: LedgerClient, payee: JSON, mode: str) -> None:
    source = await ledger.account()
    items = [item(source, payee, f"{mode}-{number}-{payee['id']}", amount=number + 1) for number in range(10_001)]
    assert pointers(await ledger.batch(*items, mode=mode)) == ["/transfers"]
    assert (await ledger.read_account(payee))["version"] == 0

    response = await ledger.batch(*items[:-1], mode=mode)
    assert response.status_code == 201
    batch = answer(response)
    assert batch["posted"] == 10_000
    assert [one["transfer"]["amount"] for one in batch["results"]] == list(range(1, 10_001))
    assert [one["transfer"]["credit_account_version"] for one in batch["results"]] == list(range(1, 10_001))
    assert (await ledger.read_account(payee))["balance"] == 10_000 * 10_001 // 2


async def test_single_transfers_take_their_turn_between_the_parts_of_a_large_batch(
    ledger: LedgerClient, payee: JSON
) -> None:
    source = await ledger.account()
    items = [item(source, payee) for _ in range(10_000)]
    batch = asyncio.create_task(ledger.batch(*items))
    answered = 0
    while not batch.done():
        await ledger.move(source, payee, 1)
        answered += not batch.done()
    assert (await batch).status_code == 201
    assert answered >= 3


async def test_a_batch_of_more_than_sixteen_mebibytes(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    limit = 16 * 2**20
    padding = item(payer, payee, metadata={"k": "v" * limit})
    problem(await ledger.batch(padding), 413, "request_too_large")
    assert (await ledger.read_account(payer))["balance"] == 10


async def test_one_item_that_is_no_command_refuses_the_request_before_anything_is_applied(
    ledger: LedgerClient, payer: JSON, payee: JSON
) -> None:
    """Its place in the batch does not matter: it fits the schema, and is found only when commands are made."""
    items = [item(payer, payee) for _ in range(1500)]
    wrong = item(payer, payee, effective_at="9999-12-31T23:59:59-01:00")
    response = await ledger.batch(*items, wrong)
    assert pointers(response) == ["/transfers/1500/effective_at"]
    assert (await ledger.read_account(payer))["balance"] == 10


async def test_a_ledger_that_is_not_there(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    absent = LedgerClient(ledger.client, unique("absent"))
    problem(await absent.batch(item(payer, payee)), 404, "ledger_not_found")


async def test_accounts_of_another_ledger(ledger: LedgerClient, payer: JSON) -> None:
    other = await LedgerClient.open(ledger.client, unique("other"))
    response = await ledger.batch(item(payer, await other.account()))
    assert _codes(answer(response)) == ["account_not_found"]
