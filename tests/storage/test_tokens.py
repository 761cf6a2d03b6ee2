from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.access.principal import SCOPES
from service.access.tokens import TOKEN_PREFIX, ensure, hash_token, issue, make_token, revoke
from service.settings import Settings
from service.storage.clock import database_time
from service.storage.database import Database
from service.storage.repositories.tokens import ActiveToken, TokenRepository
from tests.support.servers import TestDatabase


@pytest.fixture
async def session(test_database: TestDatabase) -> AsyncIterator[AsyncSession]:
    """A session of the role that writes tokens."""
    database = Database.connect(test_database.operator_url, Settings())
    async with database.sessions() as session:
        yield session
    await database.close()


async def _find(session: AsyncSession, token_hash: bytes) -> ActiveToken | None:
    return next(iter(await TokenRepository(session).active([token_hash])), None)


async def test_a_created_token_is_found_by_its_hash_only(session: AsyncSession) -> None:
    token, expires_at = await issue(session, client="billing", scopes=["read"], ledgers=["main"])
    assert expires_at is None
    assert token.startswith(TOKEN_PREFIX)
    assert len(token) == 4 + 43
    found = await _find(session, hash_token(token))
    assert found is not None
    assert (found.client, found.scopes, found.ledgers) == ("billing", ["read"], ["main"])
    (listed,) = await TokenRepository(session).all()
    assert token.encode() not in listed.token_hash
    assert await _find(session, hash_token(token + "x")) is None


async def test_no_ledgers_means_every_ledger(session: AsyncSession) -> None:
    token, _ = await issue(session, client="audit", scopes=["read"])
    found = await _find(session, hash_token(token))
    assert found is not None
    assert found.ledgers is None


async def test_a_revoked_token_is_not_active_and_stays_listed(session: AsyncSession) -> None:
    token, _ = await issue(session, client="billing", scopes=["read"])
    (listed,) = await TokenRepository(session).all()
    assert await revoke(session, listed.id)
    assert await _find(session, hash_token(token)) is None
    [listed] = await TokenRepository(session).all()
    revoked_at = listed.revoked_at
    assert revoked_at is not None
    assert await revoke(session, listed.id)
    [listed] = await TokenRepository(session).all()
    assert listed.revoked_at == revoked_at


async def test_revoking_an_unknown_token_says_so(session: AsyncSession) -> None:
    assert not await revoke(session, UUID(int=1))


async def test_a_token_ends_when_it_expires_on_the_databases_clock(session: AsyncSession) -> None:
    """It is found while the database's clock is before its end, and never after."""
    before = await database_time(session)
    token, expires_at = await issue(session, client="billing", scopes=["read"], expires_in=timedelta(milliseconds=150))
    assert expires_at is not None
    assert before < expires_at - timedelta(milliseconds=150) < await database_time(session)
    ended = False
    while not ended:
        asked = await database_time(session)
        found = await _find(session, hash_token(token))
        answered = await database_time(session)
        assert found is not None or answered >= expires_at
        assert found is None or asked < expires_at
        ended = found is None


async def test_ensuring_a_token_twice_keeps_one_and_does_not_revive_it(session: AsyncSession) -> None:
    token = make_token()
    await ensure(session, token, client="admin", scopes=SCOPES)
    await ensure(session, token, client="admin", scopes=SCOPES)
    (listed,) = await TokenRepository(session).all()
    assert tuple(listed.scopes) == SCOPES
    await revoke(session, listed.id)
    await ensure(session, token, client="admin", scopes=SCOPES)
    assert await _find(session, hash_token(token)) is None


@pytest.mark.parametrize("client", ["", " ", "a ", "a\nb", "\u202ea", "cafe\u0301", "c" * 129, "c" * 3_500])
async def test_what_is_no_name_of_a_client_gets_no_token(session: AsyncSession, client: str) -> None:
    with pytest.raises(ValueError, match="the client's name"):
        await issue(session, client=client, scopes=["read"])
    with pytest.raises(ValueError, match="the client's name"):
        await ensure(session, make_token(), client=client, scopes=["read"])
    assert await TokenRepository(session).all() == []
