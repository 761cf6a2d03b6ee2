"""Bearer tokens: made here, shown once, kept only as hashes."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, LargeBinary, any_, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.identifiers import ENTROPY_BITS, identifier
from service.domain.texts import client_fault
from service.storage.models import Token

SCOPES = ("transfers:write", "accounts:write", "read", "admin")
TOKEN_PREFIX = "fts_"  # noqa: S105 - marks our tokens for secret scanners
TOKEN_CACHE_SECONDS = 1.0
"""How long an instance may go on accepting a token after it was revoked: a verified one is remembered that long."""


class MadeToken(NamedTuple):
    """A new token, which is shown this once, and when it expires; None for never."""

    token: str
    expires_at: datetime | None


class ActiveToken(NamedTuple):
    """Whom a token stands for. ``ledgers`` are names; None is every ledger."""

    token_hash: bytes
    client: str
    scopes: list[str]
    ledgers: list[str] | None


def hash_token(token: str) -> bytes:
    """Return the SHA-256 of ``token``. No salt or stretching: a token is 256 random bits, not a password."""
    return hashlib.sha256(token.encode()).digest()


def make_token() -> str:
    """Return a new random token."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


async def create_token(
    session: AsyncSession,
    *,
    client: str,
    scopes: Sequence[str],
    ledgers: Sequence[str] | None = None,
    expires_in: timedelta | None = None,
) -> MadeToken:
    """Add a token for ``client`` and return it: it cannot be read again. ``ledgers`` are names; None is every one.

    It expires when ``expires_in`` has passed on the database's clock; None is never. Raises ValueError for what is no
    name of a client (``client_fault``).
    """
    _check_client(client)
    token = make_token()
    expires_at = await session.scalar(
        insert(Token)
        .values(
            id=await _new_id(session),
            client=client,
            token_hash=hash_token(token),
            scopes=list(scopes),
            ledgers=None if ledgers is None else list(ledgers),
            expires_at=None if expires_in is None else func.clock_timestamp() + expires_in,
        )
        .returning(Token.expires_at)
    )
    return MadeToken(token, expires_at)


async def ensure_token(session: AsyncSession, token: str, *, client: str, scopes: Sequence[str]) -> None:
    """Add ``token``, chosen elsewhere, unless it is known already: a revoked one stays revoked.

    Raises ValueError for what is no name of a client (``client_fault``).
    """
    _check_client(client)
    await session.execute(
        insert_or_skip(Token)
        .values(id=await _new_id(session), client=client, token_hash=hash_token(token), scopes=list(scopes))
        .on_conflict_do_nothing(index_elements=[Token.token_hash])
    )


async def list_tokens(session: AsyncSession) -> Sequence[Token]:
    """Return every token, revoked and expired ones too, oldest first."""
    return (await session.scalars(select(Token).order_by(Token.id))).all()


async def revoke_token(session: AsyncSession, token_id: UUID) -> bool:
    """Revoke a token for ever; False when there is none of that id. Revoking it again keeps the first time.

    Instances accept the token for up to TOKEN_CACHE_SECONDS after the commit.
    """
    revoked = await session.scalar(
        update(Token)
        .where(Token.id == token_id)
        .values(revoked_at=func.coalesce(Token.revoked_at, func.clock_timestamp()))
        .returning(Token.id)
    )
    return revoked is not None


async def find_active(session: AsyncSession, token_hashes: Sequence[bytes]) -> Sequence[ActiveToken]:
    """Return the tokens with these hashes that are neither revoked nor expired on the database's clock."""
    found = await session.execute(
        select(Token.token_hash, Token.client, Token.scopes, Token.ledgers).where(
            Token.token_hash == any_(literal(list(token_hashes), ARRAY(LargeBinary))),
            Token.revoked_at.is_(None),
            or_(Token.expires_at.is_(None), Token.expires_at > func.clock_timestamp()),
        )
    )
    return [ActiveToken(*row) for row in found]


async def database_time(session: AsyncSession) -> datetime:
    """Return what the database's clock says: tokens expire by it."""
    now: datetime = (await session.scalars(select(func.clock_timestamp()))).one()
    return now


def _check_client(client: str) -> None:
    reason = client_fault(client)
    if reason is not None:
        raise ValueError(f"the client's name: {reason}")


async def _new_id(session: AsyncSession) -> UUID:
    return identifier(await database_time(session), 0, secrets.randbits(ENTROPY_BITS))
