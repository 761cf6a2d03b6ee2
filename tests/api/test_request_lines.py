"""Every request, whichever way it is answered, has an id in its answer and a line in the log, without secrets."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator

import httpx
import pytest

from service.telemetry.logs import configure_logging
from tests.api.conftest import MakeClient
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, transfer, unique
from tests.telemetry.test_trace_context import PARENT, TRACE

MADE = re.compile("[0-9a-f]{32}")
SECRET = "S3cr-4111111111111111"
MEMBERS = {"time", "level", "logger", "message", "request_id", "method", "route", "status", "duration_ms", "bytes"}
MORE = {"trace_id", "client", "code", "reason"}


class Log(io.StringIO):
    """The log, as JSON lines."""

    async def requests(self) -> list[JSON]:
        """The lines of requests since the last call."""
        return [line for line in await self.lines() if line["logger"] == "service.requests"]

    async def lines(self) -> list[JSON]:
        await asyncio.sleep(0)  # what a turn of the loop has answered is written in the next one
        lines = [json.loads(line) for line in self.getvalue().splitlines()]
        self.seek(0)
        self.truncate()
        return lines


@pytest.fixture
def log() -> Iterator[Log]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = Log()
    configure_logging("info", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def id_of(answered: httpx.Response) -> str:
    return answered.headers["x-request-id"]


async def test_every_operation_has_an_id_and_a_line(
    application: Application, client: httpx.AsyncClient, log: Log
) -> None:
    operations = list(application.contract.operations)
    assert len(operations) > 40
    for operation in operations:
        body: JSON | None = {} if "requestBody" in operation.description else None
        answered = await client.request(operation.method, operation.path, json=body)
        lines = await log.requests()
        assert MADE.fullmatch(id_of(answered))
        if operation.template.startswith("/health/"):
            assert not lines, "probes are told at level debug"
            continue
        [line] = lines
        assert (line["method"], line["route"]) == (operation.method, operation.template)
        assert (line["status"], line["bytes"]) == (answered.status_code, len(answered.content))
        assert line["request_id"] == id_of(answered)
        assert line.keys() >= MEMBERS
        assert line.keys() <= MEMBERS | MORE
        assert line.get("code") == (answered.json()["code"] if answered.status_code >= 400 else None)


@pytest.mark.parametrize(
    ("method", "path", "route", "status", "code"),
    [
        ("HEAD", "/v1/ledgers", "/v1/ledgers", 200, None),
        ("OPTIONS", "/v1/ledgers", "/v1/ledgers", 204, None),
        ("DELETE", "/v1/ledgers", "/v1/ledgers", 405, "method_not_allowed"),
        ("GET", "/docs/", "unmatched", 404, "not_found"),
        ("GET", "/openapi.json", "/openapi.json", 200, None),
        ("GET", f"/v1/ledgers/{SECRET}/nothing/{SECRET}", "unmatched", 404, "not_found"),
        ("GET", f"/v1/ledgers/{SECRET}/accounts?cursor={SECRET}", "/v1/ledgers/{ledger_name}/accounts", 404, None),
        ("GET", f"/v1/ledgers?{SECRET}={SECRET}", "/v1/ledgers", 400, "malformed_request"),
        ("BREW", "/v1/ledgers", "/v1/ledgers", 405, "method_not_allowed"),
    ],
)
async def test_the_line_names_the_route_and_no_path(
    client: httpx.AsyncClient, log: Log, method: str, path: str, route: str, status: int, code: str | None
) -> None:
    answered = await client.request(method, path, headers={"X-Request-Id": "mine"})
    assert (answered.status_code, id_of(answered)) == (status, "mine")
    [line] = await log.requests()
    told = (line["request_id"], line["method"], line["route"], line["status"])
    assert told == ("mine", "_OTHER" if method == "BREW" else method, route, status)
    assert code is None or line["code"] == code
    assert line["bytes"] == len(answered.content)
    assert SECRET not in json.dumps(line)


async def test_the_trace_is_answered_logged_and_names_a_request_without_an_id(
    client: httpx.AsyncClient, log: Log
) -> None:
    traceparent = f"00-{TRACE}-{PARENT}-01"
    traced = await client.get("/v1/ledgers", headers={"traceparent": traceparent})
    both = await client.get("/v1/ledgers", headers={"traceparent": traceparent, "X-Request-Id": "mine"})
    wrong = await client.get("/v1/ledgers", headers={"traceparent": f"{traceparent}-more"})
    assert [one.headers.get("traceparent") for one in (traced, both, wrong)] == [traceparent, traceparent, None]
    assert [id_of(traced), id_of(both)] == [TRACE, "mine"]
    assert [(line["request_id"], line.get("trace_id")) for line in await log.requests()] == [
        (TRACE, TRACE),
        ("mine", TRACE),
        (id_of(wrong), None),
    ]


@pytest.mark.parametrize("given", ["mine", None, "a b", "x" * 129])
async def test_the_history_has_the_id_of_the_answer(ledger: LedgerClient, given: str | None) -> None:
    """Through group commit, and without it."""
    headers = keyed() | ({} if given is None else {"X-Request-Id": given})
    opened = await ledger.client.post(ledger.accounts, json={"currency": "USD"}, headers=headers)
    other = await ledger.account()
    body = transfer(answer(opened), other)
    moved = await ledger.client.post(ledger.transfers, json=body, headers=headers | keyed())
    await ledger.client.post(ledger.transfers, json=body | {"amount": -1}, headers=headers | keyed())
    entries = (await ledger.client.get(f"{ledger.path}/events?limit=100")).json()["items"]
    by_subject = {entry["subject"]: entry["requestid"] for entry in entries}
    assert by_subject[answer(opened)["id"]] == id_of(opened)
    assert by_subject[answer(moved)["id"]] == id_of(moved)
    assert (id_of(moved) == given) is (given == "mine")


async def test_nothing_secret_is_told(
    application: Application, client: httpx.AsyncClient, anonymous: httpx.AsyncClient, log: Log
) -> None:
    ledger = await LedgerClient.open(client, unique("ledger"))
    fields = {"reference": unique(SECRET), "metadata": {"card": SECRET}}
    debit, credit = await ledger.account(name=SECRET, **fields), await ledger.account(minimum_balance=0)
    await ledger.move(debit, credit, 123456789, description=SECRET, **fields)
    await ledger.post(debit, credit, unique(SECRET), amount=987654321, reference=SECRET)
    await ledger.post(credit, debit, amount=10**15, description=SECRET)
    await ledger.batch(item(debit, credit, unique(SECRET), description=SECRET))
    await client.get(f"{ledger.path}/accounts/{credit['id']}")
    await client.get(f"{ledger.path}/idempotency-keys/{SECRET}")
    await client.post(ledger.transfers, content=f'{{"{SECRET}": {SECRET}}}', headers=keyed(SECRET))
    await anonymous.get("/v1/ledgers", headers={"Authorization": f"Bearer {SECRET * 2}"})
    await anonymous.get("/v1/ledgers", headers={"X-Request-Id": f"{SECRET} {SECRET}", "Cookie": SECRET})
    said = json.dumps(await log.lines())
    assert said.count("service.requests") > 10
    for secret in ("4111", "123456789", "987654321", str(10**15), application.settings.admin_token or ""):
        assert secret not in said


async def test_a_line_names_the_client(make_client: MakeClient, log: Log) -> None:
    reader = await make_client("read", name="auditor")
    await reader.get("/v1/ledgers")
    await reader.post("/v1/ledgers", json={"name": unique("l")}, headers=keyed())
    assert [(line["client"], line["status"], line.get("code")) for line in await log.requests()] == [
        ("auditor", 200, None),
        ("auditor", 403, "forbidden"),
    ]


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "no token came"),
        ("Basic YWRtaW46YWRtaW4=", "what came is no bearer token"),
        (f"Bearer {SECRET * 3}", "the token is unknown, revoked or past its end"),
    ],
)
async def test_a_token_that_is_refused_is_told_once_a_minute(
    anonymous: httpx.AsyncClient, log: Log, authorization: str | None, reason: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for _ in range(3):
        assert (await anonymous.get("/v1/ledgers", headers=headers)).status_code == 401
    lines = await log.lines()
    [told] = [line for line in lines if line["message"] == "a token is refused"]
    assert (told["level"], told["reason"], told["route"]) == ("warning", reason, "/v1/ledgers")
    requests = [line for line in lines if line["logger"] == "service.requests"]
    assert [(line["status"], line["code"], "client" in line) for line in requests] == [
        (401, "unauthenticated", False)
    ] * 3
    assert told["request_id"] == requests[0]["request_id"]


async def test_a_failure_is_told_with_its_reason_and_every_line_of_it_has_the_id(
    application: Application, client: httpx.AsyncClient, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_name: str) -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(application.app.state.services.ledgers, "find", fail)
    answered = await client.get(f"/v1/ledgers/{unique('l')}/accounts", headers={"X-Request-Id": "mine"})
    assert answered.status_code == 500
    lines = await log.lines()
    assert [line["request_id"] for line in lines] == ["mine"] * 3
    by_message = {line["message"]: line for line in lines}
    assert by_message.keys() == {"unexpected error", "a request failed", "request"}
    place = "ZeroDivisionError at test_request_lines.py:"
    assert by_message["a request failed"]["reason"].startswith(place)
    assert by_message["request"]["reason"].startswith(place)
    assert by_message["request"]["code"] == "internal_error"
