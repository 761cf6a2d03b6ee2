"""``funds tokens``: who may call the service."""

import re
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import click
import msgspec
from msgspec import Struct

from service.access.authenticator import TOKEN_CACHE_SECONDS
from service.access.principal import LIMITED_SCOPES, SCOPES
from service.access.tokens import MadeToken, is_known, issue
from service.access.tokens import revoke as revoke_token
from service.cli.connection import run_as_operator
from service.cli.names import client_name, ledger_names
from service.cli.urls import say
from service.domain.codes import is_code
from service.domain.history import source_of
from service.domain.rights import DebitLimit, is_account_id
from service.settings import Settings
from service.storage.clock import database_time
from service.storage.database import Database
from service.storage.repositories import Repositories
from service.storage.repositories.history import ALL, HistoryRepository
from service.storage.repositories.token_uses import DayOfUse
from service.storage.repositories.tokens import Token
from service.wire.errors import shown

_ENTRIES_AT_ONCE = 1000
_CACHE_MARGIN_SECONDS = 0.5
_CERTIFICATE_BYTES_MAX = 64 * 1024
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
    """Read the ID of a token. Other text is not repeated: it may be the token itself."""
    try:
        return UUID(value)
    except ValueError:
        raise click.BadParameter("that is no token's ID: `funds tokens list` shows them") from None


def _account_ids(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> frozenset[UUID]:
    """Read the IDs of accounts, spelled as the API shows them."""
    for one in value:
        if not is_account_id(one):
            raise click.BadParameter(f"{shown(one)!r} is no account's ID, as the API shows them")
    return frozenset(map(UUID, value))


def _codes(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Read codes of a chart of accounts."""
    for one in value:
        if not is_code(one):
            raise click.BadParameter(f"{shown(one)!r} is no code of accounts, such as 1000:cash")
    return tuple(sorted(set(value)))


def _certificate(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> bytes | None:
    """Read the one certificate in a file, in PEM or DER; return it in DER."""
    if value is None:
        return None
    # cryptography takes as long to load as all else
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    try:
        with value.open("rb") as file:
            content = file.read(_CERTIFICATE_BYTES_MAX)
        in_pem = b"-----BEGIN" in content
        found = x509.load_pem_x509_certificates(content) if in_pem else [x509.load_der_x509_certificate(content)]
    except (OSError, ValueError):
        raise click.BadParameter("that is no file with a certificate, in PEM or DER") from None
    if len(found) > 1:
        raise click.BadParameter("the file has several certificates: keep the client's own")
    return found[0].public_bytes(Encoding.DER)


class _Data(Struct, frozen=True):
    """Of what happened to a token: whose it is, and which login did it; None before that was kept."""

    client: str
    by: str | None


class _Entry(Struct, frozen=True):
    """An entry of a token (docs/history.md)."""

    time: datetime
    type: str
    subject: UUID
    data: _Data


_decode_entry = msgspec.json.Decoder(_Entry).decode


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
    "--debit",
    "debit_accounts",
    metavar="ACCOUNT_ID",
    multiple=True,
    callback=_account_ids,
    help="It may debit this account only; repeat for more. Without it and --debit-code: any account.",
)
@click.option(
    "--debit-code",
    "debit_codes",
    metavar="CODE",
    multiple=True,
    callback=_codes,
    help="It may debit only accounts with this code or one behind it, whichever have it then; repeat for more.",
)
@click.option(
    "--expires-in",
    metavar="TIME",
    default=_LIFETIME_DEFAULT,
    show_default=True,
    callback=_lifetime,
    help="When it ends by itself: a number with s, m, h, d or w, or never.",
)
@click.option(
    "--certificate",
    metavar="FILE",
    type=click.Path(path_type=Path),
    callback=_certificate,
    help="Instead of a new token: the client's certificate, which proxies in FUNDS_CLIENT_CERTIFICATE_PROXIES pass on.",
)
def create(
    client: str,
    scopes: tuple[str, ...],
    ledgers: tuple[str, ...],
    debit_accounts: frozenset[UUID],
    debit_codes: tuple[str, ...],
    expires_in: timedelta | None,
    certificate: bytes | None,
) -> None:
    """Create a token and print it: it is shown this once, and only its hash is kept."""
    limit = DebitLimit(debit_accounts, debit_codes) if debit_accounts or debit_codes else None
    if limit is not None and not LIMITED_SCOPES.issuperset(scopes):
        raise click.UsageError(f"--debit and --debit-code go with the scopes {', '.join(sorted(LIMITED_SCOPES))} only.")

    async def work(database: Database) -> MadeToken:
        async with database.sessions() as session, session.begin():
            unknown = sorted(set(ledgers) - await Repositories(session).ledgers.known_names(ledgers))
            if unknown:
                raise click.ClickException(f"There is no ledger {unknown[0]!r}.")
            if certificate is not None and await is_known(session, certificate):
                raise click.ClickException("This certificate was given before, and stands for what was said then.")
            return await issue(
                session,
                client=client,
                scopes=scopes,
                ledgers=ledgers or None,
                expires_in=expires_in,
                debit_limit=limit,
                certificate=certificate,
            )

    settings = Settings.from_environment()
    if settings.oidc_issuer is not None and client.startswith(settings.oidc_client_prefix):
        raise click.ClickException(
            f"Names that begin with {settings.oidc_client_prefix} are those of the issuer's clients."
        )
    made = run_as_operator(settings, work)
    say("It never expires." if made.expires_at is None else f"It expires {_written(made.expires_at)}.")
    click.echo("It is this certificate." if certificate is not None else made.token)


@tokens.command(name="list")
def list_() -> None:
    """List the tokens: id, client, scopes, ledgers, whether it is a certificate, what it may debit where that is
    limited, state, last use.
    """

    async def work(database: Database) -> tuple[Sequence[Token], dict[UUID, datetime], datetime]:
        async with database.sessions() as session:
            repositories = Repositories(session)
            return await repositories.tokens.all(), await repositories.token_uses.last(), await database_time(session)

    listed, used, now = run_as_operator(Settings.from_environment(), work)
    for token in listed:
        ledgers = ",".join(token.ledgers) if token.ledgers is not None else "every ledger"
        last = f"last used {_written(used[token.id])}" if token.id in used else "never used"
        parts = [str(token.id), token.client, ",".join(token.scopes), ledgers]
        if token.is_certificate:
            parts.append("certificate")
        if token.debit_accounts is not None or token.debit_codes is not None:
            allowed = [*map(str, token.debit_accounts or ()), *(token.debit_codes or ())]
            parts.append(f"debits {','.join(allowed)}")
        click.echo("  ".join([*parts, _state(token, now), last]))


@tokens.command(name="uses")
@click.argument("token_id", metavar="ID", callback=_token_id)
def uses_(token_id: UUID) -> None:
    """Print on which days (UTC) the token with this ID was used: day, requests, the last one of them.

    Services write their counts once a minute.
    """

    async def work(database: Database) -> Sequence[DayOfUse]:
        async with database.sessions() as session:
            repositories = Repositories(session)
            if not await repositories.tokens.is_known(token_id):
                raise click.ClickException(f"There is no token {token_id}.")
            return await repositories.token_uses.of(token_id)

    for one in run_as_operator(Settings.from_environment(), work):
        click.echo(f"{one.day}  {one.requests}  {_written(one.last_used_at)}")


@tokens.command()
def log() -> None:
    """Print who made and revoked which token when: time, what, token, its client, whose login it was."""

    async def work(database: Database) -> None:
        async with database.sessions() as session:
            async for entry in _entries(Repositories(session).history):
                what, data = entry.type.removeprefix("funds.token."), entry.data
                who = "a login that is not known" if data.by is None else data.by
                click.echo(f"{_written(entry.time)}  {what}  {entry.subject}  {data.client}  by {who}")

    run_as_operator(Settings.from_environment(), work)


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


async def _entries(history: HistoryRepository) -> AsyncIterator[_Entry]:
    """Yield what happened to tokens, oldest first."""
    after = ALL
    while documents := await history.of_tokens(source_of(""), after=after, limit=_ENTRIES_AT_ONCE):
        for document in documents:
            yield _decode_entry(document.text)
        after = documents[-1].id


def _state(token: Token, now: datetime) -> str:
    if token.revoked_at is not None:
        return f"revoked {_written(token.revoked_at)}"
    if token.expires_at is None:
        return "active, never expires"
    return f"{'expired' if token.expires_at <= now else 'active until'} {_written(token.expires_at)}"


def _written(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%SZ}"
