"""The service behind its real server: bodies told, untold, too large and cut off; broken HTTP; connections kept."""

import contextlib
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.api.raw import Wire, chunked, encoded, request
from tests.support.application import Application
from tests.support.contract import Exchange, JudgedTransport
from tests.support.http_ledger import JSON, LedgerClient, keyed, problem, transfer, unique
from tests.support.servers import RunningService
from tests.support.service_process import launch

SINGLE_LIMIT = 64 * 1024
BATCH_LIMIT = 16 * 2**20


@pytest.fixture(scope="module")
def service(application: Application, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service process on the database of the application."""
    log = tmp_path_factory.mktemp("server") / "serve.log"
    service = launch(application.database.service_url, log, token=application.settings.admin_token)
    service.wait_until_ready()
    yield service
    assert service.stop() == 0
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture
async def http(service: RunningService, application: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the process."""
    transport = JudgedTransport(httpx.AsyncHTTPTransport(), application.contract)
    async with httpx.AsyncClient(transport=transport, base_url=service.url, headers=service.headers) as client:
        yield client


@pytest.fixture
async def ledger(http: httpx.AsyncClient) -> LedgerClient:
    return await LedgerClient.open(http, unique("ledger"))


@pytest.fixture
async def wire(service: RunningService, application: Application) -> AsyncIterator[Wire]:
    """A connection of the test's own."""
    wire = await Wire.open(service, application.contract)
    yield wire
    await wire.close()


def _code(exchange: Exchange | None, status: int) -> str:
    assert exchange is not None, "no answer"
    assert exchange.status == status, exchange
    code: str = exchange.content["code"]
    return code


async def _count(ledger: LedgerClient) -> int:
    listed: JSON = (await ledger.client.get(ledger.transfers)).json()
    return len(listed["items"])


async def _transfer(ledger: LedgerClient) -> JSON:
    return transfer(await ledger.account(), await ledger.account())


@pytest.mark.parametrize("size", [SINGLE_LIMIT + 1, 2**20, 8 * 2**20])
async def test_a_body_that_is_too_large(ledger: LedgerClient, size: int) -> None:
    body = encoded(await _transfer(ledger)).ljust(size)
    for path in (ledger.transfers, ledger.accounts, "/v1/ledgers"):
        response = await ledger.client.post(path, content=body, headers=keyed() | {"Content-Type": "application/json"})
        problem(response, 413, "request_too_large")
    assert await _count(ledger) == 0


async def test_an_answer_that_needs_no_body_is_heard_over_a_large_one(ledger: LedgerClient) -> None:
    """A server that answers and closes while the client still sends would lose the answer."""
    body, wrong = b" " * 8 * 2**20, {"Authorization": "Bearer wrong"}
    client, headers = ledger.client, {"Content-Type": "application/json"}
    problem(await client.post(ledger.batches, content=body, headers=headers | wrong), 401, "unauthenticated")
    problem(
        await client.post(ledger.batches, content=body, headers={"Content-Type": "x"}), 415, "unsupported_media_type"
    )
    problem(await client.post("/nothing", content=body), 404, "not_found")
    problem(await client.put("/v1/ledgers", content=body), 405, "method_not_allowed")


async def test_a_body_at_the_limit(ledger: LedgerClient) -> None:
    body = encoded(await _transfer(ledger)).ljust(SINGLE_LIMIT)
    headers = keyed() | {"Content-Type": "application/json"}
    assert (await ledger.client.post(ledger.transfers, content=body, headers=headers)).status_code == 201


async def test_a_batch_that_is_too_large(ledger: LedgerClient) -> None:
    body = b" " * (BATCH_LIMIT + 1)
    response = await ledger.client.post(ledger.batches, content=body, headers={"Content-Type": "application/json"})
    problem(response, 413, "request_too_large")


@pytest.mark.parametrize("path", ["transfers", "accounts", "batches"])
async def test_a_body_in_chunks_that_becomes_too_large(ledger: LedgerClient, path: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range((BATCH_LIMIT if path == "batches" else SINGLE_LIMIT) // 2**14 + 2):
            yield b" " * 2**14

    headers = keyed() | {"Content-Type": "application/json"}
    response = await ledger.client.post(getattr(ledger, path), content=endless(), headers=headers)
    problem(response, 413, "request_too_large")


async def test_a_body_in_chunks(ledger: LedgerClient, wire: Wire, service: RunningService) -> None:
    body = encoded(await _transfer(ledger))
    asked = f"POST {ledger.transfers}"
    head = request(
        asked, service.admin_token, Transfer_Encoding="chunked", Content_Type="application/json", Idempotency_Key='"k"'
    )
    await wire.send(head, *(chunked(body[:7], body[7:50], body[50:]).partition(b"\r\n")))
    answered = await wire.receive(asked)
    assert answered is not None
    assert (answered.status, answered.content["amount"]) == (201, 1)


async def test_a_body_that_comes_byte_by_byte(ledger: LedgerClient, wire: Wire, service: RunningService) -> None:
    asked = f"POST {ledger.transfers}"
    whole = request(asked, service.admin_token, encoded(await _transfer(ledger)), Idempotency_Key="k")
    await wire.send(*(bytes([byte]) for byte in whole))
    answered = await wire.receive(asked)
    assert answered is not None
    assert answered.status == 201


@pytest.mark.parametrize("cut", ["in the head", "before the body", "in the body", "in a chunk"])
async def test_a_request_that_is_cut_off_moves_nothing(
    ledger: LedgerClient, wire: Wire, service: RunningService, cut: str
) -> None:
    asked, body = f"POST {ledger.transfers}", encoded(await _transfer(ledger))
    whole = request(asked, service.admin_token, body, Idempotency_Key="k")
    in_chunks = request(
        asked, service.admin_token, Transfer_Encoding="chunked", Content_Type="application/json", Idempotency_Key="k"
    )
    sent = {
        "in the head": whole[:40],
        "before the body": whole[: -len(body)],
        "in the body": whole[:-1],
        # The whole of a transfer, but not the end of the body.
        "in a chunk": in_chunks + chunked(body)[: -len(b"0\r\n\r\n")],
    }
    await wire.send(sent[cut])
    wire.end_sending()
    answered = await wire.receive(asked)
    assert answered is None or answered.status >= 400
    assert await _count(ledger) == 0


@pytest.mark.parametrize(
    "broken",
    [
        b"\r\n\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/ledgers\r\n\r\n",
        b"GET /v1/ledgers HTTP/9.9\r\nHost: funds\r\n\r\n",
        b"GET /v1/ledgers HTTP/1.1\r\nHost: funds\r\nNo colon\r\n\r\n",
        b"GET /v1/ledgers HTTP/1.1\r\nHost: funds\r\nBad name: x\r\n\r\n",
        b"GET /v1/ledgers HTTP/1.1\r\nHost: funds\r\nX: a\x00b\r\n\r\n",
        b"GET /v1 ledgers HTTP/1.1\r\nHost: funds\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: funds\r\n\r\n",
        b"POST /v1/ledgers HTTP/1.1\r\nHost: funds\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/ledgers HTTP/1.1\r\nHost: funds\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/ledgers HTTP/1.1\r\nHost: funds\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/ledgers HTTP/1.1\r\nHost: funds\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /v1/ledgers HTTP/1.1\r\nHost: funds\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"GET /v1/ledgers HTTP/1.1\r\nHost: funds\r\nX: " + b"x" * 2**20 + b"\r\n\r\n",
        b"GET /" + b"x" * 2**20 + b" HTTP/1.1\r\nHost: funds\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda broken: repr(broken[:60]),
)
async def test_broken_http_is_refused_and_harms_nobody(http: httpx.AsyncClient, wire: Wire, broken: bytes) -> None:
    with contextlib.suppress(OSError):  # refused while it was still being sent
        await wire.send(broken)
    wire.end_sending()
    # The answer names the path where the head was parsed before the body failed.
    answered = await wire.receive("POST /v1/ledgers" if b"\r\nzz" in broken else "GET /")
    assert answered is None or 400 <= answered.status < 500, answered
    assert (await http.get("/health/live")).status_code == 200


@pytest.mark.parametrize("smuggled", ["Content-Length first", "Transfer-Encoding first"])
async def test_a_length_and_chunks_at_once_are_one_request(
    ledger: LedgerClient, wire: Wire, service: RunningService, smuggled: str
) -> None:
    """What follows the body must not be taken for a request by anybody in between (request smuggling)."""
    body, asked = encoded(await _transfer(ledger)), f"POST {ledger.transfers}"
    hidden = request(asked, service.admin_token, body, Idempotency_Key="hidden")
    framing = [f"Content-Length: {len(chunked() + hidden)}", "Transfer-Encoding: chunked"]
    if smuggled != "Content-Length first":
        framing.reverse()
    lines = [f"{asked} HTTP/1.1", "Host: funds", f"Authorization: Bearer {service.admin_token}", *framing]
    head = "\r\n".join([*lines, "Content-Type: application/json", "Idempotency-Key: seen", "", ""]).encode()
    await wire.send(head + chunked() + hidden)
    answered = await wire.receive()
    assert answered is not None
    assert answered.status == 400
    assert await wire.ended()
    assert await _count(ledger) == 0


async def test_requests_in_a_pipeline_are_answered_in_their_order(wire: Wire, service: RunningService) -> None:
    paths = ["/health/live", "/nothing", "/v1/ledgers/main", "/problems/not_found"]
    await wire.send(b"".join(request(f"GET {path}", service.admin_token) for path in paths))
    answers = [await wire.receive(f"GET {path}") for path in paths]
    assert [one and one.status for one in answers] == [200, 404, 200, 200]


async def test_a_connection_goes_on_after_a_problem(ledger: LedgerClient, wire: Wire, service: RunningService) -> None:
    asked = f"POST {ledger.transfers}"
    for body in (b"{", b"[]", encoded(await _transfer(ledger))):
        await wire.send(request(asked, service.admin_token, body, Idempotency_Key="k"))
        answered = await wire.receive(asked)
    assert answered is not None
    assert answered.status == 201


@pytest.mark.parametrize("framing", ["told", "chunked", "chunked, empty"])
async def test_a_body_that_is_not_asked_for_is_refused_and_the_connection_goes_on(
    ledger: LedgerClient, wire: Wire, service: RunningService, framing: str
) -> None:
    for asked in (f"GET {ledger.accounts}", f"POST {ledger.path}/idempotency-keys/k/fence"):
        chunks: JSON = {"Transfer_Encoding": "chunked", "Content_Length": "-"}
        body = {"told": b"{}", "chunked": chunked(b"{", b"}"), "chunked, empty": chunked()}[framing]
        await wire.send(request(asked, service.admin_token, body, **({} if framing == "told" else chunks)))
        answered = await wire.receive(asked)
        assert answered is not None
        assert answered.status == (200 if framing == "chunked, empty" else 400), answered
    await wire.send(request("GET /health/live", None))
    following = await wire.receive("GET /health/live")
    assert following is not None
    assert following.content == {"status": "alive"}


@pytest.mark.parametrize("path", ["/v1/ledgers", "/health/live", "/nothing", "/docs/assets/swagger-ui.css"])
async def test_head_has_no_body(wire: Wire, service: RunningService, path: str) -> None:
    await wire.send(request(f"HEAD {path}", service.admin_token), request("GET /health/live", None))
    answered = await wire.receive(f"HEAD {path}")
    assert answered is not None
    assert answered.status in {200, 404, 405}
    # The next answer begins right after the head.
    following = await wire.receive("GET /health/live")
    assert following is not None
    assert following.content == {"status": "alive"}


async def test_options_needs_a_token(wire: Wire, service: RunningService) -> None:
    await wire.send(request("OPTIONS /v1/ledgers", None))
    assert _code(await wire.receive("OPTIONS /v1/ledgers"), 401) == "unauthenticated"
    await wire.send(request("OPTIONS /v1/ledgers", service.admin_token))
    answered = await wire.receive("OPTIONS /v1/ledgers")
    assert answered is not None
    assert answered.status == 204


@pytest.mark.parametrize("path", ["/v1/ledgers", "/nothing", "/health/live", "/docs", "/docs/assets/swagger-ui.css"])
async def test_no_answer_names_the_server(wire: Wire, service: RunningService, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "PUT"):
        await wire.send(request(f"{method} {path}", service.admin_token))
        answered = await wire.receive(f"{method} {path}")
        assert answered is not None
        assert not {"server", "x-powered-by", "via"} & dict(answered.headers).keys()


@pytest.mark.parametrize(
    ("target", "path", "status"),
    [
        ("http://funds/v1/ledgers/main", "/v1/ledgers/main", 200),
        ("http://funds//v1/ledgers/main", "//v1/ledgers/main", 404),
        ("http://funds/v1/ledgers/%6Dain", "/v1/ledgers/%6Dain", 404),
        ("/v1//ledgers/main", "/v1//ledgers/main", 404),
        ("/v1/ledgers/main/", "/v1/ledgers/main/", 404),
        ("/v1/ledgers/main;a=b", "/v1/ledgers/main;a=b", 404),
        ("/v1/ledgers\\main", "/v1/ledgers\\main", 404),
        ("/v1/ledgers/main/../main", "/v1/ledgers/main/../main", 404),
        ("/%2e%2e/v1/ledgers", "/%2e%2e/v1/ledgers", 404),
        ("/v1/ledgers/%6Dain", "/v1/ledgers/%6Dain", 404),
        ("/v1/ledgers/main#fragment", "/", 400),
    ],
)
async def test_targets_of_every_form(wire: Wire, service: RunningService, target: str, path: str, status: int) -> None:
    await wire.send(request(f"GET {target}", service.admin_token))
    answered = await wire.receive(f"GET {path}")
    assert answered is not None
    assert answered.status == status


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Idempotency-Key": "a\r\nIdempotency-Key: b"}, 400, "idempotency_key_invalid"),
        ({"Idempotency-Key": "\t"}, 400, "idempotency_key_invalid"),
        ({"Content-Type": "text/plain", "Idempotency-Key": "k"}, 415, "unsupported_media_type"),
        ({"Authorization": "Bearer wrong", "Idempotency-Key": "k"}, 401, "unauthenticated"),
        ({"Authorization": "-", "Idempotency-Key": "k"}, 401, "unauthenticated"),
    ],
)
async def test_headers_as_they_come_over_the_wire(
    ledger: LedgerClient, wire: Wire, service: RunningService, headers: dict[str, str], status: int, code: str
) -> None:
    asked = f"POST {ledger.transfers}"
    await wire.send(request(asked, service.admin_token, encoded(await _transfer(ledger)), **headers))
    assert _code(await wire.receive(asked), status) == code
    assert await _count(ledger) == 0


async def test_a_body_that_is_awaited_by_100_continue(
    ledger: LedgerClient, wire: Wire, service: RunningService
) -> None:
    asked, body = f"POST {ledger.transfers}", encoded(await _transfer(ledger))
    whole = request(asked, service.admin_token, body, Idempotency_Key="k", Expect="100-continue")
    await wire.send(whole[: -len(body)])
    interim = await wire.receive(asked)
    assert interim is not None
    assert interim.status == 100
    await wire.send(body)
    answered = await wire.receive(asked)
    assert answered is not None
    assert answered.status == 201
