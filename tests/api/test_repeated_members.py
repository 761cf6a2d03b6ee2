"""An object that says a member twice is refused wherever it stands: of two readers, each could take another one."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.api.batch_bodies import BatchItem
from service.api.problems import ProblemError
from service.api.schemas import (
    AccountPatch,
    AccountRequest,
    CaptureRequest,
    HoldRequest,
    LedgerRequest,
    TransferRequest,
)
from service.api.wire import count_texts, said_twice, says_once, texts_min
from tests.api.ledger import Book, answer, item, keyed, pointers, transfer
from tests.api.wrong_bodies import ACCOUNT_ID

SENT_AS_JSON = {"Content-Type": "application/json"}

# Texts that are taken apart wrongly when quotation marks and backslashes are counted wrongly.
TEXTS = st.text('"\\ab:,{}[]ü\U0001f3e6\n', max_size=4)
NAMES = st.sampled_from(["a", "b", '"', "\\", "\\\\", '\\"', ":", "", "ü", "a\\", '"a']) | TEXTS


class RepeatedError(Exception):
    """Raised by the reference for an object with a repeated member."""


def _written(value: object) -> st.SearchStrategy[str]:
    """Every way to write a text is taken: plainly, with short escapes, with every character escaped."""
    text = json.dumps(value)
    escaped = "".join(f"\\u{unit:04x}" for unit in _units(str(value)))
    return st.sampled_from([text, json.dumps(value, ensure_ascii=False), f'"{escaped}"'])


def _units(text: str) -> list[int]:
    encoded = text.encode("utf-16-be")
    return [int.from_bytes(encoded[place : place + 2]) for place in range(0, len(encoded), 2)]


def _object(pairs: Sequence[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{name} : {value}" for name, value in pairs) + "}"


JSON_TEXTS = st.recursive(
    st.sampled_from(["1", "null", "true", "-0.5e3", '""']) | TEXTS.flatmap(_written),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: "[" + ", ".join(values) + "]")
        | st.lists(st.tuples(NAMES.flatmap(_written), inner), max_size=4).map(_object)
    ),
    max_leaves=8,
)


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise RepeatedError
    return dict(pairs)


def _says_once_by_reference(body: bytes) -> bool:
    try:
        json.loads(body, object_pairs_hook=_refuse_repeated)
    except RepeatedError:
        return False
    return True


@given(JSON_TEXTS)
@example(r'{"a": "\"", "a": "\\"}')
@example(r'{"a": "\\\"", "\u0061": "\"\""}')
@example('{"": {"": 1, "": 2}}')
def test_counting_texts_finds_exactly_what_looking_at_every_pair_finds(text: str) -> None:
    body = text.encode()
    assert says_once(body) == _says_once_by_reference(body)
    if not says_once(body):
        [fault] = said_twice(body).members["errors"]
        assert fault["pointer"].startswith("/")


SHORTEST = transfer({"id": ACCOUNT_ID}, {"id": ACCOUNT_ID})


@pytest.mark.parametrize(
    ("kind", "shortest", "another_text"),
    [
        (TransferRequest, SHORTEST, {"reference": "r"}),
        (TransferRequest, SHORTEST, {"amount": {"at_most": 1}}),
        (HoldRequest, SHORTEST, {"expires_in_seconds": 60}),
        (BatchItem, SHORTEST | {"idempotency_key": "k"}, {"hold": {}}),
        (AccountRequest, {"currency": "USD"}, {"metadata": {"k": "v"}}),
        (LedgerRequest, {"name": "main"}, {"description": None}),
        (CaptureRequest, {}, {"final": True}),
        (AccountPatch, {}, {"name": None}),
    ],
)
def test_a_body_of_the_fewest_texts_is_the_shortest_there_is(
    kind: Any, shortest: dict[str, Any], another_text: dict[str, Any]
) -> None:
    """What has no more texts than its type needs cannot say anything twice, so nobody looks."""
    for body, more in ((shortest, 0), (shortest | another_text, 1)):
        content = json.dumps(body).encode()
        msgspec.json.decode(content, type=kind)
        assert count_texts(content) >= 2 * (texts_min(kind) + more)
    assert count_texts(json.dumps(shortest).encode()) == 2 * texts_min(kind)


BODIES = [
    ('{"a": 1, "b": 2, "a": 1}', "/a"),
    (r'{"amount": 1, "\u0061mount": 500}', "/amount"),
    (r'{"x": {"y": [{}, {"n/~": null, "n\/~": null}]}}', "/x/y/1/n~1~0"),
    ('{"m": {"k": "", "k": ""}, "m": {}}', "/m"),
]


@pytest.mark.parametrize(("text", "pointer"), BODIES)
def test_the_problem_points_at_the_outermost(text: str, pointer: str) -> None:
    assert not says_once(text.encode())
    [fault] = said_twice(text.encode(), pointer="/at").members["errors"]
    assert fault["pointer"] == f"/at{pointer}"
    assert isinstance(said_twice(text.encode()), ProblemError)


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
async def test_no_transfer_is_decided_by_the_second(book: Book, right: str, wrong: str, pointer: str) -> None:
    debit, credit = await book.account(), await book.account()
    body = json.dumps(transfer(debit, credit)).replace(right, wrong)
    response = await book.client.post(book.transfers, content=body, headers=keyed() | SENT_AS_JSON)
    assert pointers(response) == [pointer]
    items = ", ".join(json.dumps(item(debit, credit)) for _ in range(3))
    body = f'{{"transfers": [{items}, {json.dumps(item(debit, credit)).replace(right, wrong)}]}}'
    assert pointers(await book.client.post(book.batches, content=body, headers=SENT_AS_JSON)) == [
        f"/transfers/3{pointer}"
    ]
    assert answer(await book.client.get(book.transfers))["items"] == []


async def test_of_holds_in_a_batch_too(book: Book) -> None:
    debit, credit = await book.account(), await book.account()
    body = msgspec.json.encode({"transfers": [item(debit, credit, hold={"expires_in_seconds": 60})]})
    body = body.replace(b'"expires_in_seconds":60', b'"expires_in_seconds":60,"expires_in_seconds":6000')
    response = await book.client.post(book.batches, content=body, headers=SENT_AS_JSON)
    assert pointers(response) == ["/transfers/0/hold/expires_in_seconds"]


async def test_what_is_said_once_is_taken_however_it_is_written(book: Book) -> None:
    debit, credit = await book.account(), await book.account()
    written: dict[str, Any] = {
        "reference": 'a "b" \\ \\" reference',
        "description": "amount, reference: \ud83c\udfe6".encode("utf-16", "surrogatepass").decode("utf-16"),
        "metadata": {"reference": "reference", '"': '\\"', "\\": "", "amount": '"amount": 1'},
    }
    for body in (
        json.dumps(transfer(debit, credit, **written)),
        json.dumps(transfer(debit, credit, **written), indent=1),
    ):
        response = await book.client.post(book.transfers, content=body, headers=keyed() | SENT_AS_JSON)
        assert response.status_code == 201
        assert answer(response) | written == answer(response)
    nothing: dict[str, Any] = {"reference": None, "description": None, "effective_at": None, "metadata": {}}
    assert (await book.batch(item(debit, credit, **nothing), item(debit, credit, **written))).status_code == 201
