"""Query strings: an unknown, repeated or wrong parameter is refused, and the document says the same."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.application import Application
from tests.support.contract import Operation
from tests.support.http_ledger import LedgerClient, pointers

INTEGERS = [
    "",
    "x",
    "01",
    "1.0",
    "1e1",
    "0x1",
    "+1",
    " 1",
    "1 ",
    "1_0",
    "１",
    "true",
    "9" * 30,
    "99999999999999999999999",
]
TIMES = [
    "",
    "now",
    "5",
    "2026-01-01",
    "2026-01-01T00:00:00",
    "2026-02-30T00:00:00Z",
    "2026-01-01T00:00:00+25:00",
    "2026-01-01T00:00:00.0000001Z",
]
UNKNOWN_ID = "d7a3f0b2-4c61-4e8e-9d5a-1b2c3d4e5f60"
IDS = ["", "x", "5", UNKNOWN_ID[:-1], f"urn:uuid:{UNKNOWN_ID}"]
TEXTS = ["", "a\x00b", "r" * 256]

WRONG = [
    *(("/v1/ledgers", "limit", value) for value in (*INTEGERS, "0", "-1", "1001")),
    ("/v1/ledgers", "cursor", "c" * 2001),
    *(("accounts", "limit", value) for value in ("0", "1001", "1.0")),
    *((path, "order", value) for path in ("/v1/ledgers", "transfers") for value in ("", "ASC", "rising", "asc ")),
    *(("accounts", "currency", value) for value in ("", "usd", "US", "USDT", "USD\n", "U\x00D")),
    *(("accounts", "status", value) for value in ("", "Open", "active", "open\x00")),
    *(("accounts", "reference", value) for value in TEXTS),
    *(("transfers", "limit", value) for value in ("0", "1001", "1.0")),
    *(("transfers", "account_id", value) for value in IDS),
    *(("transfers", "reference", value) for value in TEXTS),
    *(("transfers", "debit_account_reference", value) for value in TEXTS),
    *(("transfers", "credit_account_reference", value) for value in TEXTS),
    *(("transfers", name, value) for name in ("counterparty_id", "hold_id", "reverses_id") for value in IDS),
    *(("transfers", "reference_prefix", value) for value in (*TEXTS, " ", " a")),
    *(
        ("transfers", name, value)
        for name in ("amount_min", "amount_max")
        for value in (*INTEGERS, "0", "-1", str(2**63))
    ),
    *(("transfers", "currency", value) for value in ("", "usd", "US")),
    *(("transfers", "client", value) for value in ("", "c" * 129, " c")),
    *(("transfers", "description", value) for value in ("", "d" * 1001)),
    *(("transfers", "metadata", value) for value in ("", "x", ":", ":x", "x" * 600 + ":")),
    *(("transfers", name, value) for name in ("effective_from", "effective_to") for value in TIMES),
    *(("transfers", "created_from", value) for value in TIMES),
    *(("transfers", "created_to", value) for value in TIMES),
    *((f"accounts/{UNKNOWN_ID}", "expand", value) for value in ("", "everything", "Transfers")),
    *((f"transfers/{UNKNOWN_ID}", "expand", value) for value in ("", "everything", "account")),
]


def _path(path: str) -> str:
    return path if path.startswith("/") else f"/v1/ledgers/main/{path}"


def _described(application: Application, path: str) -> tuple[Operation, Mapping[str, Mapping[str, Any]]]:
    found = application.contract.find(path)
    assert found is not None
    operation = found[1]["GET"]
    return operation, application.contract.parameters(operation, "query")


@pytest.mark.parametrize(("path", "name", "value"), WRONG, ids=lambda text: repr(text)[:30])
async def test_a_wrong_value(
    application: Application, client: httpx.AsyncClient, path: str, name: str, value: str
) -> None:
    assert pointers(await client.get(_path(path), params={name: value})) == [f"/query/{name}"]
    _, described = _described(application, _path(path))
    assert application.contract.parameter_faults(described[name], value)


async def test_every_parameter_comes_once_unless_it_is_a_list(
    application: Application, client: httpx.AsyncClient
) -> None:
    values = {"integer": "5", "boolean": "true"}
    for operation in application.contract.operations:
        for name, parameter in application.contract.parameters(operation, "query").items():
            kind = parameter["schema"].get("type", "string")
            if kind == "array":
                continue
            value = values.get(kind, str(uuid4()))
            response = await client.request(operation.method, f"{operation.path}?{name}={value}&{name}={value}")
            assert pointers(response) == [f"/query/{name}"]


@pytest.mark.parametrize(
    "name", ["unknown", "Limit", "limit ", "data", "request", "services", "ledger", "ledger_name", ""]
)
async def test_a_parameter_that_no_operation_has(
    application: Application, client: httpx.AsyncClient, name: str
) -> None:
    for operation in application.contract.operations:
        response = await client.request(operation.method, operation.path, params={name: "1"})
        assert pointers(response) == [f"/query/{name}"]


async def test_parameters_of_the_path_are_none_of_the_query(client: httpx.AsyncClient) -> None:
    response = await client.get(f"/v1/ledgers/main/accounts/{uuid4()}?account_id={uuid4()}")
    assert pointers(response) == ["/query/account_id"]


@pytest.mark.parametrize("query", ["", "?", "?&", "?limit=100&"])
async def test_an_empty_query_is_none(ledger: LedgerClient, query: str) -> None:
    assert (await ledger.client.get(f"{ledger.accounts}{query}")).status_code == 200


@pytest.mark.parametrize("limit", ["1", "1000", "%31"])
async def test_every_way_to_write_a_limit(ledger: LedgerClient, limit: str) -> None:
    assert (await ledger.client.get(f"{ledger.accounts}?limit={limit}")).status_code == 200


@pytest.mark.parametrize("zone", ["Z", "z", "%2B00:00", "-12:30"])
async def test_every_way_to_write_a_zone(ledger: LedgerClient, zone: str) -> None:
    response = await ledger.client.get(f"{ledger.transfers}?created_from=2026-01-01T00:00:00{zone}")
    assert response.status_code == 200


@pytest.mark.parametrize("text", ["a b&c=d+e", "ü", "🏦", "%", "50%25", "a/b?c#d"])
async def test_text_is_found_as_it_was_stored(ledger: LedgerClient, text: str) -> None:
    account = await ledger.account(reference=text)
    response = await ledger.client.get(ledger.accounts, params={"reference": text})
    assert [one["id"] for one in response.json()["items"]] == [account["id"]]


@pytest.mark.parametrize("escaped", ["%FF", "%ED%A0%80", "%C0%80", "%F4%90%80%80", "%C3"])
async def test_bytes_that_are_no_text_are_refused(ledger: LedgerClient, escaped: str) -> None:
    for query in (f"reference={escaped}", f"{escaped}=1"):
        response = await ledger.client.get(f"{ledger.accounts}?{query}")
        assert pointers(response) == ["/query"]
        assert "UTF-8" in response.json()["detail"]


@pytest.mark.parametrize("escaped", ["%zz", "%"])
async def test_what_escapes_nothing_stands_for_itself(ledger: LedgerClient, escaped: str) -> None:
    account = await ledger.account(reference=escaped)
    response = await ledger.client.get(f"{ledger.accounts}?reference={escaped}")
    assert [one["id"] for one in response.json()["items"]] == [account["id"]]
