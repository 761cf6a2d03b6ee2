"""Paying the salaries of a month."""

from collections.abc import Mapping
from uuid import UUID

from funds_client import BlockingFundsClient, ProblemError


def pay_salaries(
    client: BlockingFundsClient, month: str, employer: UUID, salaries: Mapping[UUID, int], currency: str = "EUR"
) -> dict[UUID, str]:
    """Pay ``salaries`` (minor units, by account) and return why some could not be paid.

    The key of a salary is made of its month and account. So a month that is paid again, after whatever went wrong the
    first time, pays nobody twice.
    """
    unpaid = {}
    for account, amount in salaries.items():
        try:
            client.transfer(
                debit=employer, credit=account, amount=amount, currency=currency, key=f"salary-{month}-{account}"
            )
        except ProblemError as error:
            unpaid[account] = error.code
    return unpaid
