"""Accounts opened by many at once, and revised while their money moves."""

import asyncio
from itertools import cycle
from typing import Any
from uuid import uuid4

import asyncpg

from tests.support.bank import open_bank, open_ledger
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.socket_client import Answer, Client

SENDERS = 50


async def _open_at_once(
    clients: tuple[Client, Client], ledger: str, requests: list[tuple[str, dict[str, Any]]]
) -> list[Answer]:
    path = f"/v1/ledgers/{ledger}/accounts"
    calls = [
        client.call("POST", path, {"currency": "USD"} | body, key=key)
        for (key, body), client in zip(requests, cycle(clients), strict=False)
    ]
    return await asyncio.gather(*calls)


async def _accounts_in(url: str, ledger: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(
            await connection.fetchval(
                "SELECT count(*) FROM funds.accounts AS account JOIN funds.ledgers AS ledger"
                " ON ledger.id = account.ledger_id WHERE ledger.name = $1",
                ledger,
            )
        )
    finally:
        await connection.close()


async def test_concurrent_duplicates_open_one_account(clients: tuple[Client, Client], shared_database_url: str) -> None:
    ledger = await open_ledger(clients[0])
    request: tuple[str, dict[str, Any]] = (str(uuid4()), {"reference": "salary", "minimum_balance": 0})

    answers = await _open_at_once(clients, ledger, [request] * SENDERS)

    assert {answer.status for answer in answers} == {201}
    assert sum(not answer.replayed for answer in answers) == 1
    assert all(answer.content == answers[0].content for answer in answers)
    assert await _accounts_in(shared_database_url, ledger) == 1
    await assert_ledger_is_sound(shared_database_url, ledgers=[ledger])


async def test_of_different_accounts_under_one_key_one_wins(
    clients: tuple[Client, Client], shared_database_url: str
) -> None:
    ledger = await open_ledger(clients[0])
    key = str(uuid4())

    answers = await _open_at_once(clients, ledger, [(key, {"name": str(number)}) for number in range(SENDERS)])

    outcomes = [(answer.status, answer.content.get("code")) for answer in answers]
    assert outcomes.count((201, None)) == 1
    assert outcomes.count((422, "idempotency_key_reused")) == SENDERS - 1
    assert await _accounts_in(shared_database_url, ledger) == 1
    await assert_ledger_is_sound(shared_database_url, ledgers=[ledger])


async def test_a_reference_is_given_once(clients: tuple[Client, Client], shared_database_url: str) -> None:
    ledger = await open_ledger(clients[0])
    requests: list[tuple[str, dict[str, Any]]] = [(str(uuid4()), {"reference": "salary"}) for _ in range(SENDERS)]

    answers = await _open_at_once(clients, ledger, requests)

    outcomes = [(answer.status, answer.content.get("code")) for answer in answers]
    assert outcomes.count((201, None)) == 1
    assert outcomes.count((409, "reference_taken")) == SENDERS - 1
    again = await _open_at_once(clients, ledger, requests)
    assert [answer.content for answer in again] == [answer.content for answer in answers]
    assert all(answer.replayed for answer in again)
    assert await _accounts_in(shared_database_url, ledger) == 1
    await assert_ledger_is_sound(shared_database_url, ledgers=[ledger])


async def test_of_two_revisions_of_one_state_one_wins(clients: tuple[Client, Client], journal: Journal) -> None:
    bank = await open_bank(clients[0], journal, customers=1)
    path = f"/v1/ledgers/{bank.ledger}/accounts/{bank.customers[0]}"
    tag = (await clients[0].call("GET", path)).headers["etag"]
    for round_number in range(15):
        names = [f"{round_number} {number}" for number in range(4)]
        answers = await asyncio.gather(
            *(
                client.call("PATCH", path, {"name": name}, if_match=tag)
                for name, client in zip(names, cycle(clients), strict=False)
            )
        )
        statuses = [answer.status for answer in answers]
        assert sorted(statuses) == [200, 412, 412, 412]
        tag = answers[statuses.index(200)].headers["etag"]
        now = await clients[1].call("GET", path)
        assert (now.content["name"], now.headers["etag"]) == (names[statuses.index(200)], tag)
