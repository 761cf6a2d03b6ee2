"""No request holds up the event loop for more than 100 ms, whatever one caller sends."""

import gc
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from service.api.http.batch_bodies import ITEM_BYTES_MAX
from service.api.resources.batches import REQUEST_BYTES_MAX
from tests.api.pauses import watched_loop
from tests.api.wrong_bodies import TRANSFER
from tests.support.application import Application, serving
from tests.support.http_ledger import JSON, LedgerClient, item, unique
from tests.support.servers import TestPostgres

PAUSE_SECONDS_MAX = 0.1
TRIES = 10
"""The machine may be busy with others: what is slow by itself is so every time."""

ITEM = msgspec.json.encode(TRANSFER | {"idempotency_key": "key"})


@pytest.fixture(scope="module")
async def application(postgres: TestPostgres) -> AsyncIterator[Application]:
    # Whether the largest batch is answered in time is another question, which a slow machine answers otherwise.
    async with postgres.fresh_database() as database, serving(database) as application:
        yield application


@pytest.fixture(scope="module")
async def caller(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose answers are not judged, which would hold the loop itself."""
    carrier = httpx.ASGITransport(app=application.app, raise_app_exceptions=False)  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {application.settings.admin_token}", "Content-Type": "application/json"}
    gc.collect()
    gc.freeze()
    async with httpx.AsyncClient(transport=carrier, base_url="http://funds", headers=headers) as client:
        yield client
    gc.unfreeze()


async def _longest_pause(caller: httpx.AsyncClient, method: str, url: str, body: bytes, *, below: int = 500) -> float:
    """Return the shortest of the longest pauses, in seconds, that the request makes when it is tried again.

    Garbage is collected between the requests: a full collection holds the loop for as long as this process has objects,
    most of which are the tests'. Workers have few, and tune their collector (``cli/worker.py``).
    """
    best = float("inf")
    for _ in range(TRIES):
        headers = {"Idempotency-Key": unique("key"), "If-Match": "*"}
        gc.collect()
        gc.disable()
        try:
            async with watched_loop() as pauses:
                response = await caller.request(method, url, content=body, headers=headers)
        finally:
            gc.enable()
        assert response.status_code < below, response.text[:500]
        best = min(best, pauses.longest_seconds)
        if best <= PAUSE_SECONDS_MAX:
            break
    return best


def _filled(before: bytes, part: bytes, after: bytes, size: int, *, between: bytes = b"") -> bytes:
    """Return a body of ``size`` bytes or a little less, with ``part`` as often as there is room."""
    count = (size - len(before) - len(after)) // len(part + between)
    return before + (part + between) * (count - 1) + part + after


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "msgspec's place in a name": lambda size: _filled(b'{"', b" - at `$", b'":1}', size),
    "its place in a name with a line end": lambda size: _filled(b'{"', b" - at `$", rb'\n":1}', size),
    "its place in a name of a map": lambda size: _filled(b'{"metadata":{"', b" - at `$", b'":1}}', size),
    "its place in a text": lambda size: _filled(b'{"currency":"', b" - at `$.x`", b'"}', size),
    "backquotes in a name": lambda size: _filled(b'{"', b"`", b'":1}', size),
    "line ends in a name": lambda size: _filled(b'{"', rb"\n`", b'":1}', size),
    "escaped quotation marks": lambda size: _filled(b'{"', rb"\"", b'":1}', size),
    "escaped backslashes": lambda size: _filled(b'{"reference":"', rb"\\", b'"}', size),
    "escaped characters": lambda size: _filled(b'{"description":"', rb"\u0061", b'"}', size),
    "surrogates": lambda size: _filled(b'{"description":"', rb"\ud83c\udfe6", b'"}', size),
    "deep lists": lambda size: b"[" * size,
    "deep objects": lambda size: _filled(b"", b'{"a":', b"", size),
    "deep in a map": lambda size: _filled(b'{"metadata":', b'{"a":', b"", size),
    "wide lists": lambda size: _filled(b"[", b"0", b"]", size, between=b","),
    "a wide map": lambda size: _filled(b'{"metadata":{', b'"":""', b"}}", size, between=b","),
    "a wide map of many names": lambda size: (
        b'{"metadata":{' + b",".join(b'"%x":""' % number for number in range(size // 13)) + b"}}"
    ),
    "one member again and again": lambda size: _filled(b"{", b'"amount":1', b"}", size, between=b","),
    "long whole numbers": lambda size: _filled(b'{"amount":', b"9", b"}", size),
    "long fractions": lambda size: _filled(b'{"amount":0.', b"9", b"}", size),
    "long exponents": lambda size: _filled(b'{"amount":1e', b"9", b"}", size),
    "white space": lambda size: _filled(b"", b" \n", b"", size),
    "white space in an object": lambda size: _filled(b"{", b" ", b"}", size),
    "bytes that are no text": lambda size: b'{"reference":"' + b"\xff" * (size - 16) + b'"}',
    "NUL": bytes,
    "long digits of a time": lambda size: _filled(b'{"effective_at":"2026-01-01T00:00:00.', b"9", b'Z"}', size),
    "many points in a time": lambda size: _filled(b'{"effective_at":"', b".1", b'Z"}', size),
}

HOSTILE_BATCHES: dict[str, Callable[[int], bytes]] = {
    "more items than are taken": lambda size: _filled(b'{"transfers":[', ITEM, b"]}", size, between=b","),
    "numbers": lambda size: _filled(b'{"transfers":[', b"0", b"]}", size, between=b","),
    "objects": lambda size: _filled(b'{"transfers":[', b"{}", b"]}", size, between=b","),
    "items that are said twice": lambda size: _filled(b"{", b'"transfers":[' + ITEM + b"]", b"}", size, between=b","),
    "lists that are said twice": lambda size: _filled(b"{", b'"transfers":[]', b"}", size, between=b","),
    "modes that are said twice": lambda size: _filled(
        b'{"transfers":[' + ITEM + b"],", b'"mode":"atomic"', b"}", size, between=b","
    ),
    "an item of escapes": lambda size: _filled(b'{"transfers":["', rb"\"", b'"]}', size),
    "white space beside the list": lambda size: _filled(b'{"transfers":[' + ITEM + b"]", b" ", b"}", size),
    "the largest items": lambda size: _filled(
        b'{"transfers":[', _wide_item(ITEM_BYTES_MAX - 1024), b"]}", size, between=b","
    ),
}


def _wide_item(size: int) -> bytes:
    entries = b",".join(b'"%x":""' % number for number in range(size // 13))
    return ITEM[:-1] + b',"metadata":{' + entries + b"}}"


def _in_item(body: bytes) -> bytes:
    """Return a batch whose second item is ``body``, a member of which may come after those of a whole item."""
    return b'{"transfers":[' + ITEM + b"," + body + b"]}"


ROUTES = [
    ("POST", "/v1/ledgers"),
    ("POST", "/v1/ledgers/main/accounts"),
    ("PATCH", f"/v1/ledgers/main/accounts/{uuid4()}"),
    ("POST", "/v1/ledgers/main/transfers"),
    ("POST", f"/v1/ledgers/main/transfers/{uuid4()}/reversals"),
    ("POST", "/v1/ledgers/main/holds"),
    ("POST", f"/v1/ledgers/main/holds/{uuid4()}/captures"),
]


@pytest.mark.parametrize("make", [*HOSTILE.values()], ids=[*HOSTILE])
async def test_hostile_bodies(
    caller: httpx.AsyncClient, application: Application, make: Callable[[int], bytes]
) -> None:
    body = make(application.settings.request_bytes_max)
    for method, path in ROUTES:
        assert await _longest_pause(caller, method, path, body) <= PAUSE_SECONDS_MAX


@pytest.mark.parametrize("make", [*(HOSTILE | HOSTILE_BATCHES).values()], ids=[*HOSTILE, *HOSTILE_BATCHES])
async def test_hostile_batches(caller: httpx.AsyncClient, make: Callable[[int], bytes]) -> None:
    path = "/v1/ledgers/main/transfers/batch"
    for body in (make(REQUEST_BYTES_MAX), _in_item(make(ITEM_BYTES_MAX))):
        assert await _longest_pause(caller, "POST", path, body) <= PAUSE_SECONDS_MAX


def _queries() -> Iterator[str]:
    for name, value in [
        ("x" * 60_000, "1"),
        ("&".join(f"p{number}" for number in range(10_000)), ""),
        ("&".join(["limit"] * 10_000), "1"),
        ("limit", "9" * 60_000),
        ("created_from", "2026-01-01T00:00:00." + "9" * 60_000 + "Z"),
        ("created_from", " 00:00" * 10_000),
        ("created_from", ".1" * 30_000),
        ("reference", "%00" * 20_000),
        ("cursor", "A" * 60_000),
        ("%60 - at %60$" * 4_000, "1"),
        (";" * 60_000, ""),
        ("%" * 60_000, ""),
    ]:
        yield f"{name}={value}"


@pytest.mark.parametrize("query", [*_queries()], ids=lambda query: query[:20])
async def test_hostile_queries(caller: httpx.AsyncClient, query: str) -> None:
    url = f"/v1/ledgers/main/transfers?{query}"[:20_000]  # escaped, as long as a URL of httpx may be
    assert await _longest_pause(caller, "GET", url, b"") <= PAUSE_SECONDS_MAX


@pytest.fixture(scope="module")
async def accounts(caller: httpx.AsyncClient) -> tuple[LedgerClient, JSON, JSON]:
    ledger = await LedgerClient.open(caller, unique("pauses"))
    return ledger, await ledger.account(), await ledger.account()


METADATA = {f"name of the entry {number}": f"value of the entry {number}" for number in range(30)}


@pytest.mark.parametrize("mode", ["independent", "atomic"])
@pytest.mark.parametrize(
    "members",
    [
        {},
        {"metadata": METADATA},
        {"reference": None, "description": None, "effective_at": None, "metadata": {}},
        {"reference": 'Zo\u00eb "\\"' * 8},
        {"hold": {}},
    ],
    ids=lambda value: json.dumps(value)[:30],
)
async def test_the_largest_batches(
    caller: httpx.AsyncClient, accounts: tuple[LedgerClient, JSON, JSON], members: dict[str, Any], mode: str
) -> None:
    ledger, debit, credit = accounts
    items = [item(debit, credit, **members) for _ in range(10_000)]
    body = json.dumps({"transfers": items, "mode": mode}).encode()
    assert len(body) <= REQUEST_BYTES_MAX
    # The first request posts it and the others replay it.
    assert await _longest_pause(caller, "POST", ledger.batches, body, below=300) <= PAUSE_SECONDS_MAX
    assert await _longest_pause(caller, "POST", f"{ledger.batches}?dry_run=true", body, below=300) <= PAUSE_SECONDS_MAX


@pytest.mark.parametrize("mode", ["independent", "atomic"])
async def test_the_largest_batches_that_are_refused(
    caller: httpx.AsyncClient, accounts: tuple[LedgerClient, JSON, JSON], mode: str
) -> None:
    ledger, debit, credit = accounts
    items = [item(debit, credit) for _ in range(9_999)] + [item(debit, credit, currency="EUR")]
    body = json.dumps({"transfers": items, "mode": mode}).encode()
    assert await _longest_pause(caller, "POST", ledger.batches, body) <= PAUSE_SECONDS_MAX


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_the_document_and_its_page(application: Application, path: str) -> None:
    """The first request for either has the document made."""
    best = float("inf")
    for _ in range(TRIES):
        async with serving(application.database) as fresh:
            carrier = httpx.ASGITransport(app=fresh.app)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=carrier, base_url="http://funds") as client:
                gc.collect()
                async with watched_loop() as pauses:
                    assert (await client.get(path)).status_code == 200
        best = min(best, pauses.longest_seconds)
        if best <= PAUSE_SECONDS_MAX:
            break
    assert best <= PAUSE_SECONDS_MAX
