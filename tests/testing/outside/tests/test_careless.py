"""The mistake that the kit is there to find."""

import pytest
from payroll.careless import pay_carelessly

from funds_testing import LedgerNotWholeError


@pytest.fixture
def accounts(funds_account):
    return funds_account("EUR", balance=1_000_000, minimum_balance=0), funds_account("EUR")


def test_nobody_notices_while_nothing_fails(funds_http, accounts):
    employer, employee = accounts
    pay_carelessly(funds_http, employer.id, employee.id, 300_000)
    assert employee.balance == 300_000


@pytest.mark.xfail(reason="a retry under a new key pays twice", raises=AssertionError)
def test_the_balance_shows_it(funds_ledger, funds_http, accounts):
    employer, employee = accounts
    funds_ledger.faults.commit_then_drop()
    pay_carelessly(funds_http, employer.id, employee.id, 300_000)
    assert employee.balance == 300_000


@pytest.mark.xfail(reason="a transfer stands that nobody knows of", raises=LedgerNotWholeError)
def test_the_ledger_shows_it_by_itself(funds_ledger, funds_http, accounts):
    employer, employee = accounts
    funds_ledger.faults.commit_then_drop()
    pay_carelessly(funds_http, employer.id, employee.id, 300_000)
