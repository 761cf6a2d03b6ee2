"""Paths have one spelling, on both ways to a handler; methods are answered on every path; no cache keeps an answer."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from msgspec import structs
from sqlalchemy import event

from service.storage.database import Database
from tests.api.asgi import Sent, call
from tests.api.conftest import MakeClient
from tests.support.application import Application
from tests.support.contract import NOT_STORED, filled
from tests.support.http_ledger import JSON, LedgerClient, keyed, problem, unique

REUSED = "idempotency_key_reused"
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PATCH", "DELETE")


def _other_spellings(path: str, identifier: str) -> Iterator[str]:
    """Spellings of ``path``, which ends in ``identifier``, that someone in front might take for it."""
    plain, collection = identifier.replace("-", ""), path.removesuffix(identifier)
    for spelled in (
        identifier.upper(),
        plain,
        plain.upper(),
        f"{{{identifier}}}",
        f"%7B{identifier}%7D",
        f"urn:uuid:{identifier}",
        f"uuid:{identifier}",
        f"{identifier[:9]}-{identifier[9:]}",
        f"{identifier};v=1",
        f"{identifier}%00",
        f"{identifier}%20",
        f" {identifier}",
        f"%3{identifier[0]}{identifier[1:]}" if identifier[0].isdigit() else f"%6{identifier[0]}{identifier[1:]}",
        identifier.replace("-", "%2D"),
        identifier.replace("-", "%2d", 1),
    ):
        yield collection + spelled
    yield f"{path}/"
    yield f"{path}//"
    yield f"{path}/."
    yield f"{path}/../{identifier}"
    yield f"{path}%2F"
    yield f"{path}%3F"
    yield f"{path}#fragment"
    yield f"/{path}"
    yield f"/.{path}"
    yield path.removeprefix("/")
    yield f"http://funds{path}"
    yield path.replace("/v1/", "/v1//")
    yield path.replace("/v1/", "//v1/")
    yield path.replace("/v1/", "/v1/./")
    yield path.replace("/v1/", "/v1/x/../")
    yield path.replace("/v1/", "/v1;a=b/")
    yield path.replace("/v1/", "/V1/")
    yield path.replace("/v1/", "/%76%31/")
    yield path.replace("ledgers", "%6Cedgers")
    yield path.replace("ledgers", "Ledgers")
    yield path.replace("ledgers/", "ledgers/./")
    yield path.replace("ledgers/", "ledgers//")
    yield path.replace("ledgers/", "ledgers%2F")
    yield path.replace("ledgers/", "ledgers\\")
    yield path.replace("ledgers/", "ledgers%5C")
    yield path.replace("ledgers/", "ledgers/%2e%2e/ledgers/")
    yield path.replace("ledgers/", "ledgers/;/")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("resource", ["accounts", "transfers"])
async def test_a_path_has_one_spelling(
    application: Application, ledger: LedgerClient, payer: JSON, payee: JSON, resource: str, method: str
) -> None:
    found = payer if resource == "accounts" else await ledger.move(payer, payee)
    path = f"{ledger.path}/{resource}/{found['id']}"
    assert (await call(application, Sent(method, path))).status != 404
    for spelled in _other_spellings(path, found["id"]):
        answered = await call(application, Sent(method, spelled))
        assert answered.status == 404, spelled
        assert (b"cache-control", NOT_STORED.encode()) in answered.headers
        if method != "HEAD":
            assert json.loads(answered.body)["code"] == "not_found", spelled
            assert json.loads(answered.body)["instance"] == spelled


async def test_a_ledger_without_a_name_is_not_served(application: Application, payer: JSON) -> None:
    for name in ("", ".", "..", ".main", "%2e", "main%00", "main;a", "m%61in", "main%20"):
        for rest in ("", "/accounts", f"/accounts/{payer['id']}", "/overview", "/idempotency-keys/k"):
            answered = await call(application, Sent("GET", f"/v1/ledgers/{name}{rest}"))
            assert (answered.status, json.loads(answered.body)["code"]) == (404, "not_found"), (name, rest)


@pytest.mark.parametrize("spelled", ["k%65y", "%6b%65%79", "%6B%65%79", "key"])
async def test_a_key_may_be_spelled_in_any_way(application: Application, ledger: LedgerClient, spelled: str) -> None:
    answered = await call(application, Sent("GET", f"{ledger.path}/idempotency-keys/{spelled}"))
    assert (answered.status, json.loads(answered.body)["idempotency_key"]) == (200, "key")


@pytest.mark.parametrize("key", ["!'()*", "%21%27%28%29%2A", "%21%27%28%29%2a", "!%27()*"])
async def test_clients_escape_keys_as_they_like(application: Application, ledger: LedgerClient, key: str) -> None:
    answered = await call(application, Sent("GET", f"{ledger.path}/idempotency-keys/{key}"))
    assert (answered.status, json.loads(answered.body)["idempotency_key"]) == (200, "!'()*")


@pytest.mark.parametrize(
    "key",
    [
        ".",
        "..",
        "%2e",
        "%2E%2E",
        ".%2e",
        "a%2F..%2Fb",
        "..%2F..",
        "a%2F.",
        "a%1Fb",
        "a\\b",
        '"a"',
        "a|b",
        "%",
        "%2",
        "%zz",
    ],
)
async def test_a_key_that_others_take_for_a_way_is_not_served(
    application: Application, ledger: LedgerClient, key: str
) -> None:
    for rest in ("", "/fence"):
        sent = Sent("POST" if rest else "GET", f"{ledger.path}/idempotency-keys/{key}{rest}")
        assert (await call(application, sent)).status == 404, key


async def test_a_very_long_path_is_cut_in_its_problem(application: Application) -> None:
    for path in (
        "/" + "x" * 60_000,
        "/v1/ledgers/" + "x" * 60_000,
        "/v1/ledgers/main/idempotency-keys/" + "%41" * 20_000,
    ):
        assert len((await call(application, Sent("GET", path))).body) < 8192


async def test_head_answers_as_get_does(
    application: Application, ledger: LedgerClient, payer: JSON, payee: JSON
) -> None:
    await ledger.post(payer, payee, "key")
    posted = await ledger.move(payer, payee)
    paths = [operation.path.replace("main", ledger.name) for operation in application.contract.operations]
    paths += [
        f"{ledger.accounts}/{payer['id']}",
        f"{ledger.accounts}/{payer['id']}?expand=holds",
        f"{ledger.accounts}?limit=1",
    ]
    paths += [
        f"{ledger.transfers}/{posted['id']}",
        f"{ledger.path}/idempotency-keys/key",
        "/problems/not_found",
        "/nothing",
    ]
    paths += ["/docs", "/openapi.json", "/docs/assets/swagger-ui.css", "/docs/assets/absent.css", "/health/live"]
    headers = {"X-Request-Id": "both"}
    for path in paths:
        got, head = [await ledger.client.request(method, path, headers=headers) for method in ("GET", "HEAD")]
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers.keys() == got.headers.keys(), path
        differing = {name for name in got.headers if got.headers[name] != head.headers[name]}
        assert not differing or path == "/health/ready", path
        assert int(head.headers["content-length"]) == len(got.content) or path == "/health/ready", path


async def test_head_needs_the_token_that_get_needs(
    anonymous: httpx.AsyncClient, ledger: LedgerClient, payer: JSON
) -> None:
    response = await anonymous.head(f"{ledger.accounts}/{payer['id']}")
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_options_lists_every_method_of_a_path(application: Application, client: httpx.AsyncClient) -> None:
    paths = {operation.template: operation.path for operation in application.contract.operations}
    for template, path in paths.items():
        meant = {one.method for one in application.contract.operations if one.template == template} | {"OPTIONS"}
        meant |= {"HEAD"} if "GET" in meant else set()
        allowed = (await client.options(path)).headers["Allow"]
        refused = await client.delete(path)
        assert allowed == refused.headers["Allow"] == ", ".join(sorted(meant)), template


async def test_options_is_open_where_get_is(application: Application, anonymous: httpx.AsyncClient) -> None:
    for operation in application.contract.operations:
        response = await anonymous.options(operation.path)
        assert response.status_code == (401 if operation.template.startswith("/v1/") else 204), operation.template
    for path in ("/docs", "/openapi.json", "/docs/assets/swagger-ui.css", "/docs/openapi.json"):
        response = await anonymous.options(path)
        assert (response.status_code, response.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")


async def test_the_application_does_not_name_its_server(application: Application, ledger: LedgerClient) -> None:
    for path in (ledger.path, "/nothing", "/docs", "/docs/assets/swagger-ui.css", "/health/live"):
        answered = await call(application, Sent("GET", path))
        assert not {b"server", b"x-powered-by", b"via"} & dict(answered.headers).keys()


async def test_nothing_is_looked_up_for_who_may_not_see(
    application: Application, client: httpx.AsyncClient, make_client: MakeClient
) -> None:
    limited = await make_client("admin", ledgers=["main"])
    await limited.get("/v1/ledgers/main")  # the token is known from here on
    hidden, absent = unique("hidden"), unique("absent")
    await LedgerClient.open(client, hidden)
    with _statements(application) as statements:
        await _compare_hidden_with_absent(application, limited, hidden, absent)
        assert not statements
        await limited.get("/v1/ledgers")
        assert statements


async def test_a_used_key_names_no_ledger_that_the_token_does_not_see(make_client: MakeClient) -> None:
    caller, hidden, seen = unique("client"), unique("hidden"), unique("seen")
    whole, limited = await make_client("admin", name=caller), await make_client("admin", name=caller, ledgers=[seen])
    await whole.post("/v1/ledgers", json={"name": hidden}, headers=keyed("key"))
    told = problem(await whole.post("/v1/ledgers", json={"name": seen}, headers=keyed("key")), 422, REUSED)
    assert told["earlier_request"]["ledger"] == hidden
    untold = await limited.post("/v1/ledgers", json={"name": seen}, headers=keyed("key"))
    assert problem(untold, 422, REUSED)["idempotency_key"] == "key"
    assert hidden not in untold.text


@contextmanager
def _statements(application: Application) -> Iterator[list[str]]:
    """Collect the statements that requests send to the database, but for those that ask whose token it is."""
    workers = {worker._name for worker in application.app.state.services.workers}
    pools = structs.astuple(application.app.state.services.pools)
    engines = {one.engine.sync_engine for one in pools if isinstance(one, Database)}
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        task = asyncio.current_task()
        if task is None or (task.get_name() not in workers and "FROM funds.tokens" not in statement):
            seen.append(statement)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


async def _compare_hidden_with_absent(
    application: Application, limited: httpx.AsyncClient, hidden: str, absent: str
) -> None:
    for operation in application.contract.operations:
        creates = operation.template == "/v1/ledgers" and operation.method == "POST"
        if "{ledger_name}" not in operation.template and not creates:
            continue
        answers = []
        for name in (hidden, absent):
            answered = await limited.request(
                operation.method,
                "/v1/ledgers" if creates else filled(operation.template, name, str(UUID(int=0))),
                headers=keyed("key") | {"If-Match": "*", "X-Request-Id": "both"},
                json={"name": name} if creates else {} if "requestBody" in operation.description else None,
            )
            answers.append((answered.status_code, answered.headers, answered.text.replace(name, "LEDGER")))
        assert answers[0][0] >= 400
        assert answers[0] == answers[1]
