"""``funds verify-receipt`` and ``funds verify-consistency``: the commands of ``service/proofs``, which read their own
arguments.
"""

import click

from service.proofs.command import COMMANDS, main


def verifying(name: str) -> click.Command:
    """Return the command of that name."""

    @click.command(name, short_help=COMMANDS[name].description, add_help_option=False, context_settings=_UNREAD)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> None:
        raise SystemExit(main([name, *arguments], "funds"))

    return command


_UNREAD = {"ignore_unknown_options": True}
verify_receipt = verifying("verify-receipt")
verify_consistency = verifying("verify-consistency")
