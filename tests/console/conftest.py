"""The console over ASGI, as a browser on this machine sees it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import httpx
import pytest

from service.access.tokens import issue
from service.proofs.keys import SignerKey
from service.storage.database import Database
from tests.console.browsing import Browser, browsing
from tests.support.application import Application, serving
from tests.support.http_ledger import JSON, LedgerClient, unique
from tests.support.servers import TestPostgres

_KEY = SignerKey.generate("tests.example/funds").secret_text()

MakeToken = Callable[..., Awaitable[str]]


@pytest.fixture(scope="package")
async def application(postgres: TestPostgres) -> AsyncIterator[Application]:
    async with (
        postgres.fresh_database() as database,
        serving(database, log_key=_KEY, log_origin="tests.example/funds") as application,
    ):
        yield application


@pytest.fixture(scope="package")
async def client(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API with the admin token."""
    async with application.client(application.settings.admin_token) as client:
        yield client


@pytest.fixture
async def ledger(client: httpx.AsyncClient) -> LedgerClient:
    """A ledger of the test's own, for the admin."""
    return await LedgerClient.open(client, unique("ledger"))


@pytest.fixture
async def payer(ledger: LedgerClient) -> JSON:
    return await ledger.account(name="Payer", reference=unique("payer"))


@pytest.fixture
async def payee(ledger: LedgerClient) -> JSON:
    return await ledger.account(name="Payee", reference=unique("payee"))


@pytest.fixture
async def make_token(application: Application) -> AsyncIterator[MakeToken]:
    """Make tokens: ``await make_token("read", ledgers=["main"])``."""
    database = Database.connect(application.database.operator_url, application.settings)

    async def make(*scopes: str, client: str = "", ledgers: Sequence[str] | None = None) -> str:
        async with database.sessions() as session, session.begin():
            made = await issue(session, client=client or unique("client"), scopes=scopes, ledgers=ledgers)
        return made.token

    yield make
    await database.close()


@pytest.fixture
async def anonymous(application: Application) -> AsyncIterator[Browser]:
    """A browser in which nobody is signed in."""
    async with browsing(application) as browser:
        yield browser


@pytest.fixture
async def browser(anonymous: Browser, application: Application) -> Browser:
    """A browser in which the administrator is signed in."""
    await anonymous.sign_in(application.settings.admin_token or "")
    return anonymous
