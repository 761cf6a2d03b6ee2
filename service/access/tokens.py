"""Bearer tokens: made here, shown once, kept only as hashes."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from service.access.certificates import hash_certificate
from service.access.principal import LIMITED_SCOPES
from service.domain.history import EntryData, EntryType, HistoryEntry, TokenCreated, TokenRevoked
from service.domain.ledgers import NO_LEDGER
from service.domain.order import STEP
from service.domain.rights import DebitLimit
from service.posting.heads import new_identifier
from service.storage.database import Session
from service.storage.repositories import Repositories
from service.storage.repositories.tokens import Token

TOKEN_PREFIX = "fts_"  # noqa: S105 - marks our tokens for secret scanners


class MadeToken(NamedTuple):
    """A new token, which is shown this once ("" for a certificate), and when it expires; None for never."""

    token: str
    expires_at: datetime | None


def make_token() -> str:
    """Return a new random token."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> bytes:
    """Return the SHA-256 of ``token``. No salt or stretching: a token is 256 random bits, not a password."""
    return hashlib.sha256(token.encode()).digest()


async def issue(
    session: Session,
    *,
    client: str,
    scopes: Sequence[str],
    ledgers: Sequence[str] | None = None,
    expires_in: timedelta | None = None,
    debit_limit: DebitLimit | None = None,
    certificate: bytes | None = None,
) -> MadeToken:
    """Make a token for ``client``, add its hash, and return it: it cannot be read again. ``ledgers`` are names; None is
    every one. It expires when ``expires_in`` has passed on the database's clock; None is never. ``debit_limit`` says
    which accounts it may debit; None is any. A ``certificate`` (in DER) takes the token's place: whoever has its key is
    the client.

    Raises ValueError for what is no name of a client (``texts.client_fault``), and for a limit beside scopes that do
    not keep to it.
    """
    if debit_limit is not None and not LIMITED_SCOPES.issuperset(scopes):
        raise ValueError(f"a token that may debit certain accounts only can have {', '.join(sorted(LIMITED_SCOPES))}")
    token = make_token() if certificate is None else ""
    token_hash = hash_token(token) if certificate is None else hash_certificate(certificate)
    async with _next_place(session) as (place, entry_id):
        made = await Repositories(session).tokens.add(
            entry_id,
            token_hash,
            place,
            client=client,
            scopes=scopes,
            ledgers=ledgers,
            expires_in=expires_in,
            debit_limit=debit_limit,
            is_certificate=certificate is not None,
        )
        await _record_created(session, made, place)
    return MadeToken(token, made.expires_at)


async def is_known(session: Session, certificate: bytes) -> bool:
    """Return whether a certificate (in DER) was given to a client before, also if that is over: it stands for one."""
    return await Repositories(session).tokens.is_hash_known(hash_certificate(certificate))


async def ensure(session: Session, token: str, *, client: str, scopes: Sequence[str]) -> None:
    """Add ``token`` unless it is known already: a revoked one stays revoked.

    Raises ValueError for what is no name of a client (``texts.client_fault``).
    """
    async with _next_place(session) as (place, entry_id):
        made = await Repositories(session).tokens.ensure(
            entry_id, hash_token(token), place, client=client, scopes=scopes
        )
        if made is not None:
            await _record_created(session, made, place)


async def revoke(session: Session, token_id: UUID) -> bool:
    """Revoke a token for ever; False when no token has that id. Revoking it again keeps the first time.

    Instances may accept the token for a moment after the commit (``access.authenticator``).
    """
    async with _next_place(session) as (place, entry_id):
        repositories = Repositories(session)
        revoked = await repositories.tokens.revoke(token_id, place)
        if revoked is not None:
            data = TokenRevoked(by=await repositories.tokens.login(), client=revoked.client)
            await _record(session, "token.revoked", data, entry_id, place, subject_id=token_id)
            return True
        return await repositories.tokens.is_known(token_id)


@asynccontextmanager
async def _next_place(session: Session) -> AsyncIterator[tuple[datetime, UUID]]:
    """Lock the head of the installation's own history; give the next place there and its identifier, and take it.

    A clock that is behind the head refuses nothing here: a token must be revoked whatever the clock says.
    """
    heads = Repositories(session).heads
    head = await heads.lock(NO_LEDGER)
    place = max(head.clock, head.last_at + STEP)
    yield place, new_identifier(place)
    await heads.advance(NO_LEDGER, place)


async def _record_created(session: Session, token: Token, place: datetime) -> None:
    data = TokenCreated(
        by=await Repositories(session).tokens.login(),
        client=token.client,
        scopes=token.scopes,
        ledgers=token.ledgers,
        expires_at=token.expires_at,
        debit_accounts=token.debit_accounts,
        debit_codes=token.debit_codes,
        is_certificate=token.is_certificate,
        token_digest=token.token_digest.hex(),
    )
    await _record(session, "token.created", data, token.id, place, subject_id=token.id)


async def _record(
    session: Session, entry_type: EntryType, data: EntryData, entry_id: UUID, place: datetime, *, subject_id: UUID
) -> None:
    entry = HistoryEntry(
        ledger_id=NO_LEDGER, id=entry_id, type=entry_type, subject_id=subject_id, data=data, created_at=place
    )
    await Repositories(session).history.add([entry])
