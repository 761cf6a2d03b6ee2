"""What lists and expansions answer when everything in them is as large as it may be: about 1 MiB, and all of it in the
end.
"""

import gc
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from service.api.http.pagination import PAGE_BYTES_MAX
from tests.api.pauses import watched_loop
from tests.support.application import Application, serving
from tests.support.http_ledger import JSON, answer
from tests.support.million_transfers import id_of, identifier_of
from tests.support.rows import MAIN
from tests.support.servers import TestPostgres

COUNT = 400
"""This many transfers of 100 KB, and a tenth as many of everything else, of 150 KB each."""

FEW = COUNT // 10
LEDGERS = 300
ITEM_BYTES_MAX = 160_000
REST_BYTES_MAX = 5_000
"""The bytes of an answer that are not items."""

PEAK_BYTES_MAX = 20_000_000
"""How much memory answering one page may use at any time. All transfers together are 40 MB."""

PAUSE_SECONDS_MAX = 0.05
TRIES = 5

BANK, CUSTOMER = id_of(1), id_of(2)
LEDGER = "/v1/ledgers/main"

# Characters of four bytes in the database, and such as become six in an answer.
_WIDE = "(SELECT jsonb_object_agg(lpad(k::text, 64, 'k'), repeat('\U0001f4b6', 500)) FROM generate_series(1, 50) AS k)"
_CONTROL = "(SELECT jsonb_object_agg(lpad(k::text, 64, 'k'), repeat(chr(1), 500)) FROM generate_series(1, 50) AS k)"

FILL = (
    f"""
    INSERT INTO funds.accounts (ledger_id, id, currency, normal_side, version, metadata, created_at, updated_at)
    SELECT {MAIN}, {identifier_of("n")}, 'USD', 'credit', {COUNT}, {_CONTROL}, now(), now()
    FROM generate_series(1, {FEW}) AS n
    """,
    f"""
    INSERT INTO funds.holds (ledger_id, id, debit_account_id, credit_account_id, amount, currency, status, expires_at,
                             debit_account_version, credit_account_version, metadata, created_at, client_id,
                             idempotency_key)
    SELECT {MAIN}, {identifier_of("n")}, '{BANK}', '{CUSTOMER}', 1, 'USD', 'open', '9000-01-01Z', n, n, {_CONTROL},
           now(), 'client', 'hold ' || n
    FROM generate_series(1, {FEW}) AS n
    """,
    f"""
    INSERT INTO funds.transfers (ledger_id, id, debit_account_id, credit_account_id, amount, currency,
                                 debit_account_version, credit_account_version, debit_balance_after,
                                 credit_balance_after, reference, metadata, effective_at, created_at, client_id,
                                 idempotency_key)
    SELECT {MAIN}, {identifier_of("n")}, '{BANK}', '{CUSTOMER}', 1, 'USD', n, n, 0, 0, 'large', {_WIDE}, now(), now(),
           'client', 'transfer ' || n
    FROM generate_series(1, {COUNT}) AS n
    """,
    f"""
    INSERT INTO funds.decisions (ledger_id, client_id, idempotency_key, fingerprint, operation, outcome, problem, terms,
                                 debit_account_id, credit_account_id, created_at)
    SELECT {MAIN}, 'client', 'key ' || n, '', 'post_transfer', 'rejected',
           '{{"code": "account_frozen", "detail": "No.", "members": {{"account_id": "{BANK}"}}}}', {_CONTROL},
           '{BANK}', '{CUSTOMER}',
           now()
    FROM generate_series(1, {FEW}) AS n
    """,
    f"""
    INSERT INTO funds.ledgers (name, description, created_at)
    SELECT 'ledger-' || n, repeat(chr(1), 1000), now() FROM generate_series(1, {LEDGERS}) AS n
    """,
)


@pytest.fixture(scope="module")
async def large(postgres: TestPostgres) -> AsyncIterator[Application]:
    async with postgres.fresh_database() as database:
        superuser = await asyncpg.connect(database.superuser_url)
        for statement in FILL:
            await superuser.execute(statement)
        await superuser.close()
        async with serving(database) as application:
            yield application


@pytest.fixture
async def caller(large: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose answers are not judged: that takes longer than to make them."""
    carrier = httpx.ASGITransport(app=large.app, raise_app_exceptions=False)  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {large.settings.admin_token}"}
    async with httpx.AsyncClient(transport=carrier, base_url="http://funds", headers=headers) as client:
        yield client


LISTS = {
    f"{LEDGER}/transfers": COUNT,
    f"{LEDGER}/transfers?reference=large": COUNT,
    f"{LEDGER}/transfers?account_id={BANK}": COUNT,
    f"{LEDGER}/transfers?account_id={BANK}&reference=large": COUNT,
    f"{LEDGER}/accounts": FEW,
    f"{LEDGER}/holds": FEW,
    f"{LEDGER}/holds?account_id={BANK}": FEW,
    f"{LEDGER}/decisions": FEW,
    f"{LEDGER}/decisions?account_id={BANK}": FEW,
    "/v1/ledgers": LEDGERS + 1,
}


def _name(one: JSON) -> str:
    return str(one.get("id") or one.get("idempotency_key") or one.get("name"))


@pytest.mark.parametrize("limit", [20, 1000])
@pytest.mark.parametrize("path", LISTS)
async def test_a_page_has_about_a_mebibyte_and_the_next_ones_the_rest(
    caller: httpx.AsyncClient, path: str, limit: int
) -> None:
    seen: list[str] = []
    query: dict[str, Any] = {"limit": limit}
    while query:
        response = await caller.get(httpx.URL(path).copy_merge_params(query))
        page = answer(response)
        assert 1 <= len(page["items"]) <= limit
        assert len(response.content) <= PAGE_BYTES_MAX + REST_BYTES_MAX
        cursor = page["next_cursor"]
        if cursor is not None and len(page["items"]) < limit:
            assert len(response.content) >= PAGE_BYTES_MAX - ITEM_BYTES_MAX, "it has what fits"
        seen += map(_name, page["items"])
        query = {} if cursor is None else {"limit": limit, "cursor": cursor}
    assert len(seen) == len(set(seen)) == LISTS[path]


async def test_an_item_that_fills_a_page_comes_alone(
    caller: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.http.pagination.PAGE_BYTES_MAX", 1_000)
    page = answer(await caller.get(f"{LEDGER}/transfers"))
    assert [one["id"] for one in page["items"]] == [str(id_of(COUNT))]
    assert page["next_cursor"]


@pytest.mark.parametrize("expanded", ["transfers", "holds"])
async def test_an_expansion_has_about_a_mebibyte(caller: httpx.AsyncClient, expanded: str) -> None:
    response = await caller.get(f"{LEDGER}/accounts/{BANK}?expand={expanded}")
    shown = answer(response)[expanded]
    assert len(response.content) <= PAGE_BYTES_MAX + ITEM_BYTES_MAX + REST_BYTES_MAX
    latest = COUNT if expanded == "transfers" else FEW
    assert [UUID(one["id"]) for one in shown] == [id_of(latest - n) for n in range(len(shown))]
    assert len(shown) == (2 if expanded == "transfers" else 6)


async def test_an_overview_has_about_a_mebibyte(caller: httpx.AsyncClient) -> None:
    response = await caller.get(f"{LEDGER}/overview")
    assert len(response.content) <= PAGE_BYTES_MAX + REST_BYTES_MAX
    assert len(answer(response)["latest_transfers"]) > 5


ANSWERS = [*LISTS, f"{LEDGER}/overview", *(f"{LEDGER}/accounts/{BANK}?expand={one}" for one in ("transfers", "holds"))]


@pytest.mark.parametrize("path", ANSWERS)
async def test_answering_takes_little_memory(caller: httpx.AsyncClient, path: str) -> None:
    """Rows are read a few at a time: a thousand of them would be a hundred megabytes, for each caller who asks."""
    query = {"limit": "1000"} if path in LISTS else {}
    url = httpx.URL(path).copy_merge_params(query)
    await caller.get(url)
    gc.collect()
    tracemalloc.start()
    response = await caller.get(url)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.status_code == 200
    assert peak_bytes <= PEAK_BYTES_MAX


@pytest.mark.parametrize("path", ANSWERS)
async def test_answering_holds_nobody_up(caller: httpx.AsyncClient, path: str) -> None:
    query = {"limit": "1000"} if path in LISTS else {}
    best = float("inf")
    for _ in range(TRIES):  # the machine may be busy with others
        async with watched_loop() as pauses:
            await caller.get(httpx.URL(path).copy_merge_params(query))
        best = min(best, pauses.longest_seconds)
    assert best <= PAUSE_SECONDS_MAX


@pytest.mark.parametrize("path", ANSWERS)
async def test_what_was_encoded_early_is_as_the_document_says(large: Application, path: str) -> None:
    async with large.client(large.settings.admin_token) as judged:
        assert (await judged.get(path)).status_code == 200
