"""A ledger whose history is sealed at once, and what waits for its log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from service.proofs.keys import SignerKey
from tests.support.application import Application, serving
from tests.support.http_ledger import LedgerClient
from tests.support.servers import TestDatabase

ORIGIN = "bank.example/funds"
INTERVAL_SECONDS = 0.02
WAIT_SECONDS_MAX = 30


@asynccontextmanager
async def serving_log(database: TestDatabase, **settings: Any) -> AsyncIterator[Application]:
    """An application on ``database`` that seals the histories of its ledgers at once."""
    chosen = {
        "log_key": SignerKey.generate(ORIGIN).secret_text(),
        "log_origin": ORIGIN,
        "log_seal_interval_seconds": INTERVAL_SECONDS,
        "log_witness_interval_seconds": INTERVAL_SECONDS,
    } | settings
    async with serving(database, **chosen) as application:
        yield application


async def sealed(ledger: LedgerClient, path: str) -> httpx.Response:
    """The answer to a GET of ``path`` below the ledger, once what it asks for is sealed."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            response = await ledger.client.get(f"{ledger.path}{path}")
            if response.status_code not in {404, 503}:
                return response
            await asyncio.sleep(INTERVAL_SECONDS)


async def latest_checkpoint(ledger: LedgerClient, *, size: int) -> str:
    """The checkpoint of the log, once it has ``size`` entries."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            response = await ledger.client.get(f"{ledger.path}/log/checkpoint")
            if response.status_code == 200 and int(response.text.split("\n")[1]) >= size:
                return response.text
            await asyncio.sleep(INTERVAL_SECONDS)


async def cosigned_checkpoint(ledger: LedgerClient, *, size: int, count: int = 1) -> str:
    """The latest checkpoint, once it has ``size`` entries and ``count`` cosignatures."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            note = await latest_checkpoint(ledger, size=size)
            if note.count("\n— ") == 1 + count:
                return note
            await asyncio.sleep(INTERVAL_SECONDS)


async def log_lines(ledger: LedgerClient) -> list[str]:
    """The canonical bytes of every entry that is sealed, as texts."""
    lines: list[str] = []
    while True:
        response = await ledger.client.get(f"{ledger.path}/log/entries?from={len(lines)}")
        assert response.status_code == 200, response.text
        if not response.text:
            return lines
        lines += response.text.split("\n")[:-1]
