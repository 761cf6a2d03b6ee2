"""Knowing callers by the tokens of an issuer: JSON Web Tokens (RFC 7519, and RFC 8725 on what to look out for).

Imported only where there is an issuer (``FUNDS_OIDC_ISSUER``).
"""

import base64
import json
import re
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from msgspec import Struct

from service.access.key_sets import KeySet
from service.access.principal import LIMITED_SCOPES, SCOPES, Principal
from service.access.usage import ClientLimits
from service.domain.codes import is_code
from service.domain.rights import DebitLimit, is_account_id
from service.domain.texts import client_fault
from service.errors import UnauthenticatedError
from service.settings import Settings

TOKEN_LENGTH_MAX = 8 * 1024
"""Of an issuer's token, which carries what it says; ours are names of what is said in the database."""
EVERY = "*"
"""Among the names of ledgers in a token: all of them; likewise among the accounts that it may debit."""

_HEADER_LENGTH_MAX = 4 * 1024
_SIGNATURE_LENGTH_MAX = 1024
_BASE64 = re.compile(r"[A-Za-z0-9_-]+")
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_TIME_MAX = 1 << 40

Members = dict[str, Any]


class Proved(NamedTuple):
    """What a token proves, and for how many seconds from now."""

    principal: Principal
    seconds: float


class Rules(Struct, frozen=True, kw_only=True):
    """What a token must be, and where it says what. ``every_ledger`` is whether a token that does not speak of ledgers
    is for all of them; otherwise it is for none.
    """

    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str]
    leeway_seconds: float
    lifetime_seconds_max: float
    client_claim: str
    client_prefix: str
    scopes_claim: str
    ledgers_claim: str
    every_ledger: bool
    debit_accounts_claim: str | None
    debit_codes_claim: str | None

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """Return the rules that ``settings`` have for their issuer."""
        assert settings.oidc_issuer is not None, "there is an issuer where this module is loaded"
        return cls(
            issuer=settings.oidc_issuer,
            audiences=frozenset(settings.oidc_audience_names),
            algorithms=frozenset(settings.oidc_algorithm_names),
            leeway_seconds=settings.oidc_leeway_seconds,
            lifetime_seconds_max=settings.oidc_lifetime_seconds_max,
            client_claim=settings.oidc_client_claim,
            client_prefix=settings.oidc_client_prefix,
            scopes_claim=settings.oidc_scopes_claim,
            ledgers_claim=settings.oidc_ledgers_claim,
            every_ledger=settings.oidc_ledgers_default == "all",
            debit_accounts_claim=settings.oidc_debit_accounts_claim,
            debit_codes_claim=settings.oidc_debit_codes_claim,
        )


class Issuer:
    """Knows callers by tokens that the issuer signed with one of its ``keys``."""

    token_length_max = TOKEN_LENGTH_MAX

    def __init__(
        self, rules: Rules, keys: KeySet, limits: ClientLimits, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._rules = rules
        self._keys = keys
        self._limits = limits
        self._clock = clock
        self._registry = _Registry(rules.algorithms)

    def owns(self, client: str) -> bool:
        """Return whether a client of this name is one of the issuer's."""
        return client.startswith(self._rules.client_prefix)

    async def verify(self, token: str) -> Proved:
        """Return what ``token`` proves. Nothing that it says of itself is believed before its signature is verified by
        a key that was known without it.

        Raises UnauthenticatedError, which says why, in words that repeat nothing of the token; and KeysMissingError.
        """
        claims = _members(await self._payload(token))
        seconds = self._seconds_left(claims)
        if claims.get("iss") != self._rules.issuer:
            _refuse("is of another issuer")
        if self._rules.audiences.isdisjoint(_texts(claims.get("aud"), "has no audience", split=False)):
            _refuse("is meant for another audience")
        if "cnf" in claims:
            _refuse("is bound to a key of its holder's, which is not asked for here")
        return Proved(self._principal(claims), seconds)

    async def _payload(self, token: str) -> bytes:
        parts = token.split(".")
        if len(parts) != 3 or not all(map(_BASE64.fullmatch, parts)):  # noqa: PLR2004 - header, claims, signature
            _refuse("has not the three parts of a signed token")
        header = _members(_decoded(parts[0]))
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._rules.algorithms:
            _refuse("is signed by an algorithm that is not allowed, or not at all")
        if "crit" in header or "b64" in header:
            _refuse("asks for an extension that is not known here")
        if str(header.get("typ", "JWT")).lower() not in _TYPES or "cty" in header:
            _refuse("is of another type")
        if not isinstance(key_id, str):
            _refuse("does not name its key")
        key = await self._keys.find(key_id, algorithm)
        try:
            return jws.deserialize_compact(token, key, registry=self._registry).payload
        except (JoseError, ValueError):
            _refuse("has a wrong signature")

    def _seconds_left(self, claims: Members) -> float:
        """Return how many seconds from now the token is still taken. Raises UnauthenticatedError."""
        now, leeway = self._clock(), self._rules.leeway_seconds
        end = _time(claims, "exp")
        begin, made = _time(claims, "nbf"), _time(claims, "iat")
        if end is None:
            _refuse("has no end")
        if end + leeway <= now:
            _refuse("is past its end")
        if max(begin or 0, made or 0) > now + leeway:
            _refuse("is not valid yet")
        if end - (now if made is None else made) > self._rules.lifetime_seconds_max:
            _refuse("is valid for longer than a token may be")
        return end + leeway - now

    def _principal(self, claims: Members) -> Principal:
        rules = self._rules
        name = claims.get(rules.client_claim)
        if not isinstance(name, str) or not name:
            _refuse("names no client")
        client = rules.client_prefix + name
        if client_fault(client) is not None:
            _refuse("names a client by what is no name of one")
        scopes = _texts(claims.get(rules.scopes_claim, []), "has scopes that are no texts", split=True)
        ledgers: frozenset[str] | None = None
        if rules.ledgers_claim in claims:
            ledgers = _texts(claims[rules.ledgers_claim], "has ledgers that are no names", split=True)
        elif not rules.every_ledger:
            ledgers = frozenset()
        if ledgers is not None and EVERY in ledgers:
            ledgers = None
        scopes = scopes.intersection(SCOPES)
        limit = self._debit_limit(claims)
        if limit is not None and not LIMITED_SCOPES.issuperset(scopes):
            _refuse("may debit certain accounts only, and has a scope that could change which")
        return Principal(client, scopes, ledgers, self._limits.of(client), limit)

    def _debit_limit(self, claims: Members) -> DebitLimit | None:
        """Return what the token may debit; None is any account, as it is where the settings name no claim for it."""
        names = (self._rules.debit_accounts_claim, self._rules.debit_codes_claim)
        if names == (None, None):
            return None
        account_ids, codes = (
            _texts(claims.get(name, []), "says what it may debit in what are no texts", split=True)
            if name
            else frozenset()
            for name in names
        )
        if EVERY in account_ids or EVERY in codes:
            return None
        if not all(map(is_account_id, account_ids)):
            _refuse("may debit an account that is none, as the API shows them")
        if not all(map(is_code, codes)):
            _refuse("may debit a code of accounts that is none")
        return DebitLimit(frozenset(map(UUID, account_ids)), tuple(sorted(codes)))


class _Registry(jws.JWSRegistry):
    """The algorithms that are allowed, without a warning of those that have a newer name (EdDSA)."""

    max_header_length = _HEADER_LENGTH_MAX
    max_payload_length = TOKEN_LENGTH_MAX
    max_signature_length = _SIGNATURE_LENGTH_MAX

    def __init__(self, allowed: Collection[str]) -> None:
        super().__init__(algorithms=allowed, strict_check_header=False)
        self._allowed = {name: self.algorithms[name] for name in allowed}

    def get_alg(self, name: str) -> Any:
        """Return the algorithm of this name. Raises UnsupportedAlgorithmError."""
        if name not in self._allowed:
            raise UnsupportedAlgorithmError
        return self._allowed[name]


def _refuse(why: str) -> NoReturn:
    raise UnauthenticatedError(f"an issuer's token {why}")


def _decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        _refuse("is not written as tokens are")


def _members(text: bytes) -> Members:
    """Return the members of a JSON object, which has each once. Raises UnauthenticatedError."""
    try:
        members = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        _refuse("is not written as tokens are")
    if not isinstance(members, dict):
        _refuse("is not written as tokens are")
    return members


def _no_number(_: str) -> NoReturn:
    _refuse("has a number that is none")


def _once(pairs: list[tuple[str, Any]]) -> Members:
    members = dict(pairs)
    if len(members) != len(pairs):
        _refuse("has a member twice")
    return members


def _texts(value: object, fault: str, *, split: bool) -> frozenset[str]:
    """Return the texts of a list, or of one text: itself, or the words in it (``split``)."""
    if isinstance(value, str):
        return frozenset(value.split(" ") if split else [value]) - {""}
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        _refuse(fault)
    return frozenset(value)


def _time(claims: Members, name: str) -> float | None:
    """Return a time, in seconds since 1970; None where there is none."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in {int, float} or not 0 <= value <= _TIME_MAX:
        _refuse("has a time that is none")
    return float(value)
