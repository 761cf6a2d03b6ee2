"""One application for all tests of HTTP; the OpenAPI document judges each answer. A test opens ledgers of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta

import httpx
import pytest

from service.access.tokens import issue
from service.domain.rights import DebitLimit
from service.storage.database import Database
from tests.api.moves import funded
from tests.support.application import Application, serving
from tests.support.http_ledger import JSON, LedgerClient, unique
from tests.support.servers import TestPostgres

MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture(scope="package")
async def application(postgres: TestPostgres) -> AsyncIterator[Application]:
    async with postgres.fresh_database() as database, serving(database) as application:
        yield application


@pytest.fixture(scope="package")
async def client(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin token."""
    async with application.client(application.settings.admin_token) as client:
        yield client


@pytest.fixture(scope="package")
async def anonymous(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    async with application.client(None) as client:
        yield client


@pytest.fixture
async def ledger(client: httpx.AsyncClient) -> LedgerClient:
    """A ledger of the test's own, for the admin."""
    return await LedgerClient.open(client, unique("ledger"))


@pytest.fixture
async def payer(ledger: LedgerClient) -> JSON:
    """An account that has 100 and may not overdraw."""
    return await funded(ledger, 100)


@pytest.fixture
async def payee(ledger: LedgerClient) -> JSON:
    """An account without bounds."""
    return await ledger.account()


@pytest.fixture
async def make_client(application: Application) -> AsyncIterator[MakeClient]:
    """Make clients with tokens of their own: ``await make_client("read", ledgers=["main"])``."""
    clients: list[httpx.AsyncClient] = []
    database = Database.connect(application.database.operator_url, application.settings)

    async def make(
        *scopes: str,
        name: str = "",
        ledgers: Sequence[str] | None = None,
        expires_in: timedelta | None = None,
        debit_limit: DebitLimit | None = None,
    ) -> httpx.AsyncClient:
        async with database.sessions() as session, session.begin():
            made = await issue(
                session,
                client=name or unique("client"),
                scopes=scopes,
                ledgers=ledgers,
                expires_in=expires_in,
                debit_limit=debit_limit,
            )
        clients.append(application.client(made.token))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()
    await database.close()
