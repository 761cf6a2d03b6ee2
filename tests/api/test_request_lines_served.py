"""Requests that the HTTP server answers by itself have an id and a line too, as those that it passes on."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tests.api.raw import Wire, request
from tests.support.application import Application
from tests.support.contract import Exchange
from tests.support.http_ledger import JSON
from tests.support.servers import RunningService, free_port
from tests.support.service_process import launch
from tests.telemetry.test_trace_context import PARENT, TRACE

MADE = re.compile("[0-9a-f]{32}")
SECRET = "S3cr-4111111111111111"


class Log:
    """The log of a process, as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def line_of(self, request_id: str) -> JSON:
        """The line of one request, once it is written."""
        deadline = time.monotonic() + 30
        while True:
            lines: list[JSON] = [json.loads(line) for line in self.text.split("\n")[:-1] if line.startswith("{")]
            found = [one for one in lines if one["logger"] == "service.requests" and one["request_id"] == request_id]
            if found:
                assert len(found) == 1, found
                return found[0]
            assert time.monotonic() < deadline, f"no line of {request_id}"
            time.sleep(0.02)

    @property
    def text(self) -> str:
        return self.path.read_text()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return Log(tmp_path_factory.mktemp("lines") / "serve.log")


@pytest.fixture(scope="module")
def operations_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def service(application: Application, log: Log, operations_port: int) -> Iterator[RunningService]:
    service = launch(
        application.database.service_url,
        log.path,
        token=application.settings.admin_token,
        FUNDS_OPERATIONS_PORT=str(operations_port),
        FUNDS_HEAD_TIMEOUT_SECONDS="1",
        FUNDS_BODY_TIMEOUT_SECONDS="1",
        FUNDS_LOG_LEVEL="info",
    )
    service.wait_until_ready()
    yield service
    assert service.stop() == 0


@pytest.fixture
async def wire(service: RunningService, application: Application) -> AsyncIterator[Wire]:
    wire = await Wire.open(service, application.contract)
    yield wire
    await wire.close()


def id_of(exchange: Exchange | None) -> str:
    assert exchange is not None, "no answer"
    return dict(exchange.headers)["x-request-id"]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (f"GET /{SECRET} HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "malformed_request"),
        (f"{SECRET}\r\n\r\n", 400, "malformed_request"),
        (f"GET /{'x' * 9000} HTTP/1.1\r\nHost: funds\r\n\r\n", 414, "uri_too_long"),
        ("GET / HTTP/1.1\r\nHost: funds\r\n" + 101 * "x: y\r\n" + "\r\n", 431, "request_header_too_large"),
        (f"GET /{SECRET} HTTP/1.1\r\nHost: funds\r\n", 408, "request_timeout"),
    ],
)
async def test_what_reaches_no_route_has_an_id_and_a_line(
    wire: Wire, log: Log, sent: str, status: int, code: str
) -> None:
    await wire.send(sent.encode())
    answered = await wire.receive()
    assert answered is not None
    assert answered.status == status
    assert MADE.fullmatch(id_of(answered))
    line = log.line_of(id_of(answered))
    assert (line["method"], line["route"], line["status"], line["code"]) == ("_OTHER", "unmatched", status, code)
    assert line["bytes"] == len(answered.body)
    assert SECRET not in log.text


async def test_a_body_that_does_not_arrive_is_told_once_under_the_callers_id(
    service: RunningService, log: Log, wire: Wire
) -> None:
    """The application waits for the body; what it would answer is dropped."""
    asked = {"X_Request_Id": "slow-1", "traceparent": f"00-{TRACE}-{PARENT}-01", "Content_Length": "10"}
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(request("POST /v1/ledgers", service.admin_token, b"{", **asked))
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"x-request-id: slow-1\r\n" in head
    line = log.line_of("slow-1")
    told = (line["method"], line["route"], line["status"], line["code"], line["client"], line["trace_id"])
    assert told == ("POST", "/v1/ledgers", 408, "request_timeout", "admin", TRACE)
    assert line["duration_ms"] >= 900
    await wire.send(request("GET /v1/ledgers", service.admin_token, X_Request_Id="later"))
    await wire.receive("GET /v1/ledgers")
    log.line_of("later")
    assert log.text.count("slow-1") == 1


async def test_both_ways_through_the_server_are_told(wire: Wire, service: RunningService, log: Log) -> None:
    """A hot route answers whole, others in messages."""
    for number, path in enumerate((f"/v1/ledgers/{SECRET}/accounts/{UUID(int=7)}", "/v1/ledgers")):
        await wire.send(request(f"GET {path}", service.admin_token, X_Request_Id=f"way-{number}"))
        answered = await wire.receive(f"GET {path}")
        assert answered is not None
        assert id_of(answered) == f"way-{number}"
        line = log.line_of(f"way-{number}")
        assert (line["status"], line["bytes"], line["client"]) == (answered.status, len(answered.body), "admin")


@pytest.mark.usefixtures("service")
async def test_what_the_operations_listener_does_not_serve_is_told(operations_port: int, log: Log) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{operations_port}") as operations:
        answered = await operations.get(f"/v1/ledgers/{SECRET}", headers={"X-Request-Id": "elsewhere"})
    assert (answered.status_code, answered.headers["x-request-id"]) == (404, "elsewhere")
    line = log.line_of("elsewhere")
    assert (line["method"], line["route"], line["code"]) == ("GET", "unmatched", "not_found")
    assert SECRET not in log.text
