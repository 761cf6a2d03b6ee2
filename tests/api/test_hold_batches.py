"""Holds in batches: opened in their place, alone, in groups or all together."""

import pytest

from tests.api.moves import capture, funded, held, open_hold, post_hold, read_hold
from tests.support.http_ledger import JSON, LedgerClient, answer, item, pointers, problem, transfer

NEW_YEAR = "2030-01-01T00:00:00Z"


def hold_item(debit: JSON, credit: JSON, key: str | None = None, **members: object) -> JSON:
    return item(debit, credit, key, hold={}, **members)


def _codes(batch: JSON) -> list[str | None]:
    return [one.get("problem", {}).get("code") for one in batch["results"]]


async def test_holds_are_opened_among_transfers(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    members: JSON = {"reference": "r", "description": "d", "metadata": {"k": "v"}}
    response = await ledger.batch(
        item(payer, payee, amount=30),
        item(payer, payee, amount=60, hold={"expires_in_seconds": 60}, **members),
        item(payer, payee, amount=20),
        hold_item(payer, payee, amount=10),
    )
    assert response.status_code == 207
    batch = answer(response)
    assert (batch["posted"], batch["rejected"]) == (3, 1)
    assert _codes(batch) == [None, None, "insufficient_funds", None]
    assert batch["results"][2]["problem"]["held"] == 60
    first, second = (batch["results"][index]["hold"] for index in (1, 3))
    assert first == first | members | {"amount": 60, "status": "open", "group_id": None}
    assert await read_hold(ledger, first) == first
    assert await read_hold(ledger, second) == second
    assert held(await ledger.read_account(payer)) == (70, 0, 70, 0)
    await capture(ledger, first)


@pytest.mark.parametrize("together", ["group", "atomic"])
async def test_a_chain_of_a_transfer_and_a_hold(ledger: LedgerClient, payer: JSON, payee: JSON, together: str) -> None:
    """The account in the middle starts empty and may not overdraw, so the items must be applied in their order."""
    middle = await funded(ledger, 0)
    chain = [item(payer, middle, amount=50), hold_item(middle, payee, amount=50)]
    if together == "group":
        response = await ledger.batch(*(one | {"group": "chain"} for one in chain))
    else:
        response = await ledger.batch(*chain, mode="atomic")
    assert response.status_code == 201
    posted, opened = answer(response)["results"]
    assert posted["transfer"]["group_id"] == opened["hold"]["group_id"] is not None
    assert held(await ledger.read_account(middle)) == (50, 0, 50, 0)


@pytest.mark.parametrize("together", ["group", "atomic"])
async def test_a_group_that_is_rejected_reserves_nothing(
    ledger: LedgerClient, payer: JSON, payee: JSON, together: str
) -> None:
    group = [hold_item(payer, payee, amount=60), item(payer, payee, amount=20), hold_item(payer, payee, amount=30)]
    if together == "group":
        batch = answer(await ledger.batch(*(one | {"group": "g"} for one in group)))
    else:
        batch = problem(await ledger.batch(*group, mode="atomic"), 422, "batch_rejected")
    assert _codes(batch) == ["batch_rejected", "batch_rejected", "insufficient_funds"]
    assert batch["results"][2]["problem"]["available_balance"] == 20, "as it was when its turn came"
    assert await ledger.read_account(payer) == payer
    assert answer(await ledger.client.get(f"{ledger.path}/holds"))["items"] == []


async def test_an_item_replays_its_hold_as_it_was_opened(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    items = [hold_item(payer, payee, amount=30), item(payer, payee)]
    first = answer(await ledger.batch(*items))
    await capture(ledger, first["results"][0]["hold"])
    again = answer(await ledger.batch(*items))
    assert [one["replayed"] for one in again["results"]] == [True, True]
    assert [one | {"replayed": False} for one in again["results"]] == first["results"]


async def test_an_item_and_a_single_hold_share_their_key(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 10, key="key")
    [same] = answer(await ledger.batch(hold_item(payer, payee, "key", amount=10)))["results"]
    assert (same["replayed"], same["hold"]) == (True, hold)
    [other] = answer(await ledger.batch(item(payer, payee, "key", amount=10)))["results"]
    assert other["problem"]["code"] == "idempotency_key_reused"
    single = await post_hold(ledger, payer, payee, "key", amount=10)
    assert single.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"amount": {"at_most": 5}}, "/transfers/1/amount"),
        ({"effective_at": NEW_YEAR}, "/transfers/1/effective_at"),
        ({"hold": {"expires_in_seconds": 0}}, "/transfers/1/hold/expires_in_seconds"),
        (
            {"hold": {"expires_in_seconds": 1, "expires_at": "2030-01-01T00:00:00Z"}},
            "/transfers/1/hold/expires_in_seconds",
        ),
        ({"hold": {"final": True}}, "/transfers/1/hold/final"),
        ({"hold": True}, "/transfers/1/hold"),
    ],
)
async def test_a_malformed_item(ledger: LedgerClient, payer: JSON, payee: JSON, members: JSON, pointer: str) -> None:
    """Nothing of its batch is applied."""
    response = await ledger.batch(item(payer, payee), hold_item(payer, payee) | members)
    assert pointers(response) == [pointer]
    assert await ledger.read_account(payer) == payer


async def test_a_single_transfer_is_no_hold(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    assert pointers(await ledger.post(payer, payee, hold={})) == ["/hold"]
    assert "hold" not in transfer(payer, payee)
