"""Salaries are paid once, whatever the network does."""

from uuid import UUID

import pytest
from payroll.paying import pay_salaries

SALARY = 300_000


@pytest.fixture
def employer(funds_account):
    return funds_account("EUR", balance=1_000_000, minimum_balance=0)


@pytest.fixture
def employees(funds_account):
    return [funds_account("EUR") for _ in range(3)]


@pytest.fixture
def pay(funds_client, employer, employees):
    salaries = {UUID(employee.id): SALARY for employee in employees}
    return lambda: pay_salaries(funds_client, "2026-11", UUID(employer.id), salaries)


@pytest.mark.parametrize("fault", [None, "commit_then_drop", "drop_before", "unavailable", "cut_body"])
def test_everybody_is_paid_once(funds_ledger, pay, employees, fault):
    if fault is not None:
        getattr(funds_ledger.faults, fault)(times=2)
    assert pay() == {}
    assert [employee.balance for employee in employees] == [SALARY] * 3
    assert len(funds_ledger.faults.met) == (0 if fault is None else 2)


def test_a_month_that_is_paid_again_pays_nobody_twice(pay, employer):
    pay()
    pay()
    assert employer.balance == 1_000_000 - 3 * SALARY


def test_who_could_not_be_paid_is_told(funds_ledger, pay, employees):
    funds_ledger.faults.decline("account_frozen")
    assert pay() == {UUID(employees[0].id): "account_frozen"}
    assert [employee.balance for employee in employees] == [0, SALARY, SALARY]
