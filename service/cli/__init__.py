"""The ``funds`` command."""

import sys
from importlib import import_module

import click

from service.cli.migrating import migrate
from service.cli.roles import roles
from service.cli.serving import serve
from service.cli.tokens import tokens
from service.errors import OperatorError
from service.telemetry.tracebacks import print_exception

# Commands that need what the API is made of: it takes as long to load as all else, so the others do without.
# Keys and receipts need cryptography, which the others do not.
_HEAVY_COMMANDS = {
    "config": ("service.cli.config", "config"),
    "demo": ("service.cli.demo", "demo"),
    "export": ("service.cli.exporting", "export"),
    "import": ("service.cli.importing", "import_"),
    "log-key": ("service.cli.log_key", "log_key"),
    "verify": ("service.cli.integrity", "verify"),
    "verify-consistency": ("service.cli.verifying", "verify_consistency"),
    "verify-receipt": ("service.cli.verifying", "verify_receipt"),
}


class _Commands(click.Group):
    """A group whose commands end with one sentence, not a traceback, when the operator can set things right."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_HEAVY_COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _HEAVY_COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, name = _HEAVY_COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except OperatorError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands)
@click.version_option(package_name="funds-transfer-service", prog_name="funds")
def main() -> None:
    """Move money between accounts: run the service and look after it.

    Settings are FUNDS_* environment variables; service/docs/configuration.md lists them. Without FUNDS_DATABASE_URL an
    embedded PostgreSQL is used, its data under FUNDS_DATA_DIR (.data).
    """
    sys.excepthook = print_exception


main.add_command(serve)
main.add_command(migrate)
main.add_command(roles)
main.add_command(tokens)
