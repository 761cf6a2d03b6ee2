"""Which database a command works on: the one of the settings, or the embedded one, running or started for it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import click

from service.settings import Settings
from service.storage.database import Database
from service.storage.embedded import EmbeddedPostgres
from service.storage.migrations import upgrade, verify_revision
from service.storage.preflight import explained, verify_server

T = TypeVar("T")


@dataclass(frozen=True)
class DatabaseUrls:
    """Where the database is, for the role of the service and for the role that migrates."""

    service: str
    owner: str


def say(sentence: str) -> None:
    """Tell the operator what happens, on standard error: standard output carries a command's result."""
    click.echo(sentence, err=True)


def configured_urls(settings: Settings) -> DatabaseUrls | None:
    """Return the URLs that the settings name; None when the embedded PostgreSQL serves."""
    if settings.database_url is None:
        return None
    return DatabaseUrls(settings.database_url, settings.migration_database_url or settings.database_url)


def embedded_urls(server: EmbeddedPostgres) -> DatabaseUrls:
    """Return the URLs of the embedded PostgreSQL."""
    return DatabaseUrls(server.service_url, server.owner_url)


@contextmanager
def opened_database(settings: Settings, *, migrate: bool = True) -> Iterator[DatabaseUrls]:
    """Give the URLs of the database for the length of one command.

    With no database in the settings that is the embedded PostgreSQL: the one that ``funds serve`` runs just now, else
    one that is started (and migrated, unless ``migrate`` is False) and stopped afterwards.
    """
    urls = configured_urls(settings)
    if urls is not None:
        yield urls
        return
    server = EmbeddedPostgres(settings.data_dir, say=say)
    if server.try_lock():
        with server:
            if migrate:
                asyncio.run(upgrade(server.owner_url))
            yield embedded_urls(server)
    else:
        server.attach()
        yield embedded_urls(server)


def run_with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run ``work`` on the database under the service's role, its schema checked first, and return what it returns."""

    async def run(url: str) -> T:
        await verify_server(url)
        database = Database.connect(url, settings)
        try:
            with explained(url):
                await verify_revision(database.engine)
            return await work(database)
        finally:
            await database.close()

    with opened_database(settings) as urls:
        return asyncio.run(run(urls.service))
