"""Sessions: who is signed in, in a cookie that only the service can read and make (docs/decisions/0102)."""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping

import msgspec
from litestar.datastructures import Cookie
from msgspec import Struct
from msgspec.structs import replace

_NONCE_BYTES = 12
_PURPOSE = b"funds console session 1"
_COOKIE_LENGTH_MAX = 4000
"""Browsers keep 4,096 bytes of a cookie, its name and attributes included."""
_ENDED_MAX = 10_000
_RENEW_SECONDS = 30.0
"""How old a cookie gets before an answer renews it."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


class Session(Struct, frozen=True, array_like=True):
    """A session: the token that signed in, its own random name, and when it began and was last used, in seconds since
    1970. The name is what forms prove that they come from a page of this session.
    """

    token: str
    name: str
    began_at: float
    used_at: float


class Sessions:
    """Makes and reads the cookies of sessions. Each lives for ``seconds_max`` and ends after ``idle_seconds_max``
    without a page. ``key`` is what all processes share that serve the same users; without one, it is random.

    Sessions that were signed out are remembered by this process, until they would be over.
    """

    def __init__(
        self,
        key: str | None,
        *,
        seconds_max: float,
        idle_seconds_max: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = secrets.token_bytes(32) if key is None else hashlib.sha256(_PURPOSE + key.encode()).digest()
        self._seconds_max = seconds_max
        self._idle_seconds_max = idle_seconds_max
        self._clock = clock
        self._ended: dict[str, float] = {}

    def begin(self, token: str) -> Session:
        """Return a new session of whoever has ``token``."""
        now = self._clock()
        return Session(token, secrets.token_urlsafe(18), now, now)

    def end(self, session: Session) -> None:
        """Take no cookie of ``session`` any more."""
        now = self._clock()
        if len(self._ended) >= _ENDED_MAX:
            self._ended = {name: until for name, until in self._ended.items() if until > now}
        if len(self._ended) < _ENDED_MAX:
            self._ended[session.name] = session.began_at + self._seconds_max

    def read(self, cookies: Mapping[str, str], host: str) -> Session | None:
        """Return the session of a request to ``host``; None without one that is ours and not over."""
        sealed = cookies.get(cookie_name(host))
        session = None if sealed is None or len(sealed) > _COOKIE_LENGTH_MAX else self._opened(sealed)
        return session if session is not None and self._lives(session) else None

    def is_due(self, session: Session) -> bool:
        """Whether the cookie should be renewed, since its session is used."""
        return self._clock() - session.used_at >= _RENEW_SECONDS

    def cookie(self, session: Session, host: str) -> Cookie | None:
        """Return the cookie that ``session`` goes on with, as used now; None for a token that is too long for one."""
        sealed = self._sealed(replace(session, used_at=self._clock()))
        return None if len(sealed) > _COOKIE_LENGTH_MAX else _cookie(host, sealed)

    def _lives(self, session: Session) -> bool:
        now = self._clock()
        return (
            session.began_at <= session.used_at <= now + _RENEW_SECONDS
            and now < session.began_at + self._seconds_max
            and now < session.used_at + self._idle_seconds_max
            and session.name not in self._ended
        )

    def _sealed(self, session: Session) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - slow to load, and seldom used

        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + AESGCM(self._key).encrypt(nonce, msgspec.json.encode(session), _PURPOSE)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def _opened(self, sealed: str) -> Session | None:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        try:
            content = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
            nonce, encrypted = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
            return msgspec.json.decode(AESGCM(self._key).decrypt(nonce, encrypted, _PURPOSE), type=Session)
        except (ValueError, InvalidTag):
            return None


def cookie_name(host: str) -> str:
    """Return the name of the cookie on ``host``; ``__Host-`` keeps it to this host and to TLS."""
    return "__Host-funds-console" if _is_secure(host) else "funds-console"


def no_cookie(host: str) -> Cookie:
    """Return what removes the cookie of a session."""
    return _cookie(host, "", max_age=0)


def _cookie(host: str, value: str, max_age: int | None = None) -> Cookie:
    return Cookie(
        cookie_name(host),
        value=value,
        path="/",
        max_age=max_age,
        httponly=True,
        samesite="strict",
        secure=_is_secure(host),
    )


def _is_secure(host: str) -> bool:
    """Whether cookies on ``host`` are for TLS alone: everywhere but on the machine itself."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return (name or host) not in _LOOPBACK
