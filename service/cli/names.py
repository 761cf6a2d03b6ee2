"""Checks of the names that commands take as arguments, before the database is used."""

import re

import click

from service.domain.texts import client_fault
from service.wire.scalars import LEDGER_NAME_PATTERN

_LEDGER_NAME = re.compile(LEDGER_NAME_PATTERN)


def client_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Return ``value`` if it can be the name of a client. Raises BadParameter."""
    reason = client_fault(value)
    if reason is not None:
        raise click.BadParameter(f"{reason}.")
    return value


def ledger_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Return ``value`` if it can be the name of a ledger, which need not exist. Raises BadParameter."""
    if not _LEDGER_NAME.fullmatch(value):
        raise click.BadParameter("A ledger's name has 1 to 63 lower-case letters, digits, - and _.")
    return value


def ledger_names(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``values`` if all can be names of ledgers, which need not exist. Raises BadParameter."""
    return tuple(ledger_name(context, parameter, value) for value in values)
