"""Request bodies: everything wrong is a problem that points at the fault, and the document says the same."""

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.api.moves import open_hold, read_hold, read_key
from tests.api.wrong_bodies import (
    ACCOUNT,
    ACCOUNT_ID,
    NO_OBJECT,
    NOT_JSON,
    TRANSFER,
    WRONG_ACCOUNTS,
    WRONG_ITEMS,
    WRONG_LEDGERS,
    WRONG_PATCHES,
    WRONG_TRANSFERS,
)
from tests.support.application import Application
from tests.support.contract import Operation
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, pointers, problem


def _cut(value: object) -> str:
    return repr(value)[:40]


def _pointer(member: str) -> str:
    return "/" + member.replace("~", "~0").replace("/", "~1")


def _operation(application: Application, operation_id: str) -> Operation:
    [found] = [one for one in application.contract.operations if one.description["operationId"] == operation_id]
    return found


@pytest.mark.parametrize(("member", "value"), WRONG_TRANSFERS, ids=_cut)
async def test_a_wrong_transfer(
    client: httpx.AsyncClient, application: Application, member: str, value: object
) -> None:
    body = TRANSFER | {member: value}
    response = await client.post("/v1/ledgers/main/transfers", json=body, headers=keyed())
    assert pointers(response) == [_pointer(member)]
    assert application.contract.request_faults(_operation(application, "postTransfer"), body)


@pytest.mark.parametrize(("member", "value"), WRONG_ACCOUNTS, ids=_cut)
async def test_a_wrong_account(client: httpx.AsyncClient, application: Application, member: str, value: object) -> None:
    body = ACCOUNT | {member: value}
    response = await client.post("/v1/ledgers/main/accounts", json=body, headers=keyed())
    assert pointers(response) == [_pointer(member)]
    assert application.contract.request_faults(_operation(application, "createAccount"), body)


@pytest.mark.parametrize(("member", "value"), WRONG_PATCHES, ids=_cut)
async def test_a_wrong_revision(
    client: httpx.AsyncClient, application: Application, member: str, value: object
) -> None:
    body = {member: value}
    path = f"/v1/ledgers/main/accounts/{ACCOUNT_ID}"
    response = await client.patch(path, json=body, headers={"If-Match": "*"})
    assert pointers(response) == [_pointer(member)]
    assert application.contract.request_faults(_operation(application, "reviseAccount"), body)


@pytest.mark.parametrize(("member", "value"), WRONG_LEDGERS, ids=_cut)
async def test_a_wrong_ledger(client: httpx.AsyncClient, application: Application, member: str, value: object) -> None:
    body = {"name": "right"} | {member: value}
    response = await client.post("/v1/ledgers", json=body, headers=keyed())
    assert pointers(response) == [_pointer(member)]
    assert application.contract.request_faults(_operation(application, "createLedger"), body)


@pytest.mark.parametrize(("member", "value"), WRONG_ITEMS, ids=_cut)
async def test_a_wrong_item_of_a_batch(
    client: httpx.AsyncClient, application: Application, member: str, value: object
) -> None:
    right = TRANSFER | {"idempotency_key": "key"}
    body = {"transfers": [right, right | {member: value}]}
    response = await client.post("/v1/ledgers/main/transfers/batch", json=body)
    assert pointers(response) == [f"/transfers/1{_pointer(member)}"]
    assert application.contract.request_faults(_operation(application, "postTransferBatch"), body)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"transfers": None}, "/transfers"),
        ({"transfers": {}}, "/transfers"),
        ({"transfers": []}, "/transfers"),
        ({"transfers": [None]}, "/transfers/0"),
        ({"transfers": [[]]}, "/transfers/0"),
        ({"transfers": [TRANSFER]}, "/transfers/0"),
        ({"transfers": [TRANSFER | {"idempotency_key": "k"}], "mode": "both"}, "/mode"),
        ({"transfers": [TRANSFER | {"idempotency_key": "k"}], "mode": None}, "/mode"),
        ({"transfers": [TRANSFER | {"idempotency_key": "k"}], "unknown": 1}, "/unknown"),
    ],
    ids=_cut,
)
async def test_a_wrong_batch(client: httpx.AsyncClient, application: Application, body: JSON, pointer: str) -> None:
    response = await client.post("/v1/ledgers/main/transfers/batch", json=body)
    assert pointers(response) == [pointer]
    assert application.contract.request_faults(_operation(application, "postTransferBatch"), body)


@pytest.mark.parametrize("written", ["1.0", "1e3", "10e-1", "0.0"])
async def test_an_amount_is_no_fraction_even_if_it_is_whole(client: httpx.AsyncClient, written: str) -> None:
    body = json.dumps(TRANSFER).replace('"amount": 1', f'"amount": {written}')
    headers = keyed() | {"Content-Type": "application/json"}
    response = await client.post("/v1/ledgers/main/transfers", content=body, headers=headers)
    assert pointers(response) == ["/amount"]


@pytest.mark.parametrize("missing", TRANSFER)
async def test_a_transfer_that_lacks_a_member(client: httpx.AsyncClient, missing: str) -> None:
    body = {name: value for name, value in TRANSFER.items() if name != missing}
    response = await client.post("/v1/ledgers/main/transfers", json=body, headers=keyed())
    assert pointers(response) == [""]
    assert missing in answer(response)["detail"]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00"])
async def test_a_time_outside_the_calendar(ledger: LedgerClient, time: str) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    assert pointers(await ledger.post(debit, credit, effective_at=time)) == ["/effective_at"]
    response = await ledger.batch(item(debit, credit), item(debit, credit, effective_at=time))
    assert pointers(response) == ["/transfers/1/effective_at"]
    assert answer(await ledger.client.get(ledger.transfers))["items"] == []


def _operations(application: Application, *, body: bool) -> Iterator[tuple[str, str]]:
    """Method and path of every operation that takes a body, or of every one that takes none, of resources that are not
    there.
    """
    for operation in application.contract.operations:
        if ("requestBody" in operation.description) == body:
            yield operation.method, operation.path


async def _chunked(*parts: bytes) -> AsyncIterator[bytes]:
    """A body that comes in ``parts``, without a told length."""
    for part in parts:
        yield part


async def test_every_operation_that_takes_a_body_needs_one(client: httpx.AsyncClient, application: Application) -> None:
    described = list(_operations(application, body=True))
    for end in ("captures", "reversals", "batch", "holds", "transfers", "accounts", "ledgers"):
        assert any(path.endswith(f"/{end}") for _, path in described), end
    for method, path in described:
        for content in (None, b"", _chunked()):
            response = await client.request(method, path, headers=keyed() | {"If-Match": "*"}, content=content)
            assert pointers(response) == [""]
            assert "a body is required" in answer(response)["detail"]
            assert "{}" in answer(response)["detail"]


async def test_every_operation_that_takes_no_body_refuses_one(
    client: httpx.AsyncClient, application: Application
) -> None:
    described = list(_operations(application, body=False))
    for end in ("void", "fence", "live", "ready", "accounts", "overview"):
        assert any(path.endswith(f"/{end}") for _, path in described), end
    for method, path in described:
        for content in (b"{}", b" ", b"x" * 100_000, _chunked(b"{", b"}")):
            response = await client.request(method, path, headers=keyed(), content=content)
            assert pointers(response) == [""]
            assert "takes no body" in answer(response)["detail"]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
async def test_other_methods_take_no_body(client: httpx.AsyncClient, application: Application, method: str) -> None:
    for operation in application.contract.operations:
        without = await client.request(method, operation.path)
        response = await client.request(method, operation.path, content=b"{}")
        if without.status_code != 405:
            assert response.status_code == 400


async def test_no_bytes_are_no_body(ledger: LedgerClient) -> None:
    account, other = await ledger.account(), await ledger.account()
    for content in (None, b"", _chunked()):
        assert (await ledger.client.request("GET", ledger.accounts, content=content)).status_code == 200
        hold = await open_hold(ledger, account, other)
        path = f"{ledger.path}/holds/{hold['id']}/void"
        assert (await ledger.client.post(path, content=content, headers=keyed())).status_code == 200


@pytest.mark.parametrize("path", ["captures", "void"])
async def test_a_body_that_is_refused_ends_no_hold(ledger: LedgerClient, path: str) -> None:
    account, other = await ledger.account(), await ledger.account()
    hold = await open_hold(ledger, account, other)
    content = b"" if path == "captures" else b'{"amount": 1}'
    response = await ledger.client.post(
        f"{ledger.path}/holds/{hold['id']}/{path}", content=content, headers=keyed("once")
    )
    assert pointers(response) == [""]
    assert (await read_hold(ledger, hold))["status"] == "open"
    assert (await read_key(ledger, "once"))["outcome"] == "never_seen"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "gzip, identity", "x"])
async def test_a_body_that_is_coded(client: httpx.AsyncClient, application: Application, coding: str) -> None:
    for method, path in _operations(application, body=True):
        headers = keyed() | {"If-Match": "*", "Content-Type": "application/json", "Content-Encoding": coding}
        for content in (b"{}", gzip.compress(b"{}")):
            response = await client.request(method, path, content=content, headers=headers)
            assert "Content-Encoding" in problem(response, 415, "unsupported_media_type")["detail"]


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity"])
async def test_every_way_to_say_that_a_body_comes_as_it_is(ledger: LedgerClient, coding: str) -> None:
    response = await ledger.client.post(ledger.accounts, json=ACCOUNT, headers=keyed() | {"Content-Encoding": coding})
    assert response.status_code == 201


async def test_codings_are_told_once(ledger: LedgerClient) -> None:
    told = [("Content-Encoding", "gzip"), ("Content-Encoding", "identity"), ("Idempotency-Key", "key")]
    response = await ledger.client.post(ledger.accounts, json=ACCOUNT, headers=told)
    assert pointers(response) == ["/header/Content-Encoding"]


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in (NOT_JSON | NO_OBJECT).items()])
async def test_a_body_that_is_no_json_object(client: httpx.AsyncClient, application: Application, body: bytes) -> None:
    for method, path in _operations(application, body=True):
        headers = keyed() | {"If-Match": "*", "Content-Type": "application/json"}
        response = await client.request(method, path, content=body, headers=headers)
        assert problem(response, 400, "malformed_request")["outcome"] == "not_applied"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/msgpack",
        "application/json-patch+json",
        "json",
    ],
)
async def test_a_body_that_is_not_called_json(
    client: httpx.AsyncClient, application: Application, content_type: str
) -> None:
    for method, path in _operations(application, body=True):
        headers = keyed() | {"If-Match": "*", "Content-Type": content_type}
        response = await client.request(method, path, json={}, headers=headers)
        problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; a=b ; Charset=utf8",
        "Application/JSON;a=b",
    ],
)
async def test_every_way_to_call_a_body_json(ledger: LedgerClient, content_type: str) -> None:
    response = await ledger.client.post(ledger.accounts, json=ACCOUNT, headers=keyed() | {"Content-Type": content_type})
    assert response.status_code == 201


@pytest.mark.parametrize(
    "charset", ["utf-16", "UTF-16LE", "iso-8859-1", '"latin1"', "utf-7", "", "utf-8; charset=utf-16", "us-ascii"]
)
async def test_a_body_in_another_charset(client: httpx.AsyncClient, application: Application, charset: str) -> None:
    for method, path in _operations(application, body=True):
        headers = keyed() | {"If-Match": "*", "Content-Type": f"application/json; charset={charset}"}
        response = await client.request(method, path, json={}, headers=headers)
        assert "UTF-8" in problem(response, 415, "unsupported_media_type")["detail"]


async def test_a_body_that_is_called_nothing_is_taken_for_json(ledger: LedgerClient) -> None:
    response = await ledger.client.post(ledger.accounts, content=json.dumps(ACCOUNT), headers=keyed())
    assert "content-type" not in response.request.headers
    assert response.status_code == 201


async def test_a_megabyte_of_metadata(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    metadata = {"key": "v" * 2**20}
    problem(await ledger.post(debit, credit, metadata=metadata), 413, "request_too_large")
    response = await ledger.client.post(ledger.accounts, json=ACCOUNT | {"metadata": metadata}, headers=keyed())
    problem(response, 413, "request_too_large")
    problem(await ledger.revise(debit, metadata=metadata), 413, "request_too_large")
    assert pointers(await ledger.batch(item(debit, credit, metadata=metadata))) == ["/transfers/0"]


async def test_members_of_the_largest_size_are_taken(ledger: LedgerClient) -> None:
    largest: dict[str, Any] = {
        "reference": "\U0001f3e6" * 255,
        "description": "\U0001f3e6" * 1000,
        "metadata": {f"{number:064}": "v" * 500 for number in range(50)},
    }
    posted = await ledger.move(await ledger.account(), await ledger.account(), **largest)
    assert posted | largest == posted
