"""Probes: live while the process answers, ready while all its parts are; otherwise not ready, with the reason."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.application import Application, serving
from tests.support.database_faults import IMPATIENT, execute, gone
from tests.support.http_ledger import JSON, answer, problem, recovered
from tests.support.servers import TestDatabase


@pytest.fixture
async def mortal(test_database: TestDatabase) -> AsyncIterator[Application]:
    """An application of the test's own, for the test to break."""
    async with serving(test_database, **IMPATIENT) as application:
        yield application


@pytest.fixture
async def probe(mortal: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A caller without a token."""
    async with mortal.client(None) as client:
        yield client


async def _failing(probe: httpx.AsyncClient) -> set[str]:
    """The parts that are not ready, of a service that must not be."""
    response = await probe.get("/health/ready")
    told = problem(response, 503, "not_ready")
    assert (told["retryable"], int(response.headers["Retry-After"]) >= 1) == (True, True)
    failing = {name for name, check in told["checks"].items() if not check["ready"]}
    assert all(name in told["detail"] for name in failing)
    assert all(told["checks"][name]["reason"] for name in failing)
    return failing


async def test_a_service_that_is_alive_and_ready(anonymous: httpx.AsyncClient) -> None:
    assert answer(await anonymous.get("/health/live")) == {"status": "alive"}
    ready: JSON = answer(await anonymous.get("/health/ready"))
    assert ready["status"] == "ready"
    assert {"database", "migrations", "engine"} <= ready["checks"].keys()
    for check in ready["checks"].values():
        assert check["ready"] is True
        assert check["latency_ms"] >= 0


async def test_a_database_that_is_gone_and_comes_back(mortal: Application, probe: httpx.AsyncClient) -> None:
    async with gone(mortal.database):
        assert {"database", "migrations"} <= await _failing(probe)
        assert (await probe.get("/health/live")).status_code == 200
    assert (await recovered(probe, "GET", "/health/ready")).status_code == 200


async def test_readiness_names_no_host_user_or_version(mortal: Application, probe: httpx.AsyncClient) -> None:
    async with gone(mortal.database):
        told = (await probe.get("/health/ready")).text
    name = mortal.database.service_url.rpartition("/")[2].partition("?")[0]
    for secret in (name, "funds_service", "postgres", "localhost", "/tmp", "connection", "Error", "asyncpg"):
        assert secret not in told


async def test_a_schema_that_is_behind(mortal: Application, probe: httpx.AsyncClient) -> None:
    await execute(mortal.database, "UPDATE funds.alembic_version SET version_num = '0000'")
    assert await _failing(probe) == {"migrations"}


async def test_a_committer_that_has_stopped(mortal: Application, probe: httpx.AsyncClient) -> None:
    await mortal.app.state.services.committer.stop()
    assert "engine" in await _failing(probe)
