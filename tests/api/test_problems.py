"""Problems (RFC 9457): every error without exception is one, complete, and tells nothing of the inside."""

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import httpx
import pytest

from service.wire.catalogue import CATALOGUE
from tests.support.application import Application, serving
from tests.support.database_faults import IMPATIENT, execute, gone, locked, wait_until_blocked
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, problem, recovered, transfer, unique
from tests.support.servers import TestDatabase

STANDARD = {"type", "title", "status", "detail", "instance", "code", "retryable", "outcome"}
INSIDE = ("Traceback", "asyncpg", "sqlalchemy", "SELECT", "INSERT", "relation", "funds.", "File ", "line ")
UNKNOWN_PATHS = [
    "/",
    "/v1",
    "/v1/",
    "/v2/ledgers",
    "/ledgers",
    "//v1/ledgers",
    "/v1/ledgers/main/nothing",
    "/v1/ledgers/main/accounts/not-a-uuid",
    "/v1/ledgers/main/transfers/1",
    "/health",
    "/health/",
    "/problems",
    "/problems/unknown_code",
    "/docs/nothing",
    "/docs/assets/nothing.js",
    "/docs/assets/../../../pyproject.toml",
    "/docs/assets/..%2f..%2f..%2f__init__.py",
    "/favicon.ico",
    "/%00",
    "/%FF",
    "/ü",
]


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
async def test_an_unknown_path(client: httpx.AsyncClient, path: str) -> None:
    missing = problem(await client.get(path), 404, "not_found")
    assert missing.keys() == STANDARD
    assert (missing["type"], missing["status"], missing["outcome"]) == ("/problems/not_found", 404, "not_applied")
    assert missing["retryable"] is False


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "ANYTHING"])
async def test_an_unknown_path_by_any_method(client: httpx.AsyncClient, method: str) -> None:
    problem(await client.request(method, "/v1/nothing"), 404, "not_found")


async def test_a_method_that_a_path_does_not_have(application: Application, client: httpx.AsyncClient) -> None:
    for path in {operation.path for operation in application.contract.operations}:
        for method in ("PUT", "DELETE", "TRACE", "ANYTHING"):
            refused = problem(await client.request(method, path), 405, "method_not_allowed")
            assert refused.keys() == STANDARD


async def test_a_method_is_refused_without_a_token_too(anonymous: httpx.AsyncClient) -> None:
    problem(await anonymous.delete("/v1/ledgers"), 405, "method_not_allowed")


@pytest.mark.parametrize("code", CATALOGUE)
async def test_every_code_has_a_page(anonymous: httpx.AsyncClient, code: str) -> None:
    page = await anonymous.get(f"/problems/{code}")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    kind = CATALOGUE[code]
    assert kind.title in page.text
    assert kind.explanation in page.text
    assert f"code: {code}\nstatus: {kind.status}\n" in page.text


def test_what_may_succeed_later_is_what_the_database_or_the_load_refused() -> None:
    assert {kind.status for kind in CATALOGUE.values() if kind.retryable} == {408, 429, 503}
    assert all(kind.retryable for kind in CATALOGUE.values() if kind.status == 503)


async def test_details_are_complete(ledger: LedgerClient) -> None:
    payer, payee = await ledger.account(minimum_balance=0), await ledger.account()
    refused = problem(await ledger.post(payer, payee), 422, "insufficient_funds")
    assert (
        refused
        | {
            "type": "/problems/insufficient_funds",
            "title": "Insufficient funds",
            "status": 422,
            "instance": ledger.transfers,
            "retryable": False,
            "outcome": "not_applied",
        }
        == refused
    )
    assert payer["id"] in refused["detail"]


async def test_the_type_leads_to_the_explanation(client: httpx.AsyncClient) -> None:
    missing = problem(await client.get("/v1/ledgers/absent"), 404, "ledger_not_found")
    assert (await client.get(missing["type"])).status_code == 200


@pytest.fixture
async def broken(test_database: TestDatabase) -> AsyncIterator[Application]:
    """An application of the test's own, for the test to break."""
    async with serving(test_database, lock_timeout_ms=50, **IMPATIENT) as application:
        yield application


@pytest.fixture
async def bank(broken: Application) -> AsyncIterator[tuple[LedgerClient, list[tuple[str, str, JSON | None]]]]:
    """A ledger of the application to be broken, and requests to it: method, path, body."""
    # Prepared by an application with the usual time limits: the first requests of a new one take longest.
    async with serving(broken.database) as patient, patient.client(patient.settings.admin_token) as client:
        prepared = await LedgerClient.open(client, "bank")
        debit, credit = await prepared.account(), await prepared.account()
        posted = await prepared.move(debit, credit)
    async with broken.client(broken.settings.admin_token) as client:
        ledger = prepared.seen_by(client)
        requests: list[tuple[str, str, JSON | None]] = [
            ("GET", "/v1/ledgers", None),
            ("POST", "/v1/ledgers", {"name": "another"}),
            ("GET", ledger.path, None),
            ("GET", f"{ledger.path}/overview", None),
            ("GET", ledger.accounts, None),
            ("POST", ledger.accounts, {"currency": "USD"}),
            ("GET", f"{ledger.accounts}/{debit['id']}", None),
            ("GET", f"{ledger.accounts}/{debit['id']}?expand=transfers", None),
            ("PATCH", f"{ledger.accounts}/{debit['id']}", {"name": "n"}),
            ("GET", ledger.transfers, None),
            ("POST", ledger.transfers, transfer(debit, credit)),
            ("POST", ledger.batches, {"transfers": [item(debit, credit), item(credit, debit)]}),
            ("GET", f"{ledger.transfers}/{posted['id']}", None),
            ("GET", f"{ledger.transfers}/{posted['id']}?expand=accounts", None),
        ]
        yield ledger, requests


async def _send(client: httpx.AsyncClient, method: str, path: str, body: JSON | None) -> httpx.Response:
    return await client.request(method, path, json=body, headers=keyed() | {"If-Match": "*"})


Bank = tuple[LedgerClient, list[tuple[str, str, JSON | None]]]


async def test_a_fault_of_the_service_is_a_problem_that_tells_nothing(broken: Application, bank: Bank) -> None:
    ledger, requests = bank
    tables = ("decisions", "transfers", "accounts", "ledgers")
    await execute(broken.database, *(f"ALTER TABLE funds.{table} RENAME TO lost_{table}" for table in tables))
    for method, path, body in requests:
        response = await _send(ledger.client, method, path, body)
        failed = problem(response, 500, "internal_error")
        assert failed.keys() == STANDARD
        assert failed["outcome"] == "not_applied" or method in {"POST", "PATCH"}
        assert not [word for word in INSIDE if word in response.text], response.text


async def test_what_the_database_refuses_though_the_rules_allow_it(broken: Application, bank: Bank) -> None:
    ledger, _ = bank
    debit, credit = await ledger.account(), await ledger.account()
    key, items = unique("key"), [item(debit, credit, amount=amount) for amount in (12, 13, 14)]
    await execute(broken.database, "ALTER TABLE funds.transfers ADD CONSTRAINT unlucky CHECK (amount <> 13) NOT VALID")
    assert problem(await ledger.post(debit, credit, key, amount=13), 500, "internal_error")["outcome"] == "not_applied"
    response = await ledger.batch(*items)
    assert response.status_code == 207
    assert [one["status"] for one in answer(response)["results"]] == [201, 500, 201]
    unlucky = answer(response)["results"][1]["problem"]
    assert (unlucky["code"], unlucky["outcome"]) == ("internal_error", "not_applied")

    await execute(broken.database, "ALTER TABLE funds.transfers DROP CONSTRAINT unlucky")
    assert (await ledger.post(debit, credit, key, amount=13)).status_code == 201
    again = answer(await ledger.batch(*items))
    assert [one["replayed"] for one in again["results"]] == [True, False, True]


async def test_a_database_that_is_gone_and_comes_back(broken: Application, bank: Bank) -> None:
    ledger, requests = bank
    async with gone(broken.database):
        for method, path, body in requests:
            response = await _send(ledger.client, method, path, body)
            failed = problem(response, 503, "database_unavailable")
            assert (failed["retryable"], failed["outcome"]) == (True, "not_applied")
            assert int(response.headers["Retry-After"]) >= 1
            assert not [word for word in INSIDE if word in response.text], response.text
    for method, path, body in requests:
        response = await recovered(ledger.client, method, path, json=body, headers=keyed() | {"If-Match": "*"})
        assert response.status_code in {200, 201}, response.text


async def test_accounts_that_stay_locked(broken: Application, bank: Bank) -> None:
    ledger, requests = bank
    async with locked(broken.database, "accounts"):
        for method, path, body in requests:
            if "/accounts" not in path and (method == "GET" or not path.startswith(ledger.transfers)):
                continue
            response = await _send(ledger.client, method, path, body)
            failed = problem(response, 503, "contention")
            assert (failed["retryable"], failed["outcome"]) == (True, "not_applied")
            assert int(response.headers["Retry-After"]) >= 1
    for method, path, body in requests:
        response = await recovered(ledger.client, method, path, json=body, headers=keyed() | {"If-Match": "*"})
        assert response.status_code in {200, 201}, response.text


@pytest.fixture
async def crowded(test_database: TestDatabase) -> AsyncIterator[LedgerClient]:
    """A ledger of an application that has room for one waiting command."""
    settings: dict[str, Any] = {"queue_commands_max": 1, "batches_in_flight_max": 1, "lock_timeout_ms": 10_000}
    async with (
        serving(test_database, **settings) as application,
        application.client(application.settings.admin_token) as client,
    ):
        yield await LedgerClient.open(client, unique("crowded"))


async def test_a_queue_that_is_full(crowded: LedgerClient, test_database: TestDatabase) -> None:
    debit, credit = await crowded.account(), await crowded.account()
    keys = [unique("key") for _ in range(3)]
    async with locked(test_database, "accounts") as holder:
        in_flight = asyncio.create_task(crowded.post(debit, credit, keys[0]))
        await wait_until_blocked(holder)
        waiting = [asyncio.create_task(crowded.post(debit, credit, key)) for key in keys[1:]]
        [refused], [queued] = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        failed = problem(refused.result(), 503, "overloaded")
        assert (failed["retryable"], failed["outcome"]) == (True, "not_applied")
        assert int(refused.result().headers["Retry-After"]) >= 1
    assert ((await in_flight).status_code, (await queued).status_code) == (201, 201)
    assert (await crowded.read_account(credit))["balance"] == 2


@pytest.fixture
async def patient(test_database: TestDatabase) -> AsyncIterator[LedgerClient]:
    """A ledger of an application that waits long for locks."""
    async with (
        serving(test_database, lock_timeout_ms=10_000) as application,
        application.client(application.settings.admin_token) as client,
    ):
        yield await LedgerClient.open(client, unique("patient"))


async def test_more_batches_than_may_wait(patient: LedgerClient, test_database: TestDatabase) -> None:
    debit, credit = await patient.account(), await patient.account()
    at_once, may_wait, too_many = 2, 64, 3
    async with locked(test_database, "accounts"):
        batches = [
            asyncio.create_task(patient.batch(item(debit, credit))) for _ in range(at_once + may_wait + too_many)
        ]
        for first in islice(asyncio.as_completed(batches), too_many):
            problem(await first, 429, "rate_limited")  # one client has half of the room to wait
    answers = [await batch for batch in batches]
    assert sum(response.status_code == 201 for response in answers) == at_once + may_wait
