"""``funds tokens``: who may call the service."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import click
from sqlalchemy import select

from service.cli.connection import run_with_database, say
from service.domain.texts import client_fault
from service.settings import Settings
from service.storage.database import Database
from service.storage.models import Ledger, Token
from service.storage.tokens import SCOPES, TOKEN_CACHE_SECONDS, create_token, list_tokens, revoke_token

_CACHE_MARGIN_SECONDS = 0.5


@click.group()
def tokens() -> None:
    """Create, list and revoke the tokens of callers."""


def _client_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Return the name of a client. Raises BadParameter."""
    reason = client_fault(value)
    if reason is not None:
        raise click.BadParameter(f"{reason}.")
    return value


@tokens.command()
@click.option(
    "--client", required=True, callback=_client_name, help="The caller's name: idempotency keys belong to it."
)
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="Repeat for more.")
@click.option("--ledger", "ledgers", multiple=True, help="Only this ledger; repeat for more. Without it: every ledger.")
@click.option("--expires-in-days", type=click.IntRange(1, 36_500), help="Without it the token does not expire.")
def create(client: str, scopes: tuple[str, ...], ledgers: tuple[str, ...], expires_in_days: int | None) -> None:
    """Create a token and print it: it is shown this once, and only its hash is kept."""
    expires_at = datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days else None

    async def work(database: Database) -> str:
        async with database.sessions() as session, session.begin():
            known = await session.scalars(select(Ledger.name).where(Ledger.name.in_(ledgers)))
            unknown = sorted(set(ledgers) - set(known))
            if unknown:
                raise click.ClickException(f"There is no ledger {unknown[0]!r}.")
            return await create_token(
                session, client=client, scopes=scopes, ledgers=ledgers or None, expires_at=expires_at
            )

    click.echo(run_with_database(Settings.from_environment(), work))


@tokens.command(name="list")
def list_() -> None:
    """List the tokens: id, client, scopes, ledgers, state."""

    async def work(database: Database) -> Sequence[Token]:
        async with database.sessions() as session:
            return await list_tokens(session)

    for token in run_with_database(Settings.from_environment(), work):
        ledgers = ",".join(token.ledgers) if token.ledgers is not None else "every ledger"
        click.echo(f"{token.id}  {token.client}  {','.join(token.scopes)}  {ledgers}  {_state(token)}")


@tokens.command()
@click.argument("token_id", metavar="ID", type=click.UUID)
def revoke(token_id: UUID) -> None:
    """Revoke the token with this ID (see `funds tokens list`), for ever."""

    async def work(database: Database) -> bool:
        async with database.sessions() as session, session.begin():
            return await revoke_token(session, token_id)

    if not run_with_database(Settings.from_environment(), work):
        raise click.ClickException(f"There is no token {token_id}.")
    say("Revoked; waiting until no instance remembers it.")
    time.sleep(TOKEN_CACHE_SECONDS + _CACHE_MARGIN_SECONDS)
    click.echo(f"No instance accepts the token {token_id} any more.")


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return f"revoked {token.revoked_at:%Y-%m-%d %H:%M:%SZ}"
    if token.expires_at is None:
        return "active"
    verb = "expired" if token.expires_at <= datetime.now(UTC) else "active until"
    return f"{verb} {token.expires_at:%Y-%m-%d %H:%M:%SZ}"
