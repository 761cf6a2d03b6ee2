"""Opening connections: the one way in which pools, commands, migrations and preflight reach PostgreSQL."""

from collections.abc import Mapping
from types import MappingProxyType

import asyncpg

from service.storage.addresses import Address


class TlsRefusedError(ConnectionError):
    """The server does not offer the TLS that it must; the message is one sentence for the operator."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"The database at {place} does not agree to TLS, and what is not on this machine is not spoken to in plain"
            " text: turn TLS on there (ssl = on), or allow plain text with ?sslmode=disable in the URL."
        )


async def connect(
    address: Address,
    *,
    application_name: str,
    timeout_seconds: float,
    command_timeout_seconds: float | None = None,
    statement_cache_size: int = 100,
    session_settings: Mapping[str, str] = MappingProxyType({}),
) -> asyncpg.Connection:
    """Connect to the database at ``address``; ``command_timeout_seconds`` of None is no limit.

    Where the URL leaves it open, TLS is required of every host but this machine. ``session_settings`` are set once the
    connection stands, in one round trip: as start-up parameters, a pooler (PgBouncer) would refuse them.
    Raises TlsRefusedError, OSError, or the driver's errors.
    """
    try:
        connection = await asyncpg.connect(
            dsn=address.url,
            ssl=address.tls_added,
            timeout=timeout_seconds,
            command_timeout=command_timeout_seconds,
            statement_cache_size=statement_cache_size,
            server_settings={"application_name": application_name, "timezone": "UTC"},
        )
    except ConnectionError as error:
        # The driver raises the bare class where the two do not come to terms on TLS, and only there.
        if type(error) is ConnectionError and address.tls_required:
            raise TlsRefusedError(address.place) from error
        raise
    if session_settings:
        try:
            await connection.execute(_set(session_settings), timeout=timeout_seconds)
        except BaseException:
            connection.terminate()
            raise
    return connection


def _set(settings: Mapping[str, str]) -> str:
    """Return the statements that set ``settings`` for the session; their names are constants of ours."""
    return ";".join(f"SET {name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items())
