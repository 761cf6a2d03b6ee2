"""Request bodies: everything wrong is a problem that points at the fault, and the document says the same."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.conftest import Application
from tests.api.contract import Operation
from tests.api.ledger import JSON, Book, answer, item, keyed, pointers, problem, transfer
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
async def test_a_time_outside_the_calendar(book: Book, time: str) -> None:
    debit, credit = await book.account(), await book.account()
    assert pointers(await book.post(debit, credit, effective_at=time)) == ["/effective_at"]
    response = await book.batch(item(debit, credit), item(debit, credit, effective_at=time))
    assert pointers(response) == ["/transfers/1/effective_at"]
    assert answer(await book.client.get(book.transfers))["items"] == []


def _operations_with_body(application: Application, *, required: bool = False) -> Iterator[tuple[str, str]]:
    """Method and path of every operation that takes (or requires) a body, of resources that are not there."""
    for operation in application.contract.operations:
        body = operation.description.get("requestBody")
        if body is not None and (body["required"] or not required):
            yield operation.method, operation.path


async def test_no_body_where_one_is_required(client: httpx.AsyncClient, application: Application) -> None:
    for method, path in _operations_with_body(application, required=True):
        response = await client.request(method, path, headers=keyed() | {"If-Match": "*"})
        assert pointers(response) == [""]


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in (NOT_JSON | NO_OBJECT).items()])
async def test_a_body_that_is_no_json_object(client: httpx.AsyncClient, application: Application, body: bytes) -> None:
    for method, path in _operations_with_body(application):
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
    for method, path in _operations_with_body(application):
        headers = keyed() | {"If-Match": "*", "Content-Type": content_type}
        response = await client.request(method, path, json={}, headers=headers)
        problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON;a=b"]
)
async def test_every_way_to_call_a_body_json(book: Book, content_type: str) -> None:
    response = await book.client.post(book.accounts, json=ACCOUNT, headers=keyed() | {"Content-Type": content_type})
    assert response.status_code == 201


async def test_a_body_that_is_called_nothing_is_taken_for_json(book: Book) -> None:
    response = await book.client.post(book.accounts, content=json.dumps(ACCOUNT), headers=keyed())
    assert "content-type" not in response.request.headers
    assert response.status_code == 201


async def test_a_megabyte_of_metadata(book: Book) -> None:
    debit, credit = await book.account(), await book.account()
    metadata = {"key": "v" * 2**20}
    problem(await book.post(debit, credit, metadata=metadata), 413, "request_too_large")
    response = await book.client.post(book.accounts, json=ACCOUNT | {"metadata": metadata}, headers=keyed())
    problem(response, 413, "request_too_large")
    problem(await book.revise(debit, metadata=metadata), 413, "request_too_large")
    assert pointers(await book.batch(item(debit, credit, metadata=metadata))) == ["/transfers/0/metadata"]


async def test_members_of_the_largest_size_are_taken(book: Book) -> None:
    largest: dict[str, Any] = {
        "reference": "\U0001f3e6" * 255,
        "description": "\U0001f3e6" * 1000,
        "metadata": {f"{number:064}": "v" * 500 for number in range(50)},
    }
    posted = await book.move(await book.account(), await book.account(), **largest)
    assert posted | largest == posted


async def test_of_a_member_that_is_said_twice_the_last_counts(book: Book) -> None:
    body = json.dumps(transfer(await book.account(), await book.account()))
    twice = body.replace('"amount": 1', '"amount": 1, "amount": 5')
    headers = keyed() | {"Content-Type": "application/json"}
    posted = await book.client.post(book.transfers, content=twice, headers=headers)
    assert answer(posted)["amount"] == 5
    replayed = await book.client.post(
        book.transfers, content=body.replace('"amount": 1', '"amount": 5'), headers=headers
    )
    assert replayed.headers["Idempotency-Replayed"] == "true"
