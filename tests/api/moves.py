"""Requests over HTTP that move or reserve money, except transfers: holds and reversals; and reads of keys."""

from typing import Any
from urllib.parse import quote

import asyncpg
import httpx

from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, transfer
from tests.support.other_session import expire_now, wait_until
from tests.support.servers import TestDatabase


async def funded(ledger: LedgerClient, amount: int, **members: Any) -> JSON:
    """Open an account that has ``amount`` and may not overdraw, if ``members`` say nothing else."""
    account = await ledger.account(**({"minimum_balance": 0} | members))
    if amount:
        await ledger.move(await ledger.account(), account, amount)
    return await ledger.read_account(account)


async def post_hold(
    ledger: LedgerClient, debit: JSON, credit: JSON, key: str | None = None, **members: Any
) -> httpx.Response:
    """Send the request for a hold of 1 USD cent, if ``members`` say nothing else."""
    return await ledger.client.post(f"{ledger.path}/holds", json=transfer(debit, credit, **members), headers=keyed(key))


async def open_hold(ledger: LedgerClient, debit: JSON, credit: JSON, amount: int = 1, **members: Any) -> JSON:
    """Open a hold and return it."""
    response = await post_hold(ledger, debit, credit, amount=amount, **members)
    assert response.status_code == 201, response.text
    return answer(response)


async def post_capture(ledger: LedgerClient, hold: JSON, key: str | None = None, **members: Any) -> httpx.Response:
    """Send the request for a capture; without ``members``, of all of the hold."""
    path = f"{ledger.path}/holds/{hold['id']}/captures"
    return await ledger.client.post(path, json=members, headers=keyed(key))


async def capture(ledger: LedgerClient, hold: JSON, **members: Any) -> JSON:
    """Capture a hold and return the transfer."""
    response = await post_capture(ledger, hold, **members)
    assert response.status_code == 201, response.text
    return answer(response)


async def post_void(ledger: LedgerClient, hold: JSON, key: str | None = None) -> httpx.Response:
    """Send the request to void a hold."""
    return await ledger.client.post(f"{ledger.path}/holds/{hold['id']}/void", headers=keyed(key))


async def void(ledger: LedgerClient, hold: JSON) -> JSON:
    """Void a hold and return it."""
    response = await post_void(ledger, hold)
    assert response.status_code == 200, response.text
    return answer(response)


async def expire(ledger: LedgerClient, database: TestDatabase, hold: JSON) -> JSON:
    """Set the expiry of a hold to the present time of the database's clock, and return the hold as it is then."""
    await expire_now(database.superuser_url, [hold["id"]])
    return await read_hold(ledger, hold)


async def begin_earlier(ledger: LedgerClient, database: TestDatabase, days: int) -> None:
    """Move all times in the ledger ``days`` days back: of accounts, holds and value dates."""
    connection = await asyncpg.connect(database.superuser_url)
    columns = {"accounts": "created_at", "holds": "created_at", "transfers": "effective_at"}
    try:
        for table, column in columns.items():
            await connection.execute(
                f"UPDATE funds.{table} SET {column} = {column} - $2 * interval '1 day'"
                " WHERE ledger_id = (SELECT id FROM funds.ledgers WHERE name = $1)",
                ledger.name,
                days,
            )
    finally:
        await connection.close()


async def freed(ledger: LedgerClient, hold: JSON) -> JSON:
    """Wait until the hold has ended, and return it."""

    async def is_closed() -> bool:
        return bool((await read_hold(ledger, hold))["status"] != "open")

    await wait_until(is_closed)
    return await read_hold(ledger, hold)


async def read_hold(ledger: LedgerClient, hold: JSON) -> JSON:
    """Return the hold as it is now."""
    response = await ledger.client.get(f"{ledger.path}/holds/{hold['id']}")
    assert response.status_code == 200, response.text
    return answer(response)


async def post_reversal(ledger: LedgerClient, posted: JSON, key: str | None = None, **members: Any) -> httpx.Response:
    """Send the request for a reversal; without ``members``, of the whole transfer."""
    path = f"{ledger.transfers}/{posted['id']}/reversals"
    return await ledger.client.post(path, json=members, headers=keyed(key))


async def reverse(ledger: LedgerClient, posted: JSON, **members: Any) -> JSON:
    """Reverse a transfer and return the reversal."""
    response = await post_reversal(ledger, posted, **members)
    assert response.status_code == 201, response.text
    return answer(response)


def key_path(ledger: LedgerClient, key: str) -> str:
    """Return where the key's outcome is read."""
    return f"{ledger.path}/idempotency-keys/{quote(key, safe='')}"


async def read_key(ledger: LedgerClient, key: str) -> JSON:
    """Return what became of the key."""
    response = await ledger.client.get(key_path(ledger, key))
    assert response.status_code == 200, response.text
    return answer(response)


async def fence(ledger: LedgerClient, key: str) -> JSON:
    """Make the key unusable, if it is not used, and return what became of it."""
    response = await ledger.client.post(f"{key_path(ledger, key)}/fence")
    assert response.status_code == 200, response.text
    return answer(response)


def held(account: JSON) -> tuple[int, int, int, int]:
    """Return balance, available balance, debits held and credits held of the account."""
    return account["balance"], account["available_balance"], account["debits_held"], account["credits_held"]
