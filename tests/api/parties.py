"""Accounts in every state that a rule checks."""

from uuid import uuid4

from service.domain.limits import INT64_MAX
from tests.support.http_ledger import JSON, LedgerClient, unique


class Parties:
    """Makes accounts in every state that a rule checks."""

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger

    async def open(self) -> JSON:
        return await self._ledger.account()

    async def poor(self) -> JSON:
        return await self._ledger.account(minimum_balance=0)

    async def limited(self) -> JSON:
        return await self._ledger.account(maximum_balance=0)

    async def full(self) -> JSON:
        """An account whose debits and credits are as large as they can be, with a balance of zero."""
        account, other = await self.open(), await self.open()
        await self._ledger.move(account, other, INT64_MAX)
        await self._ledger.move(other, account, INT64_MAX)
        return account

    async def frozen(self) -> JSON:
        return await self._in_status("frozen")

    async def closed(self) -> JSON:
        return await self._in_status("closed")

    async def unknown(self) -> JSON:
        return {"id": str(uuid4())}

    async def foreign(self) -> JSON:
        other = await LedgerClient.open(self._ledger.client, unique("other"))
        return await other.account()

    async def _in_status(self, status: str) -> JSON:
        account = await self.open()
        response = await self._ledger.revise(account, status=status)
        assert response.status_code == 200, response.text
        return account
