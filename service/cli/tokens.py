"""``funds tokens``: who may call the service."""

import re
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import click
from sqlalchemy import select

from service.cli.connection import run_as_operator, say
from service.cli.names import client_name, ledger_names
from service.settings import Settings
from service.storage.database import Database
from service.storage.models import Ledger, Token
from service.storage.tokens import (
    SCOPES,
    TOKEN_CACHE_SECONDS,
    MadeToken,
    create_token,
    database_time,
    list_tokens,
    revoke_token,
)

_CACHE_MARGIN_SECONDS = 0.5
_LIFETIME_DEFAULT = "365d"
_LIFETIME_DAYS_MAX = 36_500
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def _lifetime(_context: click.Context, _parameter: click.Parameter, value: str) -> timedelta | None:
    """Read how long a token lives; None is for ever."""
    if value == "never":
        return None
    parts = re.fullmatch(r"([0-9]{1,10})([smhdw])", value)
    seconds = int(parts[1]) * _SECONDS[parts[2]] if parts else 0
    if not 0 < seconds <= _LIFETIME_DAYS_MAX * _SECONDS["d"]:
        raise click.BadParameter(
            f"write a number with s, m, h, d or w, such as 90d, of at most {_LIFETIME_DAYS_MAX} days; or never"
        )
    return timedelta(seconds=seconds)


def _token_id(_context: click.Context, _parameter: click.Parameter, value: str) -> UUID:
    """Read the ID of a token, and do not repeat what is none: it may be the token itself."""
    try:
        return UUID(value)
    except ValueError:
        raise click.BadParameter("that is no token's ID: `funds tokens list` shows them") from None


@click.group()
def tokens() -> None:
    """Create, list and revoke the tokens of callers."""


@tokens.command()
@click.option("--client", required=True, callback=client_name, help="The caller's name: idempotency keys belong to it.")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="Repeat for more.")
@click.option(
    "--ledger",
    "ledgers",
    multiple=True,
    callback=ledger_names,
    help="Only this ledger; repeat for more. Without it: every ledger.",
)
@click.option(
    "--expires-in",
    metavar="TIME",
    default=_LIFETIME_DEFAULT,
    show_default=True,
    callback=_lifetime,
    help="When it ends by itself: a number with s, m, h, d or w, or never.",
)
def create(client: str, scopes: tuple[str, ...], ledgers: tuple[str, ...], expires_in: timedelta | None) -> None:
    """Create a token and print it: it is shown this once, and only its hash is kept."""

    async def work(database: Database) -> MadeToken:
        async with database.sessions() as session, session.begin():
            known = await session.scalars(select(Ledger.name).where(Ledger.name.in_(ledgers)))
            unknown = sorted(set(ledgers) - set(known))
            if unknown:
                raise click.ClickException(f"There is no ledger {unknown[0]!r}.")
            return await create_token(
                session, client=client, scopes=scopes, ledgers=ledgers or None, expires_in=expires_in
            )

    made = run_as_operator(Settings.from_environment(), work)
    say("It never expires." if made.expires_at is None else f"It expires {_written(made.expires_at)}.")
    click.echo(made.token)


@tokens.command(name="list")
def list_() -> None:
    """List the tokens: id, client, scopes, ledgers, state."""

    async def work(database: Database) -> tuple[Sequence[Token], datetime]:
        async with database.sessions() as session:
            return await list_tokens(session), await database_time(session)

    listed, now = run_as_operator(Settings.from_environment(), work)
    for token in listed:
        ledgers = ",".join(token.ledgers) if token.ledgers is not None else "every ledger"
        click.echo(f"{token.id}  {token.client}  {','.join(token.scopes)}  {ledgers}  {_state(token, now)}")


@tokens.command()
@click.argument("token_id", metavar="ID", callback=_token_id)
def revoke(token_id: UUID) -> None:
    """Revoke the token with this ID (see `funds tokens list`), for ever."""

    async def work(database: Database) -> bool:
        async with database.sessions() as session, session.begin():
            return await revoke_token(session, token_id)

    if not run_as_operator(Settings.from_environment(), work):
        raise click.ClickException(f"There is no token {token_id}.")
    say("Revoked; waiting until no instance remembers it.")
    time.sleep(TOKEN_CACHE_SECONDS + _CACHE_MARGIN_SECONDS)
    click.echo(f"No instance accepts the token {token_id} any more.")


def _state(token: Token, now: datetime) -> str:
    if token.revoked_at is not None:
        return f"revoked {_written(token.revoked_at)}"
    if token.expires_at is None:
        return "active, never expires"
    return f"{'expired' if token.expires_at <= now else 'active until'} {_written(token.expires_at)}"


def _written(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%SZ}"
