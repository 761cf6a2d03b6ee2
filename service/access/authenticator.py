"""Knowing callers by their bearer tokens."""

import hmac
import time
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from service.access.principal import ADMIN_CLIENT, SCOPES, Principal
from service.access.tokens import hash_token
from service.access.usage import ClientLimits
from service.access.uses import TokenUse, TokenUses
from service.errors import UnauthenticatedError
from service.storage.coalescing import CoalescedReads
from service.storage.repositories import Repositories
from service.storage.repositories.tokens import ActiveToken
from service.storage.transactions import Reader

TOKEN_CACHE_SECONDS = 1.0
"""How long an instance may go on accepting a token after it was revoked: a verified one is remembered that long."""

_CACHE_ENTRIES_MAX = 10_000
_EVERYWHERE = 0  # tokens are of no ledger
_TOKEN_LENGTH_MAX = 512
_NOT_VALID = "the token is unknown, revoked or past its end"


class Verified(NamedTuple):
    """Whose a token is, where its uses are counted, and when its look-up began."""

    at: float
    principal: Principal
    use: TokenUse


class Authenticator:
    """Knows callers by the SHA-256 of their token. A token once verified is trusted for TOKEN_CACHE_SECONDS, counted
    from before the look-up, so that a revoked one is refused everywhere after that time.

    Look-ups share a query, and one that found nothing is remembered as long: however many wrong tokens are tried, they
    take one connection and a right one waits for two queries at most. Every request with a right token is counted.
    """

    def __init__(
        self,
        tokens: CoalescedReads[bytes, ActiveToken],
        limits: ClientLimits,
        uses: TokenUses,
        admin_token: str | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._limits = limits
        self._uses = uses
        self._admin_hash = None if admin_token is None else hash_token(admin_token)
        self._admin = Principal(ADMIN_CLIENT, frozenset(SCOPES), None, limits.of(ADMIN_CLIENT))
        self._clock = clock
        self._admin_use = TokenUse(None, 0.0)
        self._verified: dict[bytes, Verified] = {}
        self._unknown: dict[bytes, float] = {}

    async def authenticate(self, authorization: str | None) -> Principal:
        """Return who sent this Authorization header. Raises UnauthenticatedError, which says why: for the log alone."""
        scheme, _, token = (authorization or "").partition(" ")
        if not authorization:
            raise UnauthenticatedError("no token came")
        if scheme.lower() != "bearer" or not 0 < len(token) <= _TOKEN_LENGTH_MAX:
            raise UnauthenticatedError("what came is no bearer token")
        digest = hash_token(token)
        now = self._clock()
        known = self._verified.get(digest)
        if known is not None and now - known.at < TOKEN_CACHE_SECONDS:
            known.use.count(now)
            return known.principal
        if now - self._unknown.get(digest, -TOKEN_CACHE_SECONDS) < TOKEN_CACHE_SECONDS:
            raise UnauthenticatedError(_NOT_VALID)
        found = await self._look_up(digest, now)
        if found is None:
            self._verified.pop(digest, None)
            if len(self._unknown) >= _CACHE_ENTRIES_MAX:
                self._unknown.clear()
            self._unknown[digest] = now
            raise UnauthenticatedError(_NOT_VALID)
        if len(self._verified) >= _CACHE_ENTRIES_MAX:
            self._verified.clear()
        self._verified[digest] = found
        found.use.count(now)
        return found.principal

    async def _look_up(self, digest: bytes, now: float) -> Verified | None:
        if self._admin_hash is not None and hmac.compare_digest(digest, self._admin_hash):
            return Verified(now, self._admin, self._admin_use)
        token, _ = await self._tokens.get(_EVERYWHERE, digest)
        if token is None:
            return None
        ledgers = None if token.ledgers is None else frozenset(token.ledgers)
        principal = Principal(token.client, frozenset(token.scopes), ledgers, self._limits.of(token.client))
        return Verified(now, principal, self._uses.of(token.id, now))


def token_look_ups(reader: Reader) -> CoalescedReads[bytes, ActiveToken]:
    """Return the look-ups of tokens by their hash, which ``reader`` reads."""
    return CoalescedReads(
        reader, lambda session, _, hashes: Repositories(session).tokens.active(hashes), key=attrgetter("token_hash")
    )
