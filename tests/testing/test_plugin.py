"""The plugin, in projects of others: what a test's own result and the check of its ledger come to together."""

import re
from pathlib import Path
from uuid import UUID

from funds_client import BlockingFundsClient, FundsClient
from funds_testing import Account, TestLedger
from tests.testing.projects import run_pytest

PROJECT = """
import unittest
import httpx
import pytest

def lose(ledger, http):
    payer, payee = ledger.account(balance=1000), ledger.account()
    body = {"debit_account_id": payer.id, "credit_account_id": payee.id, "amount": 1, "currency": "USD"}
    ledger.faults.commit_then_drop()
    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/transfers", json=body, headers={"Idempotency-Key": "lost"})

def test_whole(funds_ledger): pass
def test_not_whole(funds_ledger, funds_http): lose(funds_ledger, funds_http)
def test_failed_and_not_whole(funds_ledger, funds_http):
    lose(funds_ledger, funds_http)
    assert False, "its own"
@pytest.mark.xfail(strict=True)
def test_expected(funds_ledger, funds_http): lose(funds_ledger, funds_http)
@pytest.mark.parametrize("number", range(2))
def test_alone(funds_ledger, funds_account, number):
    funds_account(reference="the only one")
class TestCase(unittest.TestCase):
    def test_without_fixtures(self): pass
"""


def test_a_ledger_that_is_not_whole_fails_its_test(tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(PROJECT)
    done = run_pytest(tmp_path, "-rf")
    told = done.stdout
    assert "2 failed, 4 passed, 1 xfailed" in told, told + done.stderr
    assert re.search(
        r"^FAILED test_project.py::test_not_whole - funds_testing.errors.LedgerNotWhole", told, re.MULTILINE
    ), told
    assert re.search(
        r"^FAILED test_project.py::test_failed_and_not_whole - AssertionError: its own", told, re.MULTILINE
    )
    assert len(re.findall(r"^E +test-[0-9a-f]+: a caller knows of every transfer", told, re.MULTILINE)) == 1


def test_the_client_is_bound_to_the_ledger(
    funds_ledger: TestLedger, funds_client: BlockingFundsClient, payer: Account, payee: Account
) -> None:
    funds_ledger.faults.commit_then_drop()
    paid = funds_client.transfer(debit=UUID(payer.id), credit=UUID(payee.id), amount=100, currency="USD", key="salary")
    assert [transfer["id"] for transfer in funds_ledger.transfers()] == [str(paid.id)]


async def test_so_is_the_one_for_asyncio(
    funds_ledger: TestLedger, funds_async_client: FundsClient, payer: Account, payee: Account
) -> None:
    funds_ledger.faults.drop_before()
    async with funds_async_client as client:
        await client.transfer(debit=UUID(payer.id), credit=UUID(payee.id), amount=100, currency="USD", key="salary")
    assert (payee.balance, len(funds_ledger.faults.met)) == (100, 1)
