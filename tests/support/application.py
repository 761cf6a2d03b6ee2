"""The application over ASGI; the OpenAPI document judges each answer."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from litestar import Litestar

from service.app import create_app
from service.settings import Settings
from tests.support.contract import Contract, JudgedTransport
from tests.support.patience import PATIENT
from tests.support.servers import TestDatabase, random_token, started

_contracts: dict[str, Contract] = {}


@dataclass(frozen=True)
class Application:
    """The application as it runs, and its database."""

    app: Litestar
    settings: Settings
    database: TestDatabase

    @property
    def contract(self) -> Contract:
        """The same for all applications with this prefix: nothing else of the settings is in the document."""
        prefix = self.settings.path_prefix
        if prefix not in _contracts:
            _contracts[prefix] = Contract(json.loads(self.app.state.document.make()))
        return _contracts[prefix]

    def client(self, token: str | None, *, address: str = "127.0.0.1") -> httpx.AsyncClient:
        """Return a client with this token, or without any, at ``address``."""
        # Exceptions become answers, as they do behind a real server.
        carrier = httpx.ASGITransport(app=self.app, raise_app_exceptions=False, client=(address, 123))  # type: ignore[arg-type]
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(
            transport=JudgedTransport(carrier, self.contract), base_url="http://funds", headers=headers
        )


@asynccontextmanager
async def serving(database: TestDatabase, **settings: Any) -> AsyncIterator[Application]:
    """An application on ``database``, started and stopped. Unless ``settings`` say so, it gives nothing up because the
    machine is busy, and its verifier never begins: tests verify themselves, and one process does at a time.
    """
    usual: dict[str, Any] = {"admin_token": random_token(), "log_level": "warning", "verify_interval_seconds": 86_400}
    chosen = Settings(database_url=database.service_url, **(PATIENT | usual | settings))
    app = create_app(chosen)
    async with started(app):
        yield Application(app, chosen, database)
