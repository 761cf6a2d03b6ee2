"""The public keys of an issuer of tokens: read from its key set (RFC 7517), again and again, by one worker.

Imported only where there is an issuer (``FUNDS_OIDC_ISSUER``).
"""

import asyncio
import base64
import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from msgspec import Raw, Struct

from service.errors import KeySetError, KeysMissingError, UnauthenticatedError

logger = logging.getLogger(__name__)

REREAD_SECONDS_MIN = 10.0
"""How soon after one reading begins the next one: after a failure, and for a token with an unknown key."""
FILE_INTERVAL_SECONDS = 5.0
"""How often a file is read."""
WAIT_SECONDS_MAX = 2.0
"""How long a request waits for keys that are being read."""
SET_BYTES_MAX = 256 * 1024
"""Of one set as it is published."""
KEYS_MAX = 100
"""Keys of one set."""
RSA_BITS = range(2048, 4097)
"""What is shorter can be broken; what is longer takes long to verify."""

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_ALGORITHMS: dict[tuple[str, str | None], frozenset[str]] = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
}
"""The algorithms that a key of a type, on a curve, can verify."""

Fetch = Callable[[], Awaitable[bytes]]
"""Returns a key set as it is published. Raises KeySetError."""
Keys = dict[tuple[str, str], Key]
"""Keys by their id and an algorithm that they verify."""


class _Set(Struct):
    keys: list[Raw]


class _Jwk(Struct):
    """A key as it is published. ``d`` is what only the issuer may have."""

    kty: str
    kid: str
    use: str = "sig"
    key_ops: list[str] | None = None
    alg: str | None = None
    crv: str | None = None
    n: str | None = None
    e: str | None = None
    x: str | None = None
    y: str | None = None
    d: Any = None

    def can_verify(self, allowed: Collection[str]) -> frozenset[str]:
        """Return by which of the ``allowed`` algorithms it verifies; none for a key that is not meant to, or that is
        no secret any more.
        """
        for_something_else = self.use != "sig" or (self.key_ops is not None and "verify" not in self.key_ops)
        if for_something_else or self.d is not None:
            return frozenset()
        possible = _ALGORITHMS.get((self.kty, self.crv), frozenset()) & frozenset(allowed)
        return possible if self.alg is None else possible & {self.alg}

    def public_key(self) -> Key:
        """Return the key. Raises ValueError, or JoseError, for what is none."""
        members = {name: getattr(self, name) for name in ("kty", "crv", "n", "e", "x", "y")}
        public = {name: value for name, value in members.items() if value is not None}
        match self.kty:
            case "RSA":
                if _bits(self.n or "") not in RSA_BITS:
                    raise ValueError("an RSA key of this size is not taken")
                return RSAKey.import_key(public)
            case "EC":
                return ECKey.import_key(public)
        return OKPKey.import_key(public)


def usable_keys(document: bytes, algorithms: Collection[str]) -> Keys:
    """Return the keys of a set that verify by one of ``algorithms``. Keys without an id, of another kind, for another
    use, or with their private part are left out; of two with one id and algorithm, the first counts.

    Raises KeySetError for what is no key set.
    """
    try:
        published = msgspec.json.decode(document, type=_Set).keys
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise KeySetError("it is no JSON object with a list of keys") from None
    if len(published) > KEYS_MAX:
        raise KeySetError(f"it has more than {KEYS_MAX} keys")
    keys: Keys = {}
    for raw in published:
        try:
            jwk = msgspec.json.decode(raw, type=_Jwk)
            usable = jwk.can_verify(algorithms)
            key = jwk.public_key() if usable else None
        except (msgspec.DecodeError, RecursionError, JoseError, ValueError, TypeError):
            continue
        if key is not None:
            for algorithm in usable:
                keys.setdefault((jwk.kid, algorithm), key)
    return keys


class KeySet:
    """The keys of an issuer as they were last read with ``fetch``, and the ``work`` that reads them.

    They are read every ``interval_seconds``, after a failure every REREAD_SECONDS_MIN, and when a token names a key
    that is not known: at most every REREAD_SECONDS_MIN, for all who ask at a time together. A failure keeps what was
    read before.
    """

    def __init__(
        self,
        fetch: Fetch,
        algorithms: Collection[str],
        *,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._algorithms = algorithms
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._keys: Keys = {}
        self._ids: frozenset[str] = frozenset()
        self._document: bytes | None = None
        self._began_at = -math.inf
        self._read_at = clock()
        self._reading = self._failed = False
        self._wanted = asyncio.Event()
        self._read = asyncio.Event()

    @property
    def count(self) -> int:
        """How many keys can be used."""
        return len(self._ids)

    @property
    def age_seconds(self) -> float:
        """How long ago the keys were read; before they were once, how long that has been tried."""
        return self._clock() - self._read_at

    async def find(self, key_id: str, algorithm: str) -> Key:
        """Return the key of this id for this algorithm, waiting WAIT_SECONDS_MAX at most for a reading of unknown ones.

        Raises UnauthenticatedError, and KeysMissingError where no key is known at all.
        """
        if key_id not in self._ids:
            await self._ask()
        key = self._keys.get((key_id, algorithm))
        if key is not None:
            return key
        if not self._ids:
            raise KeysMissingError
        if key_id in self._ids:
            raise UnauthenticatedError("the key of an issuer's token is not for its algorithm")
        raise UnauthenticatedError("the key of an issuer's token is not known")

    async def work(self) -> None:
        """Wait until the keys must be read, and read them. A failure is told in the log."""
        await self._wait_until_due()
        self._wanted.clear()
        self._began_at = self._clock()
        self._reading = self._failed = True
        try:
            document = await self._fetch()
            if document != self._document:
                self._take(document)
            self._failed = False
            self._read_at = self._clock()
        except KeySetError as error:
            logger.warning("the keys of the issuer cannot be read", extra={"reason": str(error)})
        finally:
            self._reading = False
            read, self._read = self._read, asyncio.Event()
            read.set()

    async def _wait_until_due(self) -> None:
        interval_seconds = REREAD_SECONDS_MIN if self._failed else self._interval_seconds
        try:
            async with asyncio.timeout(max(0.0, self._began_at + interval_seconds - self._clock())):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _ask(self) -> None:
        """Have the keys read again, unless they just were, and wait for it."""
        if not self._reading:
            if self._clock() - self._began_at < REREAD_SECONDS_MIN:
                return
            self._wanted.set()
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await self._read.wait()
        except TimeoutError:
            return

    def _take(self, document: bytes) -> None:
        self._keys = usable_keys(document, self._algorithms)
        self._ids = frozenset(key_id for key_id, _ in self._keys)
        self._document = document
        logger.log(
            logging.INFO if self._ids else logging.WARNING,
            "the keys of the issuer were read",
            extra={"reason": f"{len(self._ids)} of them can be used"},
        )


def reader_of(path: Path) -> Fetch:
    """Return what reads the key set in a file, anew each time."""

    async def read() -> bytes:
        return _content(path)

    return read


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise KeySetError("the file of the issuer's keys is not there")
        with path.open("rb") as file:
            document = file.read(SET_BYTES_MAX + 1)
    except OSError as error:
        raise KeySetError(f"the file of the issuer's keys cannot be read: {error.strerror}") from None
    if len(document) > SET_BYTES_MAX:
        raise KeySetError(f"the file of the issuer's keys has more than {SET_BYTES_MAX} bytes")
    return document


def _bits(number: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(number + "=" * (-len(number) % 4))).bit_length()
