"""The fixtures of the kit itself. Its plugin is not installed in this repository, so they are taken from its module."""

import httpx
import pytest

from funds_testing import Account, TestLedger
from funds_testing.plugin import (
    funds_account,
    funds_async_client,
    funds_client,
    funds_http,
    funds_ledger,
    funds_service,
    pytest_runtest_call,
)

collect_ignore = ["outside"]  # a project of its own, whose tests test_outside.py runs

__all__ = [
    "funds_account",
    "funds_async_client",
    "funds_client",
    "funds_http",
    "funds_ledger",
    "funds_service",
    "pytest_runtest_call",
]


@pytest.fixture
def payer(funds_ledger: TestLedger) -> Account:
    """An account with 1000 cents, which may not fall below 0."""
    return funds_ledger.account(balance=1000, minimum_balance=0)


@pytest.fixture
def payee(funds_ledger: TestLedger) -> Account:
    return funds_ledger.account()


class Caller:
    """What a test does as a caller: moves 100 cents from the payer to the payee, under a key."""

    def __init__(self, http: httpx.Client, payer: Account, payee: Account) -> None:
        self.http = http
        self.body = {"debit_account_id": payer.id, "credit_account_id": payee.id, "amount": 100, "currency": "USD"}

    def pay(self, key: str, **members: object) -> httpx.Response:
        return self._post("/transfers", self.body | members, key)

    def hold(self, key: str, **members: object) -> httpx.Response:
        return self._post("/holds", self.body | members, key)

    def capture(self, hold: str, key: str) -> httpx.Response:
        return self._post(f"/holds/{hold}/captures", {}, key)

    def reverse(self, transfer: str, key: str) -> httpx.Response:
        return self._post(f"/transfers/{transfer}/reversals", {}, key)

    def outcome(self, key: str) -> str:
        """What the service says of the key."""
        return str(self.http.get(f"/idempotency-keys/{key}").json()["outcome"])

    def _post(self, path: str, body: object, key: str) -> httpx.Response:
        return self.http.post(path, json=body, headers={"Idempotency-Key": key})


@pytest.fixture
def caller(funds_http: httpx.Client, payer: Account, payee: Account) -> Caller:
    return Caller(funds_http, payer, payee)
