"""A database of the test server's own on a PostgreSQL server that is there already."""

import asyncio
import secrets
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from funds_testing.server.clusters import DatabaseUrls
from service.data_files import ROLES_SQL
from service.storage.preflight import explained, verify_server

_LOGINS = {"owner": "funds_owner", "service": "funds_service", "operator": "funds_operator"}


class GivenDatabase:
    """A new database on the server of ``superuser_url``, migrated by ``open``; ``remove`` drops it.

    The roles of the service belong to the whole server, and their passwords to whoever runs it. So the test server has
    logins of its own, which become those roles as they connect.
    """

    def __init__(self, superuser_url: str) -> None:
        self._superuser_url = superuser_url
        self._name = f"funds_testing_{secrets.token_hex(6)}"
        self._password = secrets.token_hex(16)
        self._opened = False

    def open(self) -> DatabaseUrls:
        """Make the database. Raises DatabaseUnusableError."""
        return asyncio.run(self._open())

    def close(self) -> None:
        """Drop the database and its logins."""
        if self._opened:
            self.remove()

    def remove(self) -> None:
        """Do what ``close`` does in another process, once the one that opened it has ended."""
        asyncio.run(self._drop())

    async def _open(self) -> DatabaseUrls:
        from service.storage.migrations import upgrade  # noqa: PLC0415 - takes long to load

        await verify_server(self._superuser_url)
        self._opened = True
        await _execute(self._superuser_url, f"CREATE DATABASE {self._name}")
        superuser = self._url()
        await _execute(superuser, ROLES_SQL.read_text(), *self._logins())
        await upgrade(self._url("owner"))
        return DatabaseUrls(self._url("service"), self._url("operator"), superuser)

    def _logins(self) -> list[str]:
        statements = []
        for login, role in _LOGINS.items():
            name = f"{self._name}_{login}"
            statements += [
                f"CREATE ROLE {name} LOGIN PASSWORD '{self._password}' IN ROLE {role}",
                f"ALTER ROLE {name} SET role = '{role}'",
                f"GRANT CONNECT ON DATABASE {self._name} TO {name}",
            ]
            if login != "owner":
                statements.append(f"ALTER ROLE {name} IN DATABASE {self._name} SET search_path = funds")
        return statements

    async def _drop(self) -> None:
        names = [f"{self._name}_{login}" for login in _LOGINS]
        drops = [f"DROP ROLE IF EXISTS {name}" for name in names]
        await _execute(self._superuser_url, f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)", *drops)

    def _url(self, login: str | None = None) -> str:
        """Return the URL of the database for a login; without one for the superuser."""
        parts = urlsplit(self._superuser_url)
        user, _, place = parts.netloc.rpartition("@")
        if login is not None:
            user = f"{self._name}_{login}:{self._password}"
        return urlunsplit((parts.scheme, f"{user}@{place}", f"/{self._name}", parts.query, ""))


async def _execute(url: str, *statements: str) -> None:
    with explained(url):
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()
