"""``funds config``: every setting that is in force, and whether it can be."""

import asyncio
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from service.audit.log_keys import LogKeys
from service.errors import DatabaseUnusableError, SettingsError
from service.settings import SECRETS, Settings, given_by, variable_of
from service.storage.addresses import without_secrets
from service.storage.preflight import verify_server

_HIDDEN = "***"
_GIVEN_BY_WIDTH = len("environment")


class _Shown(msgspec.Struct, frozen=True, rename={"given_by": "from"}):
    """A value as it is shown, and where it comes from."""

    value: Any
    given_by: str


@click.command()
@click.option("--connect", is_flag=True, help="Also ask each database that is set whether the service can use it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def config(*, connect: bool, as_json: bool) -> None:
    """Print every setting with the value in force, and whether that is the default, or from the environment or a file.

    Ends with one sentence and exit code 1 when a setting cannot be used. No secret is shown, of a URL no password.
    """
    settings = Settings.from_environment()
    LogKeys.of(settings)
    shown = dict(_shown(settings))
    if connect:
        asyncio.run(_ask_databases(settings))
    click.echo(msgspec.json.format(msgspec.json.encode(shown)).decode() if as_json else _table(shown))


def _shown(settings: Settings) -> Iterator[tuple[str, _Shown]]:
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if name in SECRETS and value is not None:
            value = _without_password(name, value) if name.endswith("_url") else _HIDDEN
        yield variable_of(name), _Shown(msgspec.to_builtins(value, enc_hook=str), given_by(name))


def _without_password(name: str, url: str) -> str:
    try:
        return without_secrets(url)
    except DatabaseUnusableError as error:
        raise SettingsError(f"{variable_of(name)}: {error}") from None


async def _ask_databases(settings: Settings) -> None:
    """Ask the servers of all URLs, each once. Raises DatabaseUnusableError."""
    urls = (getattr(settings, name) for name in SECRETS if name.endswith("_url"))
    for url in dict.fromkeys(filter(None, urls)):
        await verify_server(url)


def _table(shown: dict[str, _Shown]) -> str:
    width = max(map(len, shown))
    return "\n".join(
        f"{name:{width}}  {one.given_by:{_GIVEN_BY_WIDTH}}  {_text(one.value)}" for name, one in shown.items()
    )


def _text(value: object) -> str:
    """Return ``value`` as it is written in a variable."""
    if value is None or value == "":
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
