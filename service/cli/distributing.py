"""``funds distribute``: distribute the tables over the nodes of Citus."""

import asyncio

import click

from service.cli.connection import opened_database
from service.settings import Settings
from service.storage.distribution import SHARDS, SHARDS_MAX, distribute


@click.command("distribute")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and change nothing.")
@click.option(
    "--shards",
    type=click.IntRange(1, SHARDS_MAX),
    default=SHARDS,
    show_default=True,
    help="Into how many shards the ledgers are divided, the first time.",
)
def distribute_command(*, dry_run: bool, shards: int) -> None:
    """Distribute the tables over the nodes of Citus, by ledger.

    Works on the coordinator as FUNDS_MIGRATION_DATABASE_URL, while no instance runs. Either all of it is done or
    nothing. It may be run again at any time: what is distributed stays as it is, and what a migration has added is
    distributed, too. service/docs/beyond-one-machine.md tells the rest.
    """
    settings = Settings.from_environment()
    with opened_database(settings, migrate=False) as urls:
        told = asyncio.run(distribute(urls.owner, shards=shards, dry_run=dry_run))
    if not told:
        click.echo("All tables are distributed: nothing to do.")
        return
    click.echo("What would be done:" if dry_run else "The tables are distributed.")
    for sentence in told:
        click.echo(sentence)
