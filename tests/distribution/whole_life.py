"""The whole life of a ledger over HTTP: all that can be done in it and read of it, each kind once."""

import asyncio
from datetime import datetime
from typing import Any

from tests.api.moves import capture, freed, open_hold, read_key, reverse, void
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, problem, unique
from tests.support.log import latest_checkpoint, sealed
from tests.support.other_session import wait_until

EVER = {"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


async def whole_life(ledger: LedgerClient) -> None:
    """Do all that can be done in ``ledger``, which is new, and read all that can be read. The service must seal and
    verify it.
    """
    cash = await ledger.account(normal_side="debit", code="1000:cash", reference="cash")
    payer = await ledger.account(minimum_balance=0, code="2000:payer", reference="payer", name="Payer")
    payee = await ledger.account(code="2000:payee", reference="payee")
    deposit = await ledger.move(cash, payer, 1_000, reference="deposit 1", description="a deposit")
    await _refuse(ledger, cash, payer, payee)
    await _hold(ledger, payer, payee)
    await reverse(ledger, await ledger.move(payer, payee, 50, metadata={"order": "1"}), amount=20)
    await _batches(ledger, payer, payee)
    await _close(ledger, cash, payer)
    revised = await ledger.revise(payer, name="Payer, revised")
    assert revised.status_code == 200, revised.text
    await _lists(ledger, payer, payee, deposit)
    await _balances(ledger, payer)
    await _follow(ledger, payer, payee)
    await _proofs(ledger, deposit)
    await _verified(ledger)


async def _refuse(ledger: LedgerClient, cash: JSON, payer: JSON, payee: JSON) -> None:
    """What is rejected or known already: references, keys, room, a name that is taken."""
    key = unique("key")
    assert (await ledger.post(payer, payee, key, amount=5_000)).json()["code"] == "insufficient_funds"
    assert (await ledger.post(payer, payee, key, amount=5_000)).headers["idempotency-replayed"] == "true"
    taken = await ledger.client.post(ledger.accounts, json={"currency": "USD", "reference": "cash"}, headers=keyed())
    problem(taken, 409, "reference_taken")
    taken = await ledger.client.post("/v1/ledgers", json={"name": ledger.name}, headers=keyed())
    problem(taken, 409, "reference_taken")
    key = unique("key")
    fenced = await ledger.client.post(f"{ledger.path}/idempotency-keys/{key}/fence")
    assert fenced.status_code == 200, fenced.text
    assert (await read_key(ledger, key))["outcome"] == "fenced"
    unknown = await ledger.post(cash, {"id": "00000000-0000-7000-8000-000000000000"})
    assert unknown.status_code == 404 or unknown.json()["code"] == "account_not_found", unknown.text


async def _hold(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """Every end of a hold, the sweeper's among them, and what makes room itself."""
    for amount in (100, 60):
        hold = await open_hold(ledger, payer, payee, amount)
        await capture(ledger, hold, amount=20, final=False)
        await capture(ledger, hold, amount=10)
    await void(ledger, await open_hold(ledger, payer, payee, 30))
    short = await open_hold(ledger, payer, payee, 40, expires_in_seconds=1)
    assert (await freed(ledger, short))["status"] == "expired"
    await open_hold(ledger, payer, payee, 5)
    too_much = await ledger.post(payer, payee, amount=100_000)
    problem(too_much, 422, "insufficient_funds")


async def _batches(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    items = [item(payer, payee) for _ in range(20)]
    for members in ({}, {"mode": "atomic"}):
        response = await ledger.batch(*[item(payer, payee) for _ in range(20)], **members)
        assert response.is_success, response.text
    foretold = await ledger.client.post(ledger.batches, json={"transfers": items}, params={"dry_run": "true"})
    assert foretold.is_success, foretold.text


async def _close(ledger: LedgerClient, cash: JSON, payer: JSON) -> None:
    body = {"closed_until": "2001-01-01T00:00:00Z", "late_entries": "reject"}
    closed = await ledger.client.post(f"{ledger.path}/closings", json=body, headers=keyed())
    assert closed.status_code == 201, closed.text
    yesterday = datetime.fromisoformat(answer(closed)["created_at"]).replace(hour=0, minute=0, second=0, microsecond=0)
    await ledger.move(cash, payer, 7, effective_at=yesterday.isoformat())


async def _lists(ledger: LedgerClient, payer: JSON, payee: JSON, deposit: JSON) -> None:
    own, other = f"account_id={payer['id']}", f"counterparty_id={payee['id']}"
    now = deposit["created_at"].replace("+00:00", "Z")
    changes = f"as_of=2100-01-01T00:00:00Z&known_from={now}"
    await read(
        ledger,
        "",
        "/accounts?currency=USD",
        "/accounts?status=open&code=2000",
        "/accounts?code=2000&currency=USD&limit=1",
        "/accounts?reference=payer",
        f"/accounts/{payer['id']}",
        f"/accounts/{payer['id']}/history",
        f"/accounts/{payer['id']}/changes?{changes}",
        f"/changes?{changes}",
        "/transfers",
        f"/transfers?{own}",
        f"/transfers?{own}&{other}&amount_min=1",
        "/transfers?reference=deposit%201",
        "/transfers?reference_prefix=dep",
        "/transfers?debit_account_reference=payer&limit=100",
        "/transfers?effective_from=2000-01-01T00:00:00Z&effective_to=2100-01-01T00:00:00Z",
        f"/transfers/{deposit['id']}",
        "/holds",
        f"/holds?{own}&status=open",
        "/closings",
        "/codes",
        "/decisions?outcome=rejected",
        f"/decisions?outcome=rejected&{own}",
        "/overview",
        "/integrity",
        "/events?limit=100",
    )


async def _balances(ledger: LedgerClient, payer: JSON) -> None:
    past = {"as_of": "2020-01-01T00:00:00Z"}
    for query in ({}, past, {"known_at": payer["created_at"]}):
        await read(ledger, f"/accounts/{payer['id']}/balance", **query)
        asked = await ledger.client.post(f"{ledger.path}/balances/query", json={"account_ids": [payer["id"]]} | query)
        assert asked.status_code == 200, asked.text
    for axis in ("recorded", "value"):
        await read(ledger, f"/accounts/{payer['id']}/statement", axis=axis, **EVER)
    await read(ledger, f"/accounts/{payer['id']}/statement", format="camt053", **EVER)
    trial = answer(await read(ledger, "/trial-balance"))
    await read(ledger, "/trial-balance", format="csv")
    await read(ledger, "/balances/by-code", code="2000")
    assert trial["items"]


async def _follow(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """An event is waited for, and comes."""
    last = answer(await read(ledger, "/events", limit=1_000))["items"][-1]["id"]
    following = asyncio.create_task(read(ledger, "/events", after=last, wait_seconds=30))
    await asyncio.sleep(0)
    posted = await ledger.move(payer, payee)
    assert [event["id"] for event in answer(await following)["items"]] == [posted["id"]]


async def _proofs(ledger: LedgerClient, deposit: JSON) -> None:
    """The sealer's work: the checkpoint of all that was done, the receipt of a transfer."""
    await sealed(ledger, f"/transfers/{deposit['id']}/receipt")
    size = int((await latest_checkpoint(ledger, size=50)).split("\n")[1])
    await read(ledger, "/log/consistency", **{"from": 1, "to": size})
    await read(ledger, "/log/entries", **{"from": 0})
    await read(ledger, "/log/key")


async def _verified(ledger: LedgerClient) -> None:
    """The verifier's work: a pass of the whole ledger that found nothing."""

    async def has_ended() -> bool:
        return answer(await read(ledger, "/integrity"))["complete"] is not None

    await wait_until(has_ended)
    told = answer(await read(ledger, "/integrity"))
    assert (told["sound"], told["money_conserved"], told["findings"]) == (True, True, [])


async def read(ledger: LedgerClient, *paths: str, **query: Any) -> Any:
    """Read each of ``paths`` below the ledger, and return the last answer."""
    response = None
    for path in paths:
        response = await ledger.client.get(f"{ledger.path}{path}", params=query or None)
        assert response.status_code == 200, (path, response.text)
    return response
