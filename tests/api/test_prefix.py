"""Behind a proxy that serves it under a prefix, every path that the service says has the prefix."""

import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.api.asgi import Sent, call
from tests.support.application import Application, serving
from tests.support.http_ledger import LedgerClient, answer, item, keyed, transfer, unique

PREFIX = "/bank/funds"


def _client(application: Application, base: str) -> httpx.AsyncClient:
    """Return a client whose answers nobody judges: the document's paths begin below the prefix."""
    carrier = httpx.ASGITransport(app=application.app, raise_app_exceptions=False)  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {application.settings.admin_token}"}
    return httpx.AsyncClient(transport=carrier, base_url=f"http://funds{base}", headers=headers)


@pytest.fixture(scope="module", params=["passed on", "stripped"])
async def prefixed(application: Application, request: pytest.FixtureRequest) -> AsyncIterator[Application]:
    """An application whose callers find it under the prefix; a proxy passes that on, or takes it off."""
    stripped = request.param == "stripped"
    async with serving(application.database, path_prefix=PREFIX, path_prefix_stripped=stripped) as prefixed:
        yield prefixed


@pytest.fixture
async def http(prefixed: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application as the proxy speaks to it."""
    async with _client(prefixed, "" if prefixed.settings.path_prefix_stripped else PREFIX) as client:
        yield client


def _below(path: str) -> str:
    """Return ``path``, which callers use, without the prefix."""
    assert path.startswith(f"{PREFIX}/"), path
    return path.removeprefix(PREFIX)


async def test_what_was_made_is_found_where_its_location_says(http: httpx.AsyncClient) -> None:
    created = await http.post("/v1/ledgers", json={"name": unique("prefix")}, headers=keyed())
    ledger = LedgerClient(http, answer(created)["name"])
    assert created.headers["Location"] == f"{PREFIX}{ledger.path}"
    opened = await http.post(ledger.accounts, json={"currency": "USD"}, headers=keyed())
    debit, credit = answer(opened), await ledger.account()
    posted = await ledger.post(debit, credit)
    held = await http.post(f"{ledger.path}/holds", json=transfer(debit, credit), headers=keyed())
    captured = await http.post(f"{ledger.path}/holds/{answer(held)['id']}/captures", json={}, headers=keyed())
    for made in (created, opened, posted, held, captured):
        assert made.status_code == 201, made.text
        found = await http.get(_below(made.headers["Location"]))
        assert found.status_code == 200
        assert answer(found).get("id") == answer(made).get("id")


async def test_the_next_page_is_found_where_the_link_says(http: httpx.AsyncClient) -> None:
    ledger = await LedgerClient.open(http, unique("prefix"))
    ids = {(await ledger.account())["id"] for _ in range(3)}
    path, seen = f"{ledger.accounts}?limit=1", set()
    while path:
        page = await http.get(path)
        seen |= {one["id"] for one in answer(page)["items"]}
        link = re.fullmatch(r'<(.*)>; rel="next"', page.headers.get("Link", ""))
        path = _below(link[1]) if link else ""
    assert seen == ids


async def test_problems_lead_to_their_explanation(http: httpx.AsyncClient) -> None:
    ledger = await LedgerClient.open(http, unique("prefix"))
    poor, rich = await ledger.account(minimum_balance=0), await ledger.account()
    refused = [
        (await ledger.post(poor, rich, "refused"), ledger.transfers),
        (await http.get(f"{ledger.path}/nothing"), f"{ledger.path}/nothing"),
        (await http.delete(ledger.path), ledger.path),
        (await http.get(f"{ledger.path}?x=1"), ledger.path),
        (await http.get("/problems/none"), "/problems/none"),
    ]
    problems = [(answer(response), f"{PREFIX}{path}") for response, path in refused]
    batch = answer(await ledger.batch(item(poor, rich, "in-a-batch"), mode="independent"))
    problems.append((batch["results"][0]["problem"], f"{PREFIX}{ledger.batches}"))
    key = answer(await http.get(f"{ledger.path}/idempotency-keys/refused"))
    problems.append((key["problem"], f"{PREFIX}{ledger.path}/idempotency-keys/refused"))
    listed = answer(await http.get(f"{ledger.path}/decisions"))
    problems += [
        (one["problem"], f"{PREFIX}{ledger.path}/idempotency-keys/{one['idempotency_key']}") for one in listed["items"]
    ]
    used = answer(await ledger.post(poor, rich, "refused", amount=2))
    problems.append((used, f"{PREFIX}{ledger.transfers}"))
    assert used["earlier_request"]["path"] == f"{PREFIX}{ledger.path}/idempotency-keys/refused"
    for problem, instance in problems:
        assert problem["instance"] == instance
        assert problem["type"] == f"{PREFIX}/problems/{problem['code']}"
        page = await http.get(_below(problem["type"]))
        assert f"code: {problem['code']}" in page.text


async def test_the_document_and_its_page_are_whole(http: httpx.AsyncClient) -> None:
    document = answer(await http.get("/openapi.json"))
    assert document["servers"] == [{"url": PREFIX}]
    page = (await http.get("/docs")).text
    loaded = re.findall(r"""(?:src|href)=["'](/[^"']*)["']""", page)
    assert len(loaded) >= 3
    for path in loaded:
        assert (await http.get(_below(path))).status_code == 200
    assert json.dumps(PREFIX) in page


async def test_a_path_has_one_spelling_below_the_prefix_too(prefixed: Application) -> None:
    stripped = prefixed.settings.path_prefix_stripped
    right, wrong = ("", PREFIX) if stripped else (PREFIX, "")
    paths = ["/v1/ledgers/main", "/v1/ledgers", "/openapi.json", "/docs", "/problems/not_found"]
    others = [wrong, f"{right}{right or PREFIX}", f"{right}/", "/bank", "/bank//funds", "/bank/./funds", "/BANK/funds"]
    others += ["/b%61nk/funds", f"{PREFIX}x", f"/x{PREFIX}", f"/{PREFIX}"]
    for path in paths:
        assert (await call(prefixed, Sent("GET", f"{right}{path}"))).status == 200
        for other in others:
            assert (await call(prefixed, Sent("GET", f"{other}{path}"))).status == 404, f"{other}{path}"


async def test_probes_come_from_beside_the_proxy(prefixed: Application, http: httpx.AsyncClient) -> None:
    async with _client(prefixed, "") as beside:
        for path in ("/health/live", "/health/ready"):
            assert (await beside.get(path)).status_code == (await http.get(path)).status_code == 200


async def test_the_keys_of_logs_are_at_the_root_of_the_host_too(prefixed: Application, http: httpx.AsyncClient) -> None:
    async with _client(prefixed, "") as beside:
        for client in (beside, http):
            response = await client.get("/.well-known/funds-log")
            assert (response.status_code, answer(response)["code"]) == (404, "log_not_signed")
