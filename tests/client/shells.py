"""Both clients, called alike."""

import asyncio
from typing import Any

from funds_client import BlockingFundsClient, ClientSettings, FundsClient

PATIENT = ClientSettings(
    attempt_seconds=20, deadline_seconds=60, fence_seconds=60, backoff_seconds=0.01, backoff_seconds_max=0.1
)
"""For tests of what happens, not of how soon."""


class Shell:
    """A client that a test calls without knowing which: ``await shell.call("transfer", …)``. Lists come whole."""

    def __init__(self, client: FundsClient | BlockingFundsClient) -> None:
        self.client = client

    async def call(self, name: str, /, *arguments: Any, **named: Any) -> Any:
        if isinstance(self.client, FundsClient):
            result = getattr(self.client, name)(*arguments, **named)
            return [one async for one in result] if name.startswith("list_") else await result
        method = getattr(self.client, name)
        if name.startswith("list_"):
            return await asyncio.to_thread(lambda: list(method(*arguments, **named)))
        return await asyncio.to_thread(method, *arguments, **named)

    async def close(self) -> None:
        if isinstance(self.client, FundsClient):
            await self.client.close()
        else:
            self.client.close()


def shell(kind: type[FundsClient | BlockingFundsClient], url: str, token: str, ledger: str, **more: Any) -> Shell:
    return Shell(kind(url, token=token, ledger=ledger, **({"settings": PATIENT} | more)))
