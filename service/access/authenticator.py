"""Knowing callers by their bearer tokens."""

import hmac
import time
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from service.access.certificates import ClientCertificates, Peer
from service.access.principal import ADMIN_CLIENT, SCOPES, Principal
from service.access.tokens import hash_token
from service.access.usage import ClientLimits
from service.access.uses import TokenUse, TokenUses
from service.errors import UnauthenticatedError
from service.storage.coalescing import CoalescedReads
from service.storage.repositories import Repositories
from service.storage.repositories.tokens import ActiveToken
from service.storage.transactions import Reader

if TYPE_CHECKING:
    from service.access.issuers import Issuer

TOKEN_CACHE_SECONDS = 1.0
"""How long an instance may go on accepting a token after it was revoked: a verified one is remembered that long."""

_CACHE_ENTRIES_MAX = 10_000
_EVERYWHERE = 0  # tokens are of no ledger
_TOKEN_LENGTH_MAX = 512
_NOT_VALID = "the token is unknown, revoked or past its end"
_OF_THE_ISSUER = "the token's client has a name of the issuer's clients"


class Refused(NamedTuple):
    """Why a token was refused, and until when that is remembered."""

    until: float
    reason: str


class Verified(NamedTuple):
    """Whose a token is, where its uses are counted, and until when that is trusted."""

    until: float
    principal: Principal
    use: TokenUse


class Authenticator:
    """Knows callers by the SHA-256 of their token. A token once verified is trusted for TOKEN_CACHE_SECONDS, counted
    from before the look-up, so that a revoked one is refused everywhere after that time.

    Look-ups share a query, and one that found nothing is remembered as long: however many wrong tokens are tried, they
    take one connection and a right one waits for two queries at most. Every request with a right token is counted.

    What has a dot in it is a token of the ``issuer``, where there is one: ours have none. It is trusted as long, and
    not beyond its end. A caller without a token is known by the certificate that came, where ``certificates`` are asked
    for: it has a row as a token has.
    """

    def __init__(
        self,
        tokens: CoalescedReads[bytes, ActiveToken],
        limits: ClientLimits,
        uses: TokenUses,
        admin_token: str | None,
        *,
        issuer: "Issuer | None" = None,
        certificates: ClientCertificates | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._certificates = certificates
        self._tokens = tokens
        self._limits = limits
        self._uses = uses
        self._admin_hash = None if admin_token is None else hash_token(admin_token)
        self._admin = Principal(ADMIN_CLIENT, frozenset(SCOPES), None, limits.of(ADMIN_CLIENT))
        self._clock = clock
        self._unwritten_use = TokenUse(None, 0.0)
        self._verified: dict[bytes, Verified] = {}
        self._refused: dict[bytes, Refused] = {}

    async def authenticate(
        self, authorization: str | None, headers: Iterable[tuple[bytes, bytes]] = (), peer: Peer = None
    ) -> Principal:
        """Return who sent this Authorization header, or else whose certificate is in ``headers``, which ``peer`` sent.

        Raises UnauthenticatedError, which says why: for the log alone.
        """
        certificate = None if self._certificates is None else self._certificates.hash_of(headers, peer)
        if not authorization:
            if certificate is None:
                raise UnauthenticatedError("no token came")
            return await self._known("", certificate)
        scheme, _, token = authorization.partition(" ")
        issuer = None if "." not in token else self._issuer
        length_max = _TOKEN_LENGTH_MAX if issuer is None else issuer.token_length_max
        if scheme.lower() != "bearer" or not 0 < len(token) <= length_max:
            raise UnauthenticatedError("what came is no bearer token")
        return await self._known(token, hash_token(token))

    async def _known(self, token: str, digest: bytes) -> Principal:
        """Return whose ``token`` it is, or whose certificate ("") of this hash, and count the request."""
        now = self._clock()
        known = self._verified.get(digest)
        if known is not None and now < known.until:
            known.use.count(now)
            return known.principal
        refused = self._refused.get(digest)
        if refused is not None and now < refused.until:
            raise UnauthenticatedError(refused.reason)
        try:
            found = await self._look_up(token, digest, now)
        except UnauthenticatedError as error:
            self._verified.pop(digest, None)
            if len(self._refused) >= _CACHE_ENTRIES_MAX:
                self._refused.clear()
            self._refused[digest] = Refused(now + TOKEN_CACHE_SECONDS, str(error))
            raise
        if len(self._verified) >= _CACHE_ENTRIES_MAX:
            self._verified.clear()
        self._verified[digest] = found
        found.use.count(now)
        return found.principal

    async def _look_up(self, token: str, digest: bytes, now: float) -> Verified:
        if self._admin_hash is not None and hmac.compare_digest(digest, self._admin_hash):
            return Verified(now + TOKEN_CACHE_SECONDS, self._admin, self._unwritten_use)
        if self._issuer is not None and "." in token:
            proved = await self._issuer.verify(token)
            return Verified(now + min(TOKEN_CACHE_SECONDS, proved.seconds), proved.principal, self._unwritten_use)
        known, _ = await self._tokens.get(_EVERYWHERE, digest)
        if known is None:
            raise UnauthenticatedError(_NOT_VALID)
        if self._issuer is not None and self._issuer.owns(known.client):
            raise UnauthenticatedError(_OF_THE_ISSUER)
        ledgers = None if known.ledgers is None else frozenset(known.ledgers)
        scopes, usage = frozenset(known.scopes), self._limits.of(known.client)
        principal = Principal(known.client, scopes, ledgers, usage, known.debit_limit)
        return Verified(now + TOKEN_CACHE_SECONDS, principal, self._uses.of(known.id, now))


def token_look_ups(reader: Reader) -> CoalescedReads[bytes, ActiveToken]:
    """Return the look-ups of tokens by their hash, which ``reader`` reads."""
    return CoalescedReads(
        reader, lambda session, _, hashes: Repositories(session).tokens.active(hashes), key=attrgetter("token_hash")
    )
