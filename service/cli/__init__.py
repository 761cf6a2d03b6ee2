"""The ``funds`` command."""

import sys
from importlib import import_module

import click

from service.errors import OperatorError
from service.telemetry.tracebacks import print_exception

_COMMANDS = {
    "config": ("service.cli.config", "config"),
    "demo": ("service.cli.demo", "demo"),
    "distribute": ("service.cli.distributing", "distribute_command"),
    "export": ("service.cli.exporting", "export"),
    "import": ("service.cli.importing", "import_"),
    "log-key": ("service.cli.log_key", "log_key"),
    "migrate": ("service.cli.migrating", "migrate"),
    "roles": ("service.cli.roles", "roles"),
    "serve": ("service.cli.serving", "serve"),
    "test-server": ("service.cli.test_server", "test_server"),
    "tokens": ("service.cli.tokens", "tokens"),
    "verify": ("service.cli.integrity", "verify"),
    "verify-consistency": ("service.cli.verifying", "verify_consistency"),
    "verify-receipt": ("service.cli.verifying", "verify_receipt"),
}
"""Where each command is. A module is loaded when its command is asked for: no command waits for what others need."""


class _Commands(click.Group):
    """A group whose commands end with one sentence, not a traceback, when the operator can set things right."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, name = _COMMANDS[cmd_name]
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
