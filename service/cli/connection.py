"""Which database a command works on: the one of the settings, or the embedded one, running or started for it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from service.cli.urls import DatabaseUrls, configured_urls, embedded_urls, say
from service.embedded.postgres import EmbeddedPostgres
from service.errors import DatabaseUnusableError
from service.settings import Settings
from service.storage.addresses import location
from service.storage.database import Database
from service.storage.errors import is_privilege_missing
from service.storage.migrations import upgrade
from service.storage.preflight import verify_schema, verify_server

T = TypeVar("T")


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


def run_with_database(
    settings: Settings,
    work: Callable[[Database], Awaitable[T]],
    *,
    connect: Callable[[str, Settings], Database] = Database.connect,
    on_replica: bool = False,
) -> T:
    """Run ``work`` on the database under the service's role, its schema checked first, and return what it returns.
    ``connect`` makes the pool. With ``on_replica``, that is the replica where the settings name one, and no other
    server if it is away: what asks for it would be in the primary's way.
    """
    with opened_database(settings) as urls:
        replica = settings.read_database_url if on_replica else None
        return asyncio.run(_run(replica or urls.service, settings, work, connect))


def run_as_operator(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run ``work`` as ``run_with_database`` does, but under the role that writes tokens.

    Raises DatabaseUnusableError when the role may not do what ``work`` does.
    """
    with opened_database(settings) as urls:
        try:
            return asyncio.run(_run(urls.operator, settings, work))
        except Exception as error:
            if not is_privilege_missing(error):
                raise
            raise DatabaseUnusableError(
                f"The role that connects to the database at {location(urls.operator)} may not read and write tokens:"
                " set FUNDS_OPERATOR_DATABASE_URL to the URL of funds_operator (`funds roles` makes that role), or"
                " FUNDS_MIGRATION_DATABASE_URL to the owner's."
            ) from error


async def _run(
    url: str,
    settings: Settings,
    work: Callable[[Database], Awaitable[T]],
    connect: Callable[[str, Settings], Database] = Database.connect,
) -> T:
    await verify_server(url)
    await verify_schema(url)
    database = connect(url, settings)
    try:
        return await work(database)
    finally:
        await database.close()
