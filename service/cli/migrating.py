"""``funds migrate``: bring the database's schema up to this version."""

import asyncio

import click

from service.cli.connection import opened_database
from service.settings import Settings
from service.storage.migrations import upgrade
from service.storage.preflight import verify_schema, verify_server


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 when the schema is behind.")
def migrate(*, check: bool) -> None:
    """Bring the database's schema up to this version.

    Works as FUNDS_MIGRATION_DATABASE_URL, the owner of the schema, or as FUNDS_DATABASE_URL. Safe to run from many
    instances at once.
    """
    settings = Settings.from_environment()
    with opened_database(settings, migrate=False) as urls:
        if check:
            revision = asyncio.run(_checked_revision(urls.owner))
            click.echo(f"The database schema is at {revision}: up to date.")
            return
        before, after = asyncio.run(upgrade(urls.owner))
    if before == after:
        click.echo(f"The database schema is at {after}: nothing to do.")
    else:
        click.echo(f"The database schema went from {before} to {after}.")


async def _checked_revision(url: str) -> str:
    await verify_server(url)
    return await verify_schema(url)
