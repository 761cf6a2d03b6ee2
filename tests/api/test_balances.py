"""Balances at a time: as of any value date, as they were known at any time."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import pytest

from tests.api.busy import RawRows, make_busy
from tests.api.conftest import MakeClient
from tests.api.moves import capture, funded, open_hold
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, pointers, problem

NOBODY = "01a20a35-341b-7347-8000-3bbd727d10c1"


async def read_balance(ledger: LedgerClient, account: JSON, **query: Any) -> JSON:
    response = await ledger.client.get(f"{ledger.accounts}/{account['id']}/balance", params=query)
    assert response.status_code == 200, response.text
    return answer(response)


async def query(ledger: LedgerClient, account_ids: list[str], **members: Any) -> httpx.Response:
    return await ledger.client.post(f"{ledger.path}/balances/query", json={"account_ids": account_ids} | members)


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_balance_is_what_the_raw_rows_add_up_to(
    ledger: LedgerClient, application: Application, seed: int
) -> None:
    chance = Random(seed)
    accounts = await make_busy(ledger, application.database, chance, 40)
    rows = await RawRows.read(ledger, application.database)
    latest = (await read_balance(ledger, accounts[0]))["known_at"]
    for as_of, asked in zip(rows.times(chance, 150), rows.times(chance, 150), strict=True):
        known_at = min(asked, datetime.fromisoformat(latest))
        account = chance.choice(accounts)
        found = await read_balance(ledger, account, as_of=as_of.isoformat(), known_at=known_at.isoformat())
        balance, held = rows.balance(account, as_of, known_at), rows.held(account, known_at)
        assert found == {
            "account_id": account["id"],
            "ledger": ledger.name,
            "currency": "USD",
            "normal_side": account["normal_side"],
            "as_of": found["as_of"],
            "known_at": found["known_at"],
            "balance": balance,
            "debits_held": held[0],
            "credits_held": held[1],
            "available_balance": balance - held[account["normal_side"] == "debit"],
            "version": rows.version(account, known_at),
        }
        assert datetime.fromisoformat(found["as_of"]) == as_of
        assert datetime.fromisoformat(found["known_at"]) == known_at
        [other, same] = answer(
            await query(
                ledger,
                [accounts[0]["id"], account["id"]],
                as_of=as_of.isoformat(),
                known_at=known_at.isoformat(),
            )
        )["items"]
        assert same == found
        assert other["balance"] == rows.balance(accounts[0], as_of, known_at)


async def test_without_times_it_is_what_the_account_shows(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    await ledger.move(payer, payee, 30)
    await open_hold(ledger, payer, payee, 5)
    found, shown = await read_balance(ledger, payer), await ledger.read_account(payer)
    for name in ("balance", "debits_held", "credits_held", "available_balance", "version"):
        assert found[name] == shown[name]
    assert found["known_at"] == shown["updated_at"], "nothing was recorded since"
    assert found["as_of"] >= found["known_at"]


async def test_what_is_dated_ahead_counts_from_its_day_on(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await ledger.move(payer, payee, 30, effective_at=tomorrow.isoformat())
    assert (await read_balance(ledger, payee))["balance"] == 0
    before = tomorrow - timedelta(microseconds=1)
    assert (await read_balance(ledger, payee, as_of=before.isoformat()))["balance"] == 0
    assert (await read_balance(ledger, payee, as_of=tomorrow.isoformat()))["balance"] == 30
    assert (await read_balance(ledger, payee, as_of="9999-12-31T23:59:59.999999Z"))["balance"] == 30
    assert (await ledger.read_account(payee))["balance"] == 30


async def test_an_answer_is_the_same_for_ever(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 20)
    first = await read_balance(ledger, payer)
    times = {"as_of": first["as_of"], "known_at": first["known_at"]}
    await capture(ledger, hold, amount=7)
    await ledger.move(payer, payee, 50, effective_at=payer["created_at"])
    assert await read_balance(ledger, payer, **times) == first


async def test_before_it_was_opened_an_account_has_nothing(ledger: LedgerClient, payer: JSON) -> None:
    for known_at in ("0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2020-01-01T00:00:00Z"):
        found = await read_balance(ledger, payer, known_at=known_at)
        assert (found["balance"], found["version"], found["known_at"]) == (0, 0, known_at)
        assert (await read_balance(ledger, payer, as_of=known_at))["balance"] == 0


async def test_what_will_be_known_is_not_told(ledger: LedgerClient, payer: JSON) -> None:
    ahead = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    response = await ledger.client.get(f"{ledger.accounts}/{payer['id']}/balance", params={"known_at": ahead})
    assert pointers(response) == ["/query/known_at"]
    assert pointers(await query(ledger, [payer["id"]], known_at=ahead)) == ["/known_at"]


async def test_balances_come_in_the_order_of_the_request(ledger: LedgerClient) -> None:
    accounts = [await funded(ledger, amount) for amount in (3, 1, 2)]
    asked = [accounts[n]["id"] for n in (2, 0, 1, 0)]
    items = answer(await query(ledger, asked))["items"]
    assert [one["account_id"] for one in items] == asked
    assert [one["balance"] for one in items] == [2, 3, 1, 3]
    assert len({(one["as_of"], one["known_at"]) for one in items}) == 1


async def test_an_unknown_account_is_named(ledger: LedgerClient, payer: JSON) -> None:
    refused = problem(await query(ledger, [payer["id"], NOBODY]), 404, "account_not_found")
    assert refused["account_id"] == NOBODY
    response = await ledger.client.get(f"{ledger.accounts}/{NOBODY}/balance")
    problem(response, 404, "account_not_found")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"account_ids": []}, "/account_ids"),
        ({"account_ids": [NOBODY] * 1_001}, "/account_ids"),
        ({"account_ids": ["cash"]}, "/account_ids/0"),
        ({"account_ids": [NOBODY], "as_of": "yesterday"}, "/as_of"),
        ({"account_ids": [NOBODY], "as_of": "0001-01-01T00:00:00+14:00"}, "/as_of"),
        ({"account_ids": [NOBODY], "limit": 1}, "/limit"),
        ({}, ""),
    ],
)
async def test_what_is_wrong_is_named(ledger: LedgerClient, body: JSON, pointer: str) -> None:
    assert pointers(await ledger.client.post(f"{ledger.path}/balances/query", json=body)) == [pointer]


async def test_reading_is_enough(ledger: LedgerClient, payer: JSON, make_client: MakeClient) -> None:
    reading = ledger.seen_by(await make_client("read"))
    assert (await query(reading, [payer["id"]])).status_code == 200
    writing = ledger.seen_by(await make_client("transfers:write"))
    problem(await query(writing, [payer["id"]]), 403, "forbidden")


async def test_balances_of_one_time_add_up_while_others_write(ledger: LedgerClient) -> None:
    """One side is credit-normal and the other debit-normal: both always have the same balance."""
    deposits, cash = await ledger.account(), await ledger.account(normal_side="debit")

    async def write() -> None:
        for amount in range(1, 40):
            await ledger.move(cash, deposits, amount)

    writers = [asyncio.create_task(write()) for _ in range(3)]
    seen = []
    while not all(writer.done() for writer in writers):
        one, other = answer(await query(ledger, [deposits["id"], cash["id"]]))["items"]
        assert one["balance"] == other["balance"]
        seen.append((one["known_at"], one["as_of"], one["balance"]))
    for known_at, as_of, balance in seen:
        again = await read_balance(ledger, deposits, known_at=known_at, as_of=as_of)
        assert again["balance"] == balance
