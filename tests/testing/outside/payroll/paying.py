"""Paying the salaries of a month."""

from collections.abc import Mapping

import httpx

TRIES = 4
SUCCESS = 201
UNAVAILABLE = 503


class OutcomeUnknownError(Exception):
    """No answer came, however often the request was sent."""


def pay_salaries(
    http: httpx.Client, month: str, employer: str, salaries: Mapping[str, int], currency: str = "EUR"
) -> dict[str, str]:
    """Pay ``salaries`` (minor units, by account) and return why some could not be paid.

    The key of a salary is made of its month and account. So a request that is sent again, after whatever went wrong,
    and a whole month that is paid again, pay nobody twice.
    """
    unpaid = {}
    for account, amount in salaries.items():
        transfer = {"debit_account_id": employer, "credit_account_id": account, "amount": amount, "currency": currency}
        answer = _post(http, transfer, key=f"salary-{month}-{account}")
        if answer.status_code != SUCCESS:
            unpaid[account] = answer.json()["code"]
    return unpaid


def _post(http: httpx.Client, transfer: Mapping[str, object], *, key: str) -> httpx.Response:
    """Send a transfer until it is answered. Raises OutcomeUnknownError."""
    for _ in range(TRIES):
        try:
            answer = http.post("/transfers", json=transfer, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            continue
        if answer.status_code != UNAVAILABLE:
            return answer
    raise OutcomeUnknownError(key)
