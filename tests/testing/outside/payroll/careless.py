"""How salaries must not be paid: kept to show that the tests find it."""

import uuid

import httpx

TRIES = 3


def pay_carelessly(http: httpx.Client, employer: str, employee: str, amount: int, currency: str = "EUR") -> None:
    """Pay a salary, and try again when no answer comes: under a new key, which is the mistake."""
    transfer = {"debit_account_id": employer, "credit_account_id": employee, "amount": amount, "currency": currency}
    for _ in range(TRIES):
        try:
            http.post("/transfers", json=transfer, headers={"Idempotency-Key": str(uuid.uuid4())}).raise_for_status()
        except httpx.TransportError:
            continue
        return
