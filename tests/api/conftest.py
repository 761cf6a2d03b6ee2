"""One application for all tests of HTTP; the OpenAPI document judges each answer. A test opens ledgers of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar

from service.app import create_app
from service.settings import Settings
from service.storage.database import Database
from service.storage.tokens import create_token
from tests.api.contract import Contract, JudgedTransport
from tests.api.ledger import JSON, Book, unique
from tests.api.moves import funded
from tests.servers import TestDatabase, TestPostgres, random_token, started

MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]


@dataclass(frozen=True)
class Application:
    """The application as it runs, its database, and the contract that its answers are held to."""

    app: Litestar
    settings: Settings
    database: TestDatabase
    contract: Contract

    def client(self, token: str | None) -> httpx.AsyncClient:
        """Return a client with this token, or without any."""
        # Exceptions become answers, as they do behind a real server.
        carrier = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)  # type: ignore[arg-type]
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(
            transport=JudgedTransport(carrier, self.contract), base_url="http://funds", headers=headers
        )


@asynccontextmanager
async def serving(database: TestDatabase, **settings: Any) -> AsyncIterator[Application]:
    """An application on ``database``, started and stopped."""
    chosen = Settings(database_url=database.service_url, admin_token=random_token(), log_level="warning", **settings)
    app = create_app(chosen)
    async with started(app):
        yield Application(app, chosen, database, Contract(app.openapi_schema.to_schema()))


@pytest.fixture(scope="package")
async def application(postgres: TestPostgres) -> AsyncIterator[Application]:
    name, database = await postgres.make_database()
    async with serving(database) as application:
        yield application
    await postgres.drop_database(name)


@pytest.fixture(scope="package")
async def client(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin token."""
    async with application.client(application.settings.admin_token) as client:
        yield client


@pytest.fixture(scope="package")
async def stranger(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    async with application.client(None) as client:
        yield client


@pytest.fixture
async def book(client: httpx.AsyncClient) -> Book:
    """A ledger of the test's own, for the admin."""
    return await Book.open(client, unique("ledger"))


@pytest.fixture
async def payer(book: Book) -> JSON:
    """An account that has 100 and may not overdraw."""
    return await funded(book, 100)


@pytest.fixture
async def payee(book: Book) -> JSON:
    """An account without bounds."""
    return await book.account()


@pytest.fixture
async def make_client(application: Application) -> AsyncIterator[MakeClient]:
    """Make clients with tokens of their own: ``await make_client("read", ledgers=["main"])``."""
    clients: list[httpx.AsyncClient] = []
    database = Database.connect(application.database.operator_url, application.settings)

    async def make(
        *scopes: str, name: str = "", ledgers: Sequence[str] | None = None, expires_in: timedelta | None = None
    ) -> httpx.AsyncClient:
        async with database.sessions() as session, session.begin():
            made = await create_token(
                session, client=name or unique("client"), scopes=scopes, ledgers=ledgers, expires_in=expires_in
            )
        clients.append(application.client(made.token))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()
    await database.close()
