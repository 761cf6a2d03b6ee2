"""The fixtures of the kit, and the check of ledgers after each test."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from funds_testing.ledger import Account, TestLedger
from funds_testing.service import NO_TLS, FundsService

if TYPE_CHECKING:
    from funds_client import BlockingFundsClient, FundsClient

_LEDGERS = pytest.StashKey[list[TestLedger]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Check the ledgers of a test once its own code has passed; where that failed, add what they tell of it."""
    try:
        result = yield
    except Exception as error:
        for ledger in item.stash.get(_LEDGERS, []):
            for found in ledger.check():
                error.add_note(f"{ledger.name}: {found.rule}: {found.wrong}")
        raise
    __tracebackhide__ = True
    for ledger in item.stash.get(_LEDGERS, []):
        ledger.assert_whole()
    return result


@pytest.fixture(scope="session")
def funds_service() -> Iterator[FundsService]:
    """A service with a database of its own, for the whole session; of pytest-xdist, for each worker."""
    with FundsService() as service:
        yield service


@pytest.fixture
def funds_ledger(funds_service: FundsService, request: pytest.FixtureRequest) -> Iterator[TestLedger]:
    """A fresh ledger, which is checked after the test."""
    ledger = funds_service.ledger()
    request.node.stash.setdefault(_LEDGERS, []).append(ledger)
    yield ledger
    ledger.forget()


@pytest.fixture
def funds_account(funds_ledger: TestLedger) -> Callable[..., Account]:
    """Opens accounts in the test's ledger: ``funds_account("USD", balance=1000, minimum_balance=0)``."""
    return funds_ledger.account


@pytest.fixture
def funds_http(funds_ledger: TestLedger) -> Iterator[httpx.Client]:
    """A plain HTTP client with the ledger's token; paths are relative to the ledger: ``/transfers``."""
    with httpx.Client(base_url=funds_ledger.url, headers=funds_ledger.headers, verify=NO_TLS) as client:
        yield client


@pytest.fixture
def funds_client(funds_ledger: TestLedger, funds_http: httpx.Client) -> "BlockingFundsClient":
    """The client of the distribution ``funds-client`` for the ledger; skips the test where that is not installed."""
    package = pytest.importorskip("funds_client")
    client: BlockingFundsClient = package.BlockingFundsClient(
        funds_ledger.service.url, token=funds_ledger.token, ledger=funds_ledger.name, http=funds_http
    )
    return client


@pytest.fixture
def funds_async_client(funds_ledger: TestLedger) -> "FundsClient":
    """The same for asyncio; a test that has it closes it: ``async with funds_async_client``."""
    package = pytest.importorskip("funds_client")
    client: FundsClient = package.FundsClient(
        funds_ledger.service.url, token=funds_ledger.token, ledger=funds_ledger.name
    )
    return client
