"""Tokens, by the hashes that are all that is kept of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct
from sqlalchemy import ARRAY, LargeBinary, any_, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_skip

from service.domain.rights import DebitLimit
from service.domain.texts import client_fault
from service.storage.database import Session
from service.storage.rows import TokenRow


class Token(Struct, frozen=True, kw_only=True):
    """A token as it is listed: its hash is all that is known of it, and ``token_digest`` is the SHA-256 of that.
    ``ledgers`` are names; None is every ledger. ``debit_accounts`` and ``debit_codes`` limit what it may debit. It may
    be a certificate, which a proxy passes on.

    ``expires_at`` of None is never, ``revoked_at`` of None is not revoked.
    """

    id: UUID
    client: str
    token_hash: bytes
    token_digest: bytes
    scopes: list[str]
    ledgers: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    debit_accounts: list[UUID] | None
    debit_codes: list[str] | None
    is_certificate: bool


_COLUMNS = [TokenRow.__table__.c[name] for name in Token.__struct_fields__]
_LOGIN = select(func.session_user())


class ActiveToken(NamedTuple):
    """What a token proves: the client and what it may do. ``ledgers`` are names; None is every ledger."""

    id: UUID
    token_hash: bytes
    client: str
    scopes: list[str]
    ledgers: list[str] | None
    debit_accounts: list[UUID] | None
    debit_codes: list[str] | None

    @property
    def debit_limit(self) -> DebitLimit | None:
        """Which accounts it may debit; None is any."""
        if self.debit_accounts is None and self.debit_codes is None:
            return None
        return DebitLimit(frozenset(self.debit_accounts or ()), tuple(self.debit_codes or ()))


class TokenRepository:
    """Reads and writes tokens on the session of one unit of work; only the operator's role may write them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(
        self,
        token_id: UUID,
        token_hash: bytes,
        created_at: datetime,
        *,
        client: str,
        scopes: Sequence[str],
        ledgers: Sequence[str] | None = None,
        expires_in: timedelta | None = None,
        debit_limit: DebitLimit | None = None,
        is_certificate: bool = False,
    ) -> Token:
        """Add the token of this hash for ``client``, and return it. ``ledgers`` are names; None is every one. It
        expires when ``expires_in`` has passed on the database's clock; None is never. ``debit_limit`` says which
        accounts it may debit; None is any. The hash may be that of a certificate.

        Raises ValueError for what is no name of a client (``client_fault``).
        """
        _check_client(client)
        added = await self._session.execute(
            insert(TokenRow)
            .values(
                id=token_id,
                client=client,
                token_hash=token_hash,
                created_at=created_at,
                scopes=list(scopes),
                ledgers=None if ledgers is None else list(ledgers),
                expires_at=None if expires_in is None else func.clock_timestamp() + expires_in,
                debit_accounts=None if debit_limit is None else sorted(debit_limit.account_ids),
                debit_codes=None if debit_limit is None else sorted(debit_limit.codes),
                is_certificate=is_certificate,
            )
            .returning(*_COLUMNS)
        )
        return Token(**added.one()._asdict())

    async def ensure(
        self, token_id: UUID, token_hash: bytes, created_at: datetime, *, client: str, scopes: Sequence[str]
    ) -> Token | None:
        """Add the token of this hash and return it, unless it is known already: a revoked one stays revoked.

        Raises ValueError for what is no name of a client (``client_fault``).
        """
        _check_client(client)
        added = await self._session.execute(
            insert_or_skip(TokenRow)
            .values(id=token_id, client=client, token_hash=token_hash, created_at=created_at, scopes=list(scopes))
            .on_conflict_do_nothing(index_elements=[TokenRow.token_hash])
            .returning(*_COLUMNS)
        )
        row = added.one_or_none()
        return None if row is None else Token(**row._asdict())

    async def all(self) -> Sequence[Token]:
        """Return every token, revoked and expired ones too, oldest first."""
        found = await self._session.execute(select(*_COLUMNS).order_by(_COLUMNS[0]))
        return [Token(**row._asdict()) for row in found]

    async def revoke(self, token_id: UUID, revoked_at: datetime) -> Token | None:
        """Revoke a token and return it; None when there is none that is not revoked."""
        revoked = await self._session.execute(
            update(TokenRow)
            .where(TokenRow.id == token_id, TokenRow.revoked_at.is_(None))
            .values(revoked_at=revoked_at)
            .returning(*_COLUMNS)
        )
        row = revoked.one_or_none()
        return None if row is None else Token(**row._asdict())

    async def login(self) -> str:
        """Return the login of this session's connection (``session_user``): whoever writes tokens has one."""
        login: str = (await self._session.scalars(_LOGIN)).one()
        return login

    async def is_known(self, token_id: UUID) -> bool:
        """Whether there is a token of this id, revoked or not."""
        return await self._session.scalar(select(TokenRow.id).where(TokenRow.id == token_id)) is not None

    async def is_hash_known(self, token_hash: bytes) -> bool:
        """Whether there is a token of this hash, revoked or not."""
        return await self._session.scalar(select(TokenRow.id).where(TokenRow.token_hash == token_hash)) is not None

    async def active(self, token_hashes: Sequence[bytes]) -> Sequence[ActiveToken]:
        """Return the tokens with these hashes that are neither revoked nor expired on the database's clock."""
        found = await self._session.execute(
            select(*(TokenRow.__table__.c[name] for name in ActiveToken._fields)).where(
                TokenRow.token_hash == any_(literal(list(token_hashes), ARRAY(LargeBinary))),
                TokenRow.revoked_at.is_(None),
                or_(TokenRow.expires_at.is_(None), TokenRow.expires_at > func.clock_timestamp()),
            )
        )
        return [ActiveToken(*row) for row in found]


def _check_client(client: str) -> None:
    reason = client_fault(client)
    if reason is not None:
        raise ValueError(f"the client's name: {reason}")
