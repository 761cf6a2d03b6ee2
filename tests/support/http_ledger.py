"""A ledger that tests use over HTTP only: to open it, to fill it and to read it."""

import asyncio
from typing import Any, Self
from uuid import uuid4

import httpx

JSON = dict[str, Any]

RECOVERY_SECONDS_MAX = 30.0


def unique(kind: str) -> str:
    """Return a name that no other test has."""
    return f"{kind}-{uuid4().hex[:16]}"


def keyed(key: str | None = None) -> dict[str, str]:
    """Return the headers of a POST under ``key``; without one under a new key."""
    return {"Idempotency-Key": key or unique("key")}


class LedgerClient:
    """One ledger, seen by the caller of ``client``."""

    def __init__(self, client: httpx.AsyncClient, name: str) -> None:
        self.client = client
        self.name = name
        self.path = f"/v1/ledgers/{name}"
        self.accounts = f"{self.path}/accounts"
        self.transfers = f"{self.path}/transfers"
        self.batches = f"{self.path}/transfers/batch"

    @classmethod
    async def open(cls, client: httpx.AsyncClient, name: str) -> Self:
        """Create the ledger."""
        response = await client.post("/v1/ledgers", json={"name": name}, headers=keyed())
        assert response.status_code == 201, response.text
        return cls(client, name)

    def seen_by(self, client: httpx.AsyncClient) -> "LedgerClient":
        """Return the same ledger for another caller."""
        return LedgerClient(client, self.name)

    async def account(self, **members: Any) -> JSON:
        """Open an account in USD, if ``members`` say nothing else, and return it."""
        response = await self.client.post(self.accounts, json={"currency": "USD"} | members, headers=keyed())
        assert response.status_code == 201, response.text
        return answer(response)

    async def read_account(self, account: JSON) -> JSON:
        """Return the account as it is now."""
        response = await self.client.get(f"{self.accounts}/{account['id']}")
        assert response.status_code == 200, response.text
        return answer(response)

    async def revise(self, account: JSON, if_match: str | None = "*", **members: Any) -> httpx.Response:
        """Send a PATCH of the account."""
        headers = {} if if_match is None else {"If-Match": if_match}
        return await self.client.patch(f"{self.accounts}/{account['id']}", json=members, headers=headers)

    async def post(self, debit: JSON, credit: JSON, key: str | None = None, **members: Any) -> httpx.Response:
        """Send a transfer of 1 USD cent, if ``members`` say nothing else."""
        return await self.client.post(self.transfers, json=transfer(debit, credit, **members), headers=keyed(key))

    async def move(self, debit: JSON, credit: JSON, amount: int = 1, **members: Any) -> JSON:
        """Post a transfer that must be applied, and return it."""
        response = await self.post(debit, credit, amount=amount, **members)
        assert response.status_code == 201, response.text
        return answer(response)

    async def batch(self, *items: JSON, **members: Any) -> httpx.Response:
        """Send a batch."""
        return await self.client.post(self.batches, json={"transfers": items} | members)


def transfer(debit: JSON, credit: JSON, **members: Any) -> JSON:
    """Return the body of a transfer of 1 USD cent, if ``members`` say nothing else."""
    return {
        "debit_account_id": debit["id"],
        "credit_account_id": credit["id"],
        "amount": 1,
        "currency": "USD",
    } | members


def item(debit: JSON, credit: JSON, key: str | None = None, **members: Any) -> JSON:
    """Return an item of a batch."""
    return transfer(debit, credit, idempotency_key=key or unique("key"), **members)


def answer(response: httpx.Response) -> JSON:
    """Return the JSON object that was answered."""
    content: JSON = response.json()
    return content


def problem(response: httpx.Response, status: int, code: str) -> JSON:
    """Return the problem that was answered, which must be this one."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    content = answer(response)
    assert (response.status_code, content["code"]) == (status, code), content
    return content


async def recovered(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request, and the same one again while it is refused for now, as callers do; return the answer.

    Raises TimeoutError when the service does not recover within RECOVERY_SECONDS_MAX.
    """
    async with asyncio.timeout(RECOVERY_SECONDS_MAX):
        while (response := await client.request(method, path, **options)).status_code == 503:
            assert answer(response)["retryable"] is True
    return response


def pointers(response: httpx.Response) -> list[str]:
    """Return where the faults of a malformed request lie."""
    return [fault["pointer"] for fault in problem(response, 400, "malformed_request")["errors"]]
