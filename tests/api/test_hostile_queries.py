"""Any query that a client sends is answered or refused, and never causes a fault: every parameter, every cursor."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.conftest import MakeClient
from tests.api.moves import open_hold
from tests.support.application import Application
from tests.support.contract import Operation
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, problem, unique

TIMES = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "0001-01-01T00:00:00+23:59",
    "0001-01-01T23:58:59-23:59",
    "0000-01-01T00:00:00Z",
    "-001-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59.999999-00:01",
    "9999-12-31T23:59:59-23:59",
    "10000-01-01T00:00:00Z",
    "2026-12-31T23:59:60Z",
    "2026-12-31T23:59:61Z",
    "2026-06-30T24:00:00Z",
    "2026-02-29T00:00:00Z",
    "2026-01-01T00:00:00+24:00",
    "2026-01-01T00:00:00 00:00",
    "2026-01-01t00:00:00z",
    "2026-01-01T00:00:00.9999999Z",
    "2026-01-01T00:00:00,5Z",
    "infinity",
    "-infinity",
    "epoch",
]
NUMBERS = [
    *(str(number) for number in (0, -1, 2**31, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64)),
    "9" * 5_000,
    "1e400",
    "-0",
    "NaN",
]
TEXTS = [
    "",
    " ",
    "x",
    "\x00",
    "a\x00b",
    "\x1f",
    "\u202e",
    "\ufffd",
    "\uffff",
    "\U0010ffff",
    "e\u0301",
    "r" * 255,
    "r" * 256,
    "\U0001f3e6" * 255,
    "x" * 20_000,
    "'; DROP TABLE funds.accounts; --",
    "%s%n{0}",
    "\\",
    '"',
    "null",
    "[]",
    "{}",
    "true",
]
IDS = [str(uuid4()), "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "urn:uuid:x"]
# As they are sent; no client library would write them so.
RAW = [
    b"%00",
    b"%FF",
    b"%ff%fe",
    b"%C0%80",
    b"%ED%A0%80",
    b"%F4%90%80%80",
    b"%zz",
    b"%",
    b"%2",
    b"+",
    b"\xff",
    b"\xc3\xa9",
    b"\xed\xa0\x80",
    b"\x00",
    b"%u0041",
    b"a;b",
    b"a&b",
    b"a=b=c",
]


def _parameters(application: Application) -> Iterator[tuple[str, str, str]]:
    """Method, path and name of every parameter of a query that the document has, and one more of each path."""
    for operation in application.contract.operations:
        for name in (*application.contract.parameters(operation, "query"), "unknown"):
            yield operation.method, operation.path, name


def _answered(response: httpx.Response, *sent: object) -> None:
    assert response.status_code < 500, (sent, response.text)
    if response.status_code >= 400:
        assert answer(response)["outcome"] == "not_applied", sent


async def test_any_value_of_any_parameter(application: Application, client: httpx.AsyncClient) -> None:
    for method, path, name in _parameters(application):
        for value in (*TIMES, *NUMBERS, *TEXTS, *IDS):
            if path != "/v1/ledgers" or method == "GET":
                _answered(await client.request(method, path, params={name: value}), method, path, name, ascii(value))


async def test_any_bytes_of_any_query(application: Application, client: httpx.AsyncClient) -> None:
    carrier = httpx.ASGITransport(app=application.app, raise_app_exceptions=False)  # type: ignore[arg-type]
    for operation in application.contract.operations:
        method, path = operation.method, operation.path
        for query in _raw_queries(application, operation):
            request = client.build_request(method, path)
            request.url = _Raw(request.url, path.encode() + b"?" + query)
            response = await carrier.handle_async_request(request)
            await response.aread()
            _answered(response, method, path, query)


def _raw_queries(application: Application, operation: Operation) -> set[bytes]:
    names = [name.encode() for name in (*application.contract.parameters(operation, "query"), "unknown")]
    beside_names = {query for name in names for raw in RAW for query in (name + b"=" + raw, raw + b"&" + name)}
    return beside_names | {query for raw in RAW for query in (raw + b"=1", raw)}


class _Raw(httpx.URL):
    """A URL whose path and query go out as they are."""

    def __init__(self, url: httpx.URL, raw_path: bytes) -> None:
        super().__init__(url)
        self._raw = raw_path

    @property
    def raw_path(self) -> bytes:
        return self._raw

    @property
    def query(self) -> bytes:
        return self._raw.partition(b"?")[2]


ALL_TIMES = {
    "from": "2020-01-01T00:00:00Z",
    "to": "2100-01-01T00:00:00Z",
    "as_of": "2100-01-01T00:00:00Z",
    "known_from": "2020-01-01T00:00:00Z",
}
"""What lists need that tell of a period."""


class Lists:
    """A ledger in which every list has a second page."""

    def __init__(self, ledger: LedgerClient, account: JSON) -> None:
        self.ledger, self.account = ledger, account

    @classmethod
    async def fill(cls, client: httpx.AsyncClient) -> "Lists":
        ledger = await LedgerClient.open(client, unique("lists"))
        poor = await ledger.account(minimum_balance=0, reference="poor", code="1000")
        other = await ledger.account(code="2000:banks")
        for _ in range(2):
            await ledger.move(other, poor, 10, reference="paid")
            await open_hold(ledger, poor, other)
            problem(await ledger.post(poor, other, amount=1_000), 422, "insufficient_funds")
        assert (await ledger.revise(poor, name="till")).status_code == 200
        for day in ("2020-01-01", "2020-01-02"):
            closing = {"closed_until": f"{day}T00:00:00Z"}
            closed = await ledger.client.post(f"{ledger.path}/closings", json=closing, headers=keyed())
            assert closed.status_code == 201, closed.text
        return cls(ledger, poor)

    def paths(self, application: Application) -> Iterator[str]:
        """Every list that the document has, without filters and with those that make it another list."""
        for operation in application.contract.operations:
            parameters = application.contract.parameters(operation, "query")
            if "cursor" not in parameters:
                continue
            path = operation.template.format(ledger_name=self.ledger.name, account_id=self.account["id"])
            yield f"{path}?{httpx.QueryParams({name: ALL_TIMES[name] for name in ALL_TIMES.keys() & parameters})}"
            filters = {"account_id": self.account["id"], "credit_account_reference": "poor", "reference_prefix": "p"}
            for name, value in filters.items():
                if name in parameters:
                    yield f"{path}?{name}={value}"


def _decoded(cursor: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _forged(name: str, position: Any) -> Iterator[bytes]:
    """Yield cursors of the list called ``name``, each with something else than ``position``, which is a real one."""
    others: list[Any] = [None, True, 5, -1, 2**63, 1.5, "", "x", "a\x00b", "\ud800", {}, [], [[]], *TIMES, *IDS]
    places = range(len(position)) if isinstance(position, list) else [None]
    for place in places:
        for other in others:
            changed = other if place is None else [*position[:place], other, *position[place + 1 :]]
            yield json.dumps([name, changed]).encode()
    whole = position if isinstance(position, list) else [position]
    for changed in ([], whole[:-1], [*whole, "more"], [*whole, *whole]):
        yield json.dumps([name, changed]).encode()
    head = json.dumps([name])[:-1].encode()
    for depth in (2, 100, 700):
        yield head + b"," + b"[" * depth + b"]" * depth + b"]"
        yield head + b"," + b'{"a":' * min(depth, 200) + b"1" + b"}" * min(depth, 200) + b"]"
    yield head + b"," + b"[" * 1_400
    yield head + b"," + json.dumps(position).encode()[:-1] + b"," + b"[" * 700
    for number in (b"1e400", b"9" * 1_000, b"-0.0", b"NaN", b"Infinity"):
        yield head + b"," + number + b"]"
    for text in (b'"\xff"', b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\u0000"', b'"\x00"', b"\xef\xbb\xbf"):
        yield head + b"," + text + b"]"
    yield json.dumps([name, position]).encode("utf-16")
    yield json.dumps([["x"], position]).encode()
    yield json.dumps([name, position, position]).encode()
    yield b"\xef\xbb\xbf" + json.dumps([name, position]).encode()


async def test_any_cursor_of_any_list(application: Application, client: httpx.AsyncClient) -> None:
    lists = await Lists.fill(client)
    seen = 0
    for path in lists.paths(application):
        page = answer(await client.get(path, params=dict(httpx.URL(path).params) | {"limit": 1}))
        assert page["next_cursor"] is not None, f"{path} needs two items in Lists.fill"
        name, position = _decoded(page["next_cursor"])
        for content in _forged(name, position):
            cursor = _encoded(content)
            if len(cursor) <= 2_000:
                seen += 1
                _answered(
                    await client.get(path, params=dict(httpx.URL(path).params) | {"cursor": cursor}), path, content
                )
    assert seen > 500


@pytest.mark.parametrize("cursor", ["\x00", "é", "=" * 5, "A" * 2_000, "/+/+", "A\n", " ", "%00"])
async def test_cursors_that_are_no_base64(application: Application, client: httpx.AsyncClient, cursor: str) -> None:
    for operation in application.contract.operations:
        if "cursor" in application.contract.parameters(operation, "query"):
            response = await client.get(operation.path, params={"cursor": cursor})
            assert response.status_code in {400, 404}, response.text


async def test_the_longest_names_fit_into_every_index(ledger: LedgerClient, make_client: MakeClient) -> None:
    client = await make_client("transfers:write", "read", name="\U0001f3e6" * 128)
    poor, other = await ledger.account(minimum_balance=0, reference="\U0001f3e6" * 255), await ledger.account()
    theirs = ledger.seen_by(client)
    problem(await theirs.post(poor, other, "k" * 255, amount=5), 422, "insufficient_funds")
    assert (await theirs.post(other, poor, "l" * 255, reference="\U0001f3e6" * 255)).status_code == 201
