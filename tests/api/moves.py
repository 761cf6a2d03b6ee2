"""What moves or may move money besides a transfer, asked for over HTTP: holds, reversals; and what became of a key."""

from typing import Any
from urllib.parse import quote

import asyncpg
import httpx

from tests.api.ledger import JSON, Book, answer, keyed, transfer
from tests.concurrency.outsider import expire_now, wait_until
from tests.servers import TestDatabase


async def funded(book: Book, amount: int, **members: Any) -> JSON:
    """Open an account that has ``amount`` and may not overdraw, if ``members`` say nothing else."""
    account = await book.account(**({"minimum_balance": 0} | members))
    if amount:
        await book.move(await book.account(), account, amount)
    return await book.read_account(account)


async def post_hold(book: Book, debit: JSON, credit: JSON, key: str | None = None, **members: Any) -> httpx.Response:
    """Ask for a hold of 1 USD cent, if ``members`` say nothing else."""
    return await book.client.post(f"{book.path}/holds", json=transfer(debit, credit, **members), headers=keyed(key))


async def open_hold(book: Book, debit: JSON, credit: JSON, amount: int = 1, **members: Any) -> JSON:
    """Open a hold and return it."""
    response = await post_hold(book, debit, credit, amount=amount, **members)
    assert response.status_code == 201, response.text
    return answer(response)


async def post_capture(book: Book, hold: JSON, key: str | None = None, **members: Any) -> httpx.Response:
    """Ask for a capture; without ``members`` for all of it."""
    path = f"{book.path}/holds/{hold['id']}/captures"
    return await book.client.post(path, json=members, headers=keyed(key))


async def capture(book: Book, hold: JSON, **members: Any) -> JSON:
    """Capture a hold and return the transfer."""
    response = await post_capture(book, hold, **members)
    assert response.status_code == 201, response.text
    return answer(response)


async def post_void(book: Book, hold: JSON, key: str | None = None) -> httpx.Response:
    """Ask for the end of a hold."""
    return await book.client.post(f"{book.path}/holds/{hold['id']}/void", headers=keyed(key))


async def void(book: Book, hold: JSON) -> JSON:
    """Void a hold and return it."""
    response = await post_void(book, hold)
    assert response.status_code == 200, response.text
    return answer(response)


async def expire(book: Book, database: TestDatabase, hold: JSON) -> JSON:
    """Let the time of a hold be over now, by the database's clock, and return the hold as it is then."""
    await expire_now(database.superuser_url, [hold["id"]])
    return await read_hold(book, hold)


async def begin_earlier(book: Book, database: TestDatabase, days: int) -> None:
    """Let everything in the ledger have happened ``days`` days before: accounts, holds, value dates."""
    connection = await asyncpg.connect(database.superuser_url)
    columns = {"accounts": "created_at", "holds": "created_at", "transfers": "effective_at"}
    try:
        for table, column in columns.items():
            await connection.execute(
                f"UPDATE funds.{table} SET {column} = {column} - $2 * interval '1 day'"
                " WHERE ledger_id = (SELECT id FROM funds.ledgers WHERE name = $1)",
                book.name,
                days,
            )
    finally:
        await connection.close()


async def freed(book: Book, hold: JSON) -> JSON:
    """Wait until somebody has ended the hold, and return it."""

    async def is_closed() -> bool:
        return bool((await read_hold(book, hold))["status"] != "open")

    await wait_until(is_closed)
    return await read_hold(book, hold)


async def read_hold(book: Book, hold: JSON) -> JSON:
    """Return the hold as it is now."""
    response = await book.client.get(f"{book.path}/holds/{hold['id']}")
    assert response.status_code == 200, response.text
    return answer(response)


async def post_reversal(book: Book, posted: JSON, key: str | None = None, **members: Any) -> httpx.Response:
    """Ask for a reversal; without ``members`` of all of it."""
    path = f"{book.transfers}/{posted['id']}/reversals"
    return await book.client.post(path, json=members, headers=keyed(key))


async def reverse(book: Book, posted: JSON, **members: Any) -> JSON:
    """Reverse a transfer and return the reversal."""
    response = await post_reversal(book, posted, **members)
    assert response.status_code == 201, response.text
    return answer(response)


def key_path(book: Book, key: str) -> str:
    """Return where the key's outcome is read."""
    return f"{book.path}/idempotency-keys/{quote(key, safe='')}"


async def read_key(book: Book, key: str) -> JSON:
    """Return what became of the key."""
    response = await book.client.get(key_path(book, key))
    assert response.status_code == 200, response.text
    return answer(response)


async def fence(book: Book, key: str) -> JSON:
    """Make the key unusable, if it is not used, and return what became of it."""
    response = await book.client.post(f"{key_path(book, key)}/fence")
    assert response.status_code == 200, response.text
    return answer(response)


def held(account: JSON) -> tuple[int, int, int, int]:
    """Return balance, available balance, debits held and credits held of the account."""
    return account["balance"], account["available_balance"], account["debits_held"], account["credits_held"]
