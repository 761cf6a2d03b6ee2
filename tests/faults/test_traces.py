"""Traces of requests, down to the batch and its statements, at a collector that speaks OTLP."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import httpx
import pytest

from tests.support.collector import Collected, Collector, collecting
from tests.support.http_ledger import LedgerClient, item, unique
from tests.support.servers import RunningService

SERVER, CLIENT = 2, 3
CLOCK_NS = 20_000_000
"""How far the event loop's clock may be behind: it stands still while the loop is busy."""
SECRET_TEXT = "what only the caller knows"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def traceparent(*, sampled: bool = True) -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-0{int(sampled)}"


def _client(service: RunningService) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=service.url, headers=service.headers, timeout=30)


def _below(spans: list[Collected], parent: Collected) -> list[Collected]:
    return [span for span in spans if span.parent_id == parent.span_id and span.trace_id == parent.trace_id]


async def test_a_transfer_is_followed_to_its_commit(serve: Callable[..., RunningService], collector: Collector) -> None:
    service = serve(FUNDS_TRACES_ENDPOINT=collector.url, FUNDS_TRACE_SHARE="0", OTEL_BSP_SCHEDULE_DELAY="50")
    async with _client(service) as http:
        ledger = await LedgerClient.open(http, unique("traces"))
        debit, credit = await ledger.account(), await ledger.account()
        assert collector.spans == [], "nobody asked for a trace"
        parents = [traceparent() for _ in range(8)]
        answers = await asyncio.gather(
            *(
                http.post(
                    ledger.transfers,
                    json={name: value for name, value in item(debit, credit).items() if name != "idempotency_key"}
                    | {"description": SECRET_TEXT},
                    headers={"Idempotency-Key": unique("key"), "traceparent": parent},
                )
                for parent in parents
            )
        )
        assert {answer.status_code for answer in answers} == {201}
        await http.get(f"{ledger.transfers}?limit=1", headers={"traceparent": traceparent(sampled=False)})

    def all_there(spans: list[Collected]) -> bool:
        batches = {span.span_id for span in spans if span.name == "batch"}
        waits = [span for span in spans if span.name == "queue"]
        return len(waits) == len(parents) and {link for wait in waits for link in wait.links} <= batches

    spans = collector.wait_for(all_there)
    requests = [span for span in spans if span.kind == SERVER]
    assert {(span.trace_id, span.parent_id) for span in requests} == {(one[3:35], one[36:52]) for one in parents}
    for request in requests:
        assert request.name == "POST /v1/ledgers/{ledger_name}/transfers"
        assert request.attributes["http.response.status_code"] == 201
        assert request.attributes["http.route"] == "/v1/ledgers/{ledger_name}/transfers"
        [wait] = [span for span in _below(spans, request) if span.name == "queue"]
        assert request.began_ns - CLOCK_NS <= wait.began_ns <= wait.ended_ns <= request.ended_ns + CLOCK_NS
        [batch] = [span for span in spans if span.span_id in wait.links]
        assert batch.name == "batch"
        assert batch.parent_id == ""
        assert request.span_id in batch.links
    for batch in (span for span in spans if span.name == "batch"):
        assert batch.attributes["funds.batch.commands"] == len(batch.links)
        below = _below(spans, batch)
        assert {"lock", "load", "decide", "write", "commit"} <= {span.name for span in below}
        statements = [span for span in below if span.kind == CLIENT]
        assert {"SELECT", "COMMIT"} <= {str(span.attributes["db.operation.name"]) for span in statements}
        assert all(batch.began_ns - CLOCK_NS <= span.began_ns <= span.ended_ns for span in below)
    assert {resource["service.name"] for resource in collector.resources} == {"funds"}
    told = b"".join(collector.bodies)
    for secret in (SECRET_TEXT, service.admin_token, ledger.name, debit["id"], credit["id"]):
        assert secret.encode() not in told


async def test_a_share_of_the_others_is_sampled(serve: Callable[..., RunningService], collector: Collector) -> None:
    service = serve(FUNDS_TRACES_ENDPOINT=collector.url, FUNDS_TRACE_SHARE="1", OTEL_BSP_SCHEDULE_DELAY="50")
    async with _client(service) as http:
        read = await http.get("/v1/ledgers")
        refused = await http.get("/v1/ledgers", headers={"Authorization": "Bearer nobody"})
        untold = await http.get("/v1/ledgers", headers={"traceparent": traceparent(sampled=False)})
    assert (read.status_code, refused.status_code, untold.status_code) == (200, 401, 200)

    def served(spans: list[Collected]) -> list[Collected]:
        return [span for span in spans if span.attributes.get("http.route") == "/v1/ledgers"]

    spans = collector.wait_for(lambda spans: len(served(spans)) == 2)
    requests = {str(span.attributes["http.response.status_code"]): span for span in served(spans)}
    assert requests["200"].trace_id == read.headers["traceparent"][3:35]
    assert requests["401"].attributes["funds.problem"] == "unauthenticated"
    assert not requests["401"].failed, "the caller's fault is none of ours"
    statements = _below(spans, requests["200"])
    assert "SELECT" in {span.name for span in statements}
    assert all("$1" in str(span.attributes["db.query.text"]) for span in statements if "WHERE" in str(span.attributes))


async def test_nobody_waits_for_a_collector(serve: Callable[..., RunningService]) -> None:
    """One that takes connections and never answers: requests go on, and the service stops in time."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        service = serve(
            FUNDS_TRACES_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces",
            FUNDS_TRACE_SHARE="1",
            OTEL_BSP_SCHEDULE_DELAY="50",
        )
        async with _client(service) as http:
            ledger = await LedgerClient.open(http, unique("traces"))
            debit, credit = await ledger.account(), await ledger.account()
            for _ in range(50):
                assert (await ledger.batch(item(debit, credit))).status_code == 201
        assert await asyncio.to_thread(service.stop) == 0
