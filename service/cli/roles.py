"""``funds roles``: the SQL that a database needs before anything else."""

import click

from service.data_files import ROLES_SQL


@click.command()
def roles() -> None:
    """Print the SQL that makes the roles and the schema of the service.

    Run it in the service's own database, as a superuser, before the first `funds migrate`: funds roles | psql DATABASE.
    It may be run again at any time.
    """
    click.echo(ROLES_SQL.read_text(), nl=False)
