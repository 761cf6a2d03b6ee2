"""Where the database of a command is, and whether the service can use it."""

from dataclasses import dataclass, field

import click

from service.embedded.postgres import EmbeddedPostgres
from service.errors import DatabaseAwayError
from service.settings import Settings
from service.storage.preflight import verify_server


@dataclass(frozen=True)
class DatabaseUrls:
    """Where the database is, for the role of the service, the one that migrates and the one that writes tokens."""

    service: str = field(repr=False)
    owner: str = field(repr=False)
    operator: str = field(repr=False)


def say(sentence: str) -> None:
    """Tell the operator what happens, on standard error: standard output carries a command's result."""
    click.echo(sentence, err=True)


def configured_urls(settings: Settings) -> DatabaseUrls | None:
    """Return the URLs that the settings name; None when the embedded PostgreSQL serves."""
    if settings.database_url is None:
        return None
    owner = settings.migration_database_url or settings.database_url
    return DatabaseUrls(settings.database_url, owner, settings.operator_database_url or owner)


def embedded_urls(server: EmbeddedPostgres) -> DatabaseUrls:
    """Return the URLs of the embedded PostgreSQL."""
    return DatabaseUrls(server.service_url, server.owner_url, server.operator_url)


async def verify_databases(settings: Settings, urls: DatabaseUrls) -> None:
    """Ask of the databases what the service needs. A replica that is away is only told of: the primary answers for it.

    Raises DatabaseUnusableError.
    """
    await verify_server(urls.service)
    if settings.read_database_url is not None:
        try:
            await verify_server(settings.read_database_url)
        except DatabaseAwayError as away:
            say(f"Replica: {away}")
