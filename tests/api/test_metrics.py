"""Metrics: what is counted where, added up over worker processes, and served to nobody but the operations listener."""

import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable

import asyncpg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import DBAPIError

from service.errors import SettingsError
from service.proofs.keys import SignerKey
from service.settings import RetryLimits, Settings
from service.storage.pools import Pools, ReplicaPools
from service.storage.retries import run_with_retries
from service.telemetry import metrics as declared
from service.telemetry.exposition import exposition
from service.telemetry.http_metrics import DURATION_BOUNDS
from service.telemetry.instruments import METRICS
from tests.support.application import Application, serving
from tests.support.http_ledger import JSON, LedgerClient, item, keyed, unique
from tests.support.killing import workers
from tests.support.servers import ROOT, RunningService, TestDatabase, free_port

PROBLEMS, DURATIONS = "funds_problems_total", "http_server_request_duration_seconds"
UNKNOWN = "funds_unknown_outcomes_total"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""By name and labels."""


def read(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of the series of ``name`` that have these labels."""
    return sum(one for (of, its), one in samples.items() if of == name and labels.items() <= dict(its).items())


def scraped() -> Samples:
    return read(exposition("")[0].decode())


@pytest.fixture
async def measured(test_database: TestDatabase) -> AsyncIterator[Application]:
    async with serving(test_database, metrics=True) as application:
        yield application


async def test_every_operation_is_counted_under_its_route(measured: Application) -> None:
    before = scraped()
    counted = f"{DURATIONS}_count"
    async with measured.client(measured.settings.admin_token) as client:
        for operation in measured.contract.operations:
            body: JSON | None = {} if "requestBody" in operation.description else None
            answered = await client.request(operation.method, operation.path, json=body)
            labels = {
                "http_request_method": operation.method,
                "http_route": operation.template,
                "http_response_status_code": str(answered.status_code),
            }
            assert value(scraped(), counted, **labels) == value(before, counted, **labels) + 1, labels
    assert value(scraped(), counted, http_route="other") == 0
    bounds = {dict(labels)["le"] for name, labels in scraped() if name == f"{DURATIONS}_bucket"}
    assert bounds == {*map(str, DURATION_BOUNDS), "+Inf"}


async def test_refusals_and_failures_are_counted_by_code(
    measured: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_name: str) -> None:
        raise ZeroDivisionError

    before = scraped()
    async with measured.client(None) as client:
        await client.get("/v1/ledgers")
        await client.get(f"/nothing/{unique('p')}")
    monkeypatch.setattr(measured.app.state.services.ledgers, "find", fail)
    async with measured.client(measured.settings.admin_token) as client:
        await client.get(f"/v1/ledgers/{unique('l')}/accounts")
        assert value(scraped(), UNKNOWN) == value(before, UNKNOWN), "nothing can have been applied"
        await client.post(f"/v1/ledgers/{unique('l')}/accounts", json={"currency": "USD"}, headers=keyed())
    assert value(scraped(), UNKNOWN) == value(before, UNKNOWN) + 1
    before[PROBLEMS, frozenset({("code", "internal_error")})] += 1
    for code in ("unauthenticated", "not_found", "internal_error"):
        assert value(scraped(), PROBLEMS, code=code) == value(before, PROBLEMS, code=code) + 1, code


async def test_decisions_batches_and_phases_are_counted(measured: Application) -> None:
    before = scraped()

    def grown(name: str, **labels: str) -> float:
        return value(scraped(), name, **labels) - value(before, name, **labels)

    async with measured.client(measured.settings.admin_token) as client:
        ledger = await LedgerClient.open(client, unique("ledger"))
        debit, credit = await ledger.account(), await ledger.account(minimum_balance=0)
        await ledger.post(debit, credit, "once")
        await ledger.post(debit, credit, "once")
        await ledger.post(credit, debit, amount=10**12)
        await ledger.batch(*(item(debit, credit) for _ in range(30)))
        await client.post(f"{ledger.path}/idempotency-keys/unused/fence")
    assert grown("funds_decisions_total", operation="post_transfer", code="applied") == 31
    assert grown("funds_decisions_total", operation="post_transfer", code="insufficient_funds") == 1
    assert grown("funds_decisions_total", operation="fence_key", code="fenced") == 1
    assert grown("funds_decisions_total") == 33
    assert grown("funds_replays_total", operation="post_transfer") == 1
    assert (grown("funds_batch_commands_count"), grown("funds_batch_commands_sum")) == (5, 34)
    assert grown("funds_batch_commands_bucket", le="50.0") == 5
    assert grown("funds_batch_commands_bucket", le="20.0") == 4
    for phase in declared.PHASES:
        assert grown("funds_batch_phase_duration_seconds_count", phase=phase) == 5, phase
        assert grown("funds_batch_phase_duration_seconds_sum", phase=phase) > 0, phase


async def test_labels_are_of_closed_sets(measured: Application) -> None:
    """However many names callers make up."""
    async with measured.client(measured.settings.admin_token) as client:
        await client.get("/v1/ledgers/a1/accounts")
        before = len(scraped())
        for number in range(20):
            await client.get(f"/v1/ledgers/l{number}/accounts")
            await client.request(f"M{number}", "/v1/ledgers/l/accounts")
            await client.get(f"/nothing/{number}")
        text = exposition("")[0].decode()
    assert len(read(text)) <= before + 2 * (len(DURATION_BOUNDS) + 3)
    assert 'http_request_method="_OTHER"' in text
    assert not re.search(r"l\d+/|M\d+|nothing", text)


async def test_retries_are_counted_by_sqlstate() -> None:
    before = scraped()
    failures: list[Exception] = [
        DBAPIError("", {}, asyncpg.SerializationError()),
        ConnectionRefusedError(),
        DBAPIError("", {}, asyncpg.TooManyConnectionsError()),
        DBAPIError("", {}, asyncpg.IdleSessionTimeoutError()),
    ]

    async def attempt() -> None:
        if failures:
            raise failures.pop(0)

    await run_with_retries(attempt, RetryLimits(attempts_max=5, deadline_seconds=30))
    for sqlstate in ("40001", "none", "53300", "other"):
        grown = value(scraped(), "funds_retries_total", sqlstate=sqlstate)
        assert grown == value(before, "funds_retries_total", sqlstate=sqlstate) + 1, sqlstate


def test_every_metric_is_documented_and_every_documented_one_is_there() -> None:
    page = (ROOT / "service" / "docs" / "telemetry.md").read_text()
    told = re.findall(r"(?m)^\| `((?:funds|http)_[a-z_]+)`", page)
    names = [metric.name for metric in METRICS if not metric.name.startswith("test_")]
    assert sorted({*names, DURATIONS, PROBLEMS}) == sorted(told)


def test_every_pool_is_told() -> None:
    names = set(Pools.__struct_fields__) - {"replica"} | {f"replica_{name}" for name in ReplicaPools.__struct_fields__}
    assert names == set(declared.POOLS)


def test_names_end_in_what_they_measure() -> None:
    for metric in METRICS:
        if not metric.name.startswith("test_"):
            assert re.fullmatch(r"(funds|http_server)_[a-z_]+", metric.name)
            assert metric.meaning.endswith(".")


class Installation:
    """A service of two workers, and its operations listener."""

    def __init__(self, serve: Callable[..., RunningService], **settings: str) -> None:
        self.port = free_port()
        key = SignerKey.generate("metrics.test/funds").secret_text()
        self.service = serve(FUNDS_WORKERS="2", FUNDS_OPERATIONS_PORT=str(self.port), FUNDS_LOG_KEY=key, **settings)

    def get(self, **headers: str) -> httpx.Response:
        """Scrape a worker, whichever takes the connection."""
        return httpx.get(f"http://127.0.0.1:{self.port}/metrics", headers=headers)

    def until(self, condition: Callable[[Samples], bool]) -> Samples:
        """Scrape until ``condition`` holds."""
        deadline = time.monotonic() + 30
        while not condition(samples := read(self.get().text)):
            assert time.monotonic() < deadline, samples
            time.sleep(0.05)
        return samples

    def send(self, count: int) -> None:
        """Send requests on connections of their own, so that both workers get some."""
        for _ in range(count):
            assert httpx.get(f"{self.service.url}/v1/ledgers", headers=self.service.headers).status_code == 200

    @property
    def workers(self) -> list[int]:
        """The processes of the workers."""
        return workers(self.service)


def asked(samples: Samples) -> float:
    return value(samples, f"{DURATIONS}_count", http_route="/v1/ledgers")


@pytest.fixture
def installation(serve: Callable[..., RunningService]) -> Installation:
    return Installation(serve, FUNDS_METRICS="true")


def test_a_scrape_of_any_worker_shows_all_and_a_replaced_one_loses_nothing(installation: Installation) -> None:
    installation.send(40)
    samples = installation.until(lambda samples: value(samples, "funds_worker_processes") == 2)
    assert {asked(read(installation.get().text)) for _ in range(10)} == {40.0}
    assert value(samples, "funds_pool_connections_max", pool="batches") == 8
    assert ("funds_queue_commands", frozenset()) in samples
    assert ("funds_sealer_lag_seconds", frozenset()) in samples
    assert ("funds_replica_lag_seconds", frozenset()) not in samples

    victim, other = installation.workers
    os.kill(victim, signal.SIGKILL)
    gone = installation.until(lambda samples: value(samples, "funds_worker_processes") != 2)
    assert value(gone, "funds_worker_processes") == 1, "what was true of the one that ended is forgotten"
    assert value(gone, "funds_pool_connections_max", pool="batches") == 4
    assert asked(gone) == 40
    installation.until(lambda samples: value(samples, "funds_worker_processes") == 2)
    assert other in installation.workers
    installation.send(10)
    assert {asked(read(installation.get().text)) for _ in range(10)} == {50.0}


def test_metrics_are_served_on_the_operations_listener_alone(installation: Installation) -> None:
    assert installation.get(accept="application/openmetrics-text").text.endswith("# EOF\n")
    plain = installation.get()
    assert plain.headers["content-type"].startswith("text/plain")
    assert plain.headers["cache-control"] == "no-store, no-transform"
    service = installation.service
    assert httpx.get(f"{service.url}/metrics", headers=service.headers).status_code == 404
    assert httpx.post(f"http://127.0.0.1:{installation.port}/metrics").status_code == 404


def test_without_the_setting_there_are_none(serve: Callable[..., RunningService]) -> None:
    assert Installation(serve).get().status_code == 404


def test_metrics_need_an_operations_listener() -> None:
    with pytest.raises(SettingsError, match="FUNDS_METRICS: metrics are served on FUNDS_OPERATIONS_PORT alone"):
        Settings.from_environment({"FUNDS_METRICS": "true"})
    assert Settings.from_environment({"FUNDS_METRICS": "true", "FUNDS_OPERATIONS_PORT": "9000"}).metrics
