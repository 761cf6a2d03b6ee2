"""The direct way of the hot routes and the long way through Litestar give the same answers, byte for byte."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from litestar.types import HTTPScope, Receive, Send

from service.api.application import Application as DirectApplication
from service.api.http.decoding import StrictJSON
from tests.api.asgi import Answered, Sent, call
from tests.support.application import Application, serving
from tests.support.http_ledger import JSON, LedgerClient, transfer, unique

UUID_PATTERN = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
TIME_PATTERN = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
LIMIT = 64 * 1024


class World:
    """A ledger for one of the two ways of answering. Both are filled alike, and what must differ is masked alike."""

    def __init__(self, application: Application, name: str) -> None:
        self.application = application
        self.name = name
        self._masks: dict[bytes, bytes] = {}

    async def fill(self) -> None:
        async with self.application.client(self.application.settings.admin_token) as client:
            self.ledger = ledger = await LedgerClient.open(client, self.name)
            self.rich, self.poor = await ledger.account(name="rich"), await ledger.account(minimum_balance=0)
            self.closed = await ledger.account()
            await ledger.revise(self.closed, status="closed")
            self.posted = await ledger.move(
                self.rich, await ledger.account(), 5, reference="ünïcode", metadata={"k": '"'}
            )

    async def answer(self, sent: Sent) -> Answered:
        answered = await call(self.application, sent)
        headers = [
            (name, b", ".join(sorted(value.split(b", "))) if name == b"allow" else self._masked(value))
            for name, value in answered.headers
            if name != b"x-request-id"  # made for each request
        ]
        return Answered(answered.status, headers, self._masked(answered.body))

    def _masked(self, text: bytes) -> bytes:
        """Number identifiers in the order of their appearance, and hide the ledger's name and the times."""
        hidden = UUID_PATTERN.sub(self._mask, text).replace(self.name.encode(), b"LEDGER")
        return TIME_PATTERN.sub(b"TIME", hidden)

    def _mask(self, match: re.Match[bytes]) -> bytes:
        return self._masks.setdefault(match[0].lower(), b"ID%d" % len(self._masks))


@pytest.fixture(scope="module")
async def long_way(application: Application) -> AsyncIterator[Application]:
    """The same application on the same database, with the direct way closed."""

    async def pass_on(_http: HTTPScope, _headers: dict[bytes, bytes], _receive: Receive, _send: Send) -> bool:
        return False

    async with serving(application.database) as changed:
        with pytest.MonkeyPatch.context() as patch:
            assert isinstance(changed.app, DirectApplication)
            patch.setattr(changed.app._direct, "answer", pass_on)
            yield changed


@pytest.fixture(scope="module")
async def worlds(application: Application, long_way: Application) -> tuple[World, World]:
    suffix = unique("")
    worlds = World(application, f"direct{suffix}"), World(long_way, f"longer{suffix}")
    for world in worlds:
        await world.fill()
    return worlds


def _post(world: World, body: object, key: str | None = None, **changes: Any) -> Sent:
    headers = {"content-type": "application/json"} | ({} if key is None else {"idempotency-key": key})
    content = body if isinstance(body, (bytes, list)) else json.dumps(body).encode()
    return Sent(**{"method": "POST", "path": world.ledger.transfers, "body": content, "headers": headers} | changes)


def _transfers(world: World) -> Iterator[Sent]:
    right = transfer(world.rich, world.poor, amount=3)
    encoded = json.dumps(right).encode()
    yield _post(world, right, "first")
    yield _post(world, right, "first")
    yield _post(world, right, '"first"')
    yield _post(world, right | {"amount": 4}, "first")
    yield _post(
        world, right | {"reference": '\U0001f3e6 /\\"', "description": "\u2028", "metadata": {"a": "b"}}, "with texts"
    )
    yield _post(
        world, right | {"reference": '\U0001f3e6 /\\"', "description": "\u2028", "metadata": {"a": "b"}}, "texts"
    )
    yield _post(world, transfer(world.poor, world.rich, amount=1000), "refused")
    yield _post(world, transfer(world.poor, world.rich, amount=1000), "refused")
    yield _post(world, transfer(world.closed, world.rich), "closed")
    yield _post(world, transfer(world.rich, world.rich), "same")
    yield _post(world, transfer(world.rich, world.poor, currency="XXX"), "currency")
    yield _post(world, right)
    for key in ("", " ", "a b", "ü", "x" * 255, "x" * 256, '"', 'a"b', '"a\\"b"'):
        yield _post(world, right, key)
    for wrong in (
        {"amount": 0},
        {"amount": 2**63},
        {"amount": "1"},
        {"unknown": 1},
        {"reference": "\x00"},
        {"reference": "x "},
    ):
        yield _post(world, right | wrong, "wrong")
    for text in (b"", b"{", b"[]", b"null", b"\xff", b'{"a": "\\ud800"}', b"[" * 1000, encoded + b" ", b" " + encoded):
        yield _post(world, text, f"text-{len(text)}")
    yield _post(world, [encoded], "chunked, one part")
    yield _post(world, [encoded], "chunked")
    yield _post(world, [encoded[:10], encoded[10:20], b"", encoded[20:]], "parts")
    yield _post(world, [b"{", b""], "half")
    yield _post(world, [b"", b""], "nothing")
    yield _post(world, right | {"description": "d" * 1000, "reference": "r" * 255}, "long")
    yield _post(world, encoded.ljust(LIMIT), "at-the-limit")
    yield _post(world, encoded.ljust(LIMIT + 1), "over-the-limit")
    yield _post(world, [b" " * 1024] * 65, "over-the-limit-in-parts")
    told = {"content-type": "application/json", "idempotency-key": "told"}
    for length in ("x", "-1", "", str(len(encoded))):
        yield _post(world, [encoded], headers=told | {"content-length": length})
    for coding in ("gzip", "identity", "IDENTITY, identity", "", "br, identity"):
        yield _post(
            world, right, headers=told | {"idempotency-key": f"coded-{len(coding)}", "content-encoding": coding}
        )
    yield _post(world, right, headers={"idempotency-key": "untyped"})
    yield _post(world, right, headers={"idempotency-key": "form", "content-type": "application/x-www-form-urlencoded"})
    yield _post(world, right, headers={"idempotency-key": "utf", "content-type": "application/json; charset=utf-8"})
    yield _post(world, right, headers={"idempotency-key": "set", "content-type": "application/json; charset=latin1"})
    for query in ("?", "?unknown=1", "?dry_run=x"):
        yield _post(world, right, f"query{query}", path=world.ledger.transfers + query)
    yield _post(world, right, "elsewhere", path="/v1/ledgers/absent/transfers")
    yield _post(world, right, "slash", path=world.ledger.transfers + "/")
    yield _post(world, b"{", path="/v1/ledgers/absent/transfers")


def _reads(world: World) -> Iterator[Sent]:
    found = [f"{world.ledger.transfers}/{world.posted['id']}", f"{world.ledger.accounts}/{world.rich['id']}"]
    for path in found:
        for query in ("", "?", "?expand=transfers", "?expand=accounts", "?expand=", "?unknown=1", "?a&b=%00"):
            yield Sent("GET", path + query)
        yield Sent("GET", path, body=b"{}")
        yield Sent("GET", path, body=[b"{}"])
        yield Sent("GET", path, body=[b""])
        for length in ("5", "0", "00"):
            yield Sent("GET", path, headers={"content-length": length})
        yield Sent("GET", path, headers={"accept": "text/html", "if-none-match": '"x"', "range": "bytes=0-1"})
        yield Sent("GET", path[:-36] + path[-36:].upper())
        yield Sent("GET", f"{path}/")
        yield Sent("GET", path.replace(world.name, "main"))
        yield Sent("GET", path.replace(world.name, "absent"))
        yield Sent("GET", path[:-36] + "not-a-uuid")
        for method in ("HEAD", "OPTIONS", "PUT", "DELETE"):
            yield Sent(method, path)
    yield Sent("GET", f"{world.ledger.accounts}/{world.closed['id']}")
    yield Sent("GET", f"{world.ledger.transfers}/00000000-0000-7000-8000-000000000000")
    yield Sent("GET", f"{world.ledger.accounts}/00000000-0000-7000-8000-000000000000")
    for authorization in ("", "Bearer wrong", "Basic eA=="):
        yield Sent("GET", found[0], headers={"authorization": authorization})


def _of_every_operation(world: World) -> Iterator[Sent]:
    """Requests to every operation, hot or not, so that new operations are compared as well."""
    for operation in world.application.contract.operations:
        path = re.sub(
            r"\{\w+\}", "00000000-0000-7000-8000-000000000000", operation.template.replace("{ledger_name}", world.name)
        )
        if path.startswith("/health") or operation.description["operationId"] == "listLedgers":
            continue  # how long it took, and both ledgers
        headers = {"if-match": "*", "content-type": "application/json"}
        for key in ({}, {"idempotency-key": f"{operation.method}-{operation.template}"}):
            for body in (b"", b"{}", b"{", [b"{}"], [b""]):
                yield Sent(operation.method, path, body, headers | key)
        yield Sent(operation.method, path.replace(world.name, "absent"), b"{}", headers)
        yield Sent(operation.method, f"{path}?unknown=1", b"{}", headers)


@pytest.mark.parametrize("requests", [_transfers, _reads, _of_every_operation])
async def test_both_ways_give_the_same_answers(worlds: tuple[World, World], requests: Any) -> None:
    statuses = set()
    for sent, same in zip(requests(worlds[0]), requests(worlds[1]), strict=True):
        direct, long = await worlds[0].answer(sent), await worlds[1].answer(same)
        assert direct == long, sent
        statuses.add(direct.status)
    assert len(statuses) > 2, "these requests compare little"


async def test_the_direct_way_is_taken_by_what_is_usual_and_only_there(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    long_decodings = []

    def decode(dto: StrictJSON[Any], value: bytes) -> Any:
        long_decodings.append(value)
        return StrictJSON.decode_for(dto.asgi_connection.route_handler, value)

    monkeypatch.setattr(StrictJSON, "decode_bytes", decode)
    decodings = []
    for world in worlds:
        body = transfer(world.rich, world.poor)
        for sent in (_post(world, body, "usual"), _post(world, [json.dumps(body).encode()], "in parts")):
            await world.answer(sent)
            decodings.append(len(long_decodings))
    assert decodings == [0, 1, 2, 3]


@pytest.mark.parametrize("parts", [1, 2])
async def test_a_request_that_is_cut_off_moves_nothing(application: Application, parts: int) -> None:
    async with application.client(application.settings.admin_token) as client:
        ledger = await LedgerClient.open(client, unique("cut"))
        debit, credit = await ledger.account(), await ledger.account()
        body = json.dumps(transfer(debit, credit)).encode()
        # The whole of a transfer, and the server said that more was to come.
        halves = [body] if parts == 1 else [body[:20], body[20:]]
        headers = {
            "content-type": "application/json",
            "idempotency-key": str(uuid4()),
            "content-length": str(len(body) + 1),
        }
        answered = await call(application, Sent("POST", ledger.transfers, halves, headers, cut_off=True))
        assert answered.status >= 400
        listed: JSON = (await client.get(ledger.transfers)).json()
        assert listed["items"] == []
