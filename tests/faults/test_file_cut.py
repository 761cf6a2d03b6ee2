"""Files whose time is over while they are sent: cut so that it shows, and their slots are free again."""

import asyncio
import secrets
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest

from tests.support.application import serving
from tests.support.bank import open_account, open_ledger
from tests.support.http_ledger import LedgerClient, problem
from tests.support.servers import RunningService, TestDatabase, free_port
from tests.support.socket_client import Client, Connection

Serve = Callable[..., RunningService]

SECONDS_MAX = 3.0
FORMS = ("csv", "camt053", "xlsx", "csv")
"""As many as one client may have slots."""
BATCHES, LINES = 6, 1_000
_EVER = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
_RECEIVE_BYTES = 2**16
_TRIES = 10


async def fill(client: Client, ledger: str) -> str:
    """Return an account with as many lines as no buffers between a service and its client hold, in any form."""
    account, other = await open_account(client, ledger), await open_account(client, ledger)
    for _ in range(BATCHES):
        items = [
            {
                "debit_account_id": other,
                "credit_account_id": account,
                "amount": 1,
                "currency": "USD",
                "idempotency_key": str(uuid4()),
                "description": secrets.token_urlsafe(740),
            }
            for _ in range(LINES)
        ]
        answer = await client.call("POST", f"/v1/ledgers/{ledger}/transfers/batch", {"transfers": items})
        assert answer.status in {200, 201}, answer
    return account


async def begin(client: Client, path: str) -> Connection:
    """Ask for a file, and read the head of the answer alone; once more where its time was over before its first part,
    as on a machine that is busy.
    """
    for _ in range(_TRIES):
        connection = await client.connect(receive_bytes=_RECEIVE_BYTES)
        await connection.send(client.request("GET", path))
        head = await connection.receive_head()
        if head.startswith(b"HTTP/1.1 200 "):
            assert b"transfer-encoding: chunked" in head.lower()
            return connection
        assert head.startswith(b"HTTP/1.1 503 "), head
        connection.close()
    raise AssertionError(f"no file began in {SECONDS_MAX} seconds")


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_file_that_is_read_too_slowly_is_cut(serve: Serve, *, in_time: bool) -> None:
    """Whoever goes on reading is cut off, too: the rate that is asked of them says nothing of how long it takes."""
    operations = free_port()
    service = serve(
        FUNDS_FILE_SECONDS_MAX="600" if in_time else str(SECONDS_MAX),
        FUNDS_METRICS="true",
        FUNDS_OPERATIONS_PORT=str(operations),
    )
    async with Client(service.url, service.admin_token) as client:
        ledger = await open_ledger(client)
        account = await fill(client, ledger)
        files = [f"/v1/ledgers/{ledger}/accounts/{account}/statement?{_EVER}&format={form}" for form in FORMS]
        readers = await asyncio.gather(*(begin(client, file) for file in files))
        await asyncio.sleep(SECONDS_MAX)  # which is when their time is over: it began before their heads
        received = await asyncio.gather(*(reader.receive_chunked() for reader in readers))
        assert [whole for _, whole in received] == [in_time] * len(FORMS)
        assert [b"closing" in file or b"</Document>" in file for file, _ in received[:2]] == [in_time] * 2

        again = await asyncio.gather(*(begin(client, file) for file in files))
        for reader in (*readers, *again):
            reader.close(rudely=True)
            await reader.wait_closed()
    async with httpx.AsyncClient() as scraper:
        scraped = (await scraper.get(f"http://127.0.0.1:{operations}/metrics")).text
    assert f"funds_files_cut_total {0 if in_time else len(FORMS)}" in scraped
    log = service.log.read_text()
    assert ("a file is cut" in log) is not in_time
    assert "Traceback" not in log


async def test_a_file_that_is_not_begun_in_time_is_refused(test_database: TestDatabase) -> None:
    """Pages have no such limit."""
    async with (
        serving(test_database, file_seconds_max=1e-6) as application,
        application.client(application.settings.admin_token) as client,
    ):
        ledger = LedgerClient(client, "main")
        account = await ledger.account()
        for path in (f"{ledger.accounts}/{account['id']}/statement?{_EVER}", f"{ledger.path}/trial-balance?limit=5"):
            assert (await client.get(path)).status_code == 200
            refused = problem(await client.get(f"{path}&format=csv"), 503, "overloaded")
            assert "not finished within 1e-06 seconds" in refused["detail"]
