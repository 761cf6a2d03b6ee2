"""An object that says a member twice is refused wherever it stands: of two readers, each could take another one."""

import json
from typing import Any

import httpx
import msgspec
import pytest

from tests.api.wrong_bodies import ACCOUNT_ID
from tests.support.http_ledger import LedgerClient, answer, item, keyed, pointers, transfer

SENT_AS_JSON = {"Content-Type": "application/json"}


def _doubled(body: dict[str, Any], name: str, value: object, first_letter: str) -> bytes:
    """Return ``body`` in JSON, with the member ``name`` first and a second time, as ``value``, at its end."""
    first = body | {name: body.get(name, value)}
    again = first_letter.format(name[0], ord(name[0])) + name[1:]
    return f'{json.dumps(first)[:-1]}, "{again}": {json.dumps(value)}}}'.encode()


@pytest.mark.parametrize("first_letter", ["{0}", "\\u{1:04x}"])
@pytest.mark.parametrize(
    ("method", "path", "body", "name", "value"),
    [
        ("POST", "/v1/ledgers", {"name": "twice"}, "name", "other"),
        ("POST", "/v1/ledgers/main/accounts", {"currency": "USD"}, "currency", "EUR"),
        ("POST", "/v1/ledgers/main/accounts", {"currency": "USD"}, "minimum_balance", None),
        ("PATCH", f"/v1/ledgers/main/accounts/{ACCOUNT_ID}", {}, "status", "frozen"),
        ("POST", "/v1/ledgers/main/transfers", transfer({"id": ACCOUNT_ID}, {"id": ACCOUNT_ID}), "amount", 500),
        ("POST", f"/v1/ledgers/main/transfers/{ACCOUNT_ID}/reversals", {"amount": 1}, "amount", 1),
        ("POST", "/v1/ledgers/main/holds", transfer({"id": ACCOUNT_ID}, {"id": ACCOUNT_ID}), "reference", "r"),
        ("POST", f"/v1/ledgers/main/holds/{ACCOUNT_ID}/captures", {"final": False}, "final", True),
        ("POST", "/v1/ledgers/main/transfers/batch", {"transfers": [{}]}, "transfers", []),
        ("POST", "/v1/ledgers/main/transfers/batch", {"transfers": [{}]}, "transfers", [{}]),
        ("POST", "/v1/ledgers/main/transfers/batch", {"transfers": [{}]}, "mode", "atomic"),
    ],
)
async def test_every_body_is_held_to_it(
    client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any], name: str, value: object, first_letter: str
) -> None:
    content = _doubled(body, name, value, first_letter)
    headers = keyed() | SENT_AS_JSON | {"If-Match": "*"}
    assert pointers(await client.request(method, path, content=content, headers=headers)) == [f"/{name}"]


@pytest.mark.parametrize(
    ("right", "wrong", "pointer"),
    [
        ('"amount": 1', '"amount": 1, "amount": 5', "/amount"),
        ('"amount": 1', r'"amount": 1, "\u0061mount": 5', "/amount"),
        ('"amount": 1', r'"amount": {"at_most": 1, "at_mos\u0074": 5}', "/amount/at_most"),
        ('"amount": 1', '"amount": 1, "metadata": {"k": "v", "k": "v"}', "/metadata/k"),
        ('"amount": 1', '"amount": 1, "reference": null, "reference": null', "/reference"),
        ('"amount": 1', '"amount": 1, "metadata": {}, "metadata": {}', "/metadata"),
        ('"amount": 1', r'"amount": 1, "reference": "\"", "metadata": {"\"": "\\", "\u0022": ""}', '/metadata/"'),
    ],
)
async def test_no_transfer_is_decided_by_the_second(ledger: LedgerClient, right: str, wrong: str, pointer: str) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    body = json.dumps(transfer(debit, credit)).replace(right, wrong)
    response = await ledger.client.post(ledger.transfers, content=body, headers=keyed() | SENT_AS_JSON)
    assert pointers(response) == [pointer]
    items = ", ".join(json.dumps(item(debit, credit)) for _ in range(3))
    body = f'{{"transfers": [{items}, {json.dumps(item(debit, credit)).replace(right, wrong)}]}}'
    assert pointers(await ledger.client.post(ledger.batches, content=body, headers=SENT_AS_JSON)) == [
        f"/transfers/3{pointer}"
    ]
    assert answer(await ledger.client.get(ledger.transfers))["items"] == []


async def test_of_holds_in_a_batch_too(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    body = msgspec.json.encode({"transfers": [item(debit, credit, hold={"expires_in_seconds": 60})]})
    body = body.replace(b'"expires_in_seconds":60', b'"expires_in_seconds":60,"expires_in_seconds":6000')
    response = await ledger.client.post(ledger.batches, content=body, headers=SENT_AS_JSON)
    assert pointers(response) == ["/transfers/0/hold/expires_in_seconds"]


async def test_what_is_said_once_is_taken_however_it_is_written(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    written: dict[str, Any] = {
        "reference": 'a "b" \\ \\" reference',
        "description": "amount, reference: \ud83c\udfe6".encode("utf-16", "surrogatepass").decode("utf-16"),
        "metadata": {"reference": "reference", '"': '\\"', "\\": "", "amount": '"amount": 1'},
    }
    for body in (
        json.dumps(transfer(debit, credit, **written)),
        json.dumps(transfer(debit, credit, **written), indent=1),
    ):
        response = await ledger.client.post(ledger.transfers, content=body, headers=keyed() | SENT_AS_JSON)
        assert response.status_code == 201
        assert answer(response) | written == answer(response)
    nothing: dict[str, Any] = {"reference": None, "description": None, "effective_at": None, "metadata": {}}
    assert (await ledger.batch(item(debit, credit, **nothing), item(debit, credit, **written))).status_code == 201
