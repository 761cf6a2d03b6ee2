"""A service for all tests of the client, behind proxies that fail: one to its database, one to its callers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from funds_client import BlockingFundsClient, FundsClient
from service.proofs.keys import SignerKey
from tests.client.http_faults import FaultyNetwork, faulty_network
from tests.client.shells import Shell, shell
from tests.support.commit_proxy import CommitProxy, commit_proxy
from tests.support.patience import PATIENT_ENVIRONMENT
from tests.support.servers import RunningService, TestPostgres
from tests.support.service_process import launch

MakeShell = Callable[..., Shell]

EACH_KIND = pytest.mark.parametrize("make_shell", [FundsClient, BlockingFundsClient], indirect=True)


@dataclass(frozen=True)
class Stage:
    """A service, the proxy to its database, and the database around it."""

    service: RunningService
    commits: CommitProxy
    database_url: str


@pytest.fixture(scope="package")
async def stage(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with postgres.fresh_database() as database, commit_proxy(database.service_url) as commits:
        service = launch(
            commits.url, tmp_path_factory.mktemp("client") / "serve.log", FUNDS_COMMIT_ATTEMPTS_MAX="1",
            FUNDS_LOG_KEY=SignerKey.generate("bank.example/funds").secret_text(), **PATIENT_ENVIRONMENT,
        )  # fmt: skip
        try:
            await asyncio.to_thread(service.wait_until_ready)
            yield Stage(service, commits, database.service_url)
        finally:
            await asyncio.to_thread(service.stop)


@pytest.fixture
async def network(stage: Stage) -> AsyncIterator[FaultyNetwork]:
    """What lies between a client and the service."""
    async with faulty_network(stage.service.url) as network:
        yield network
    stage.commits.break_nothing()


@pytest.fixture
async def ledger(stage: Stage) -> str:
    """A ledger of the test's own."""
    name = f"l-{uuid4().hex}"
    async with httpx.AsyncClient(base_url=stage.service.url, headers=stage.service.headers) as http:
        answer = await http.post("/v1/ledgers", json={"name": name}, headers={"Idempotency-Key": name})
    assert answer.status_code == 201, answer.text
    return name


@pytest.fixture
async def make_shell(
    request: pytest.FixtureRequest, stage: Stage, network: FaultyNetwork, ledger: str
) -> AsyncIterator[MakeShell]:
    """Makes clients of the test's ledger behind ``network``: for asyncio, or of each kind in turn (``EACH_KIND``)."""
    made, kind = [], getattr(request, "param", FundsClient)

    def make(**more: Any) -> Shell:
        made.append(shell(kind, network.url, stage.service.admin_token, ledger, **more))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@dataclass(frozen=True)
class Accounts:
    """One that may be overdrawn, and one that may not."""

    bank: UUID
    customer: UUID


@pytest.fixture
async def accounts(stage: Stage, ledger: str) -> Accounts:
    async with FundsClient(stage.service.url, token=stage.service.admin_token, ledger=ledger) as funds:
        bank = await funds.open_account(currency="USD")
        customer = await funds.open_account(currency="USD", minimum_balance=0)
    return Accounts(bank.id, customer.id)
