"""An issuer of tokens, written from RFC 7515 to 7519 upon ``cryptography`` alone: it shares no code with the service,
nor with the library by which that verifies.
"""

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ISSUER = "https://issuer.example/realm"
AUDIENCE = "funds"

_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_CURVES: dict[str, type[ec.EllipticCurve]] = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
_CURVE_NAMES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, size: int | None = None) -> str:
    return encoded(value.to_bytes(size or (value.bit_length() + 7) // 8))


@lru_cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The RSA key of this name: they take long to make, so tests share them."""
    del name
    return rsa.generate_private_key(65537, bits)


class SigningKey:
    """A key with its id, and the algorithm by which it signs."""

    def __init__(self, key_id: str, algorithm: str = "ES256", private: Private | None = None) -> None:
        self.key_id = key_id
        self.algorithm = algorithm
        self.private = private or self._made()

    def _made(self) -> Private:
        if self.algorithm in _CURVES:
            return ec.generate_private_key(_CURVES[self.algorithm]())
        return rsa_key(self.key_id) if self.algorithm[:2] in {"RS", "PS"} else Ed25519PrivateKey.generate()

    def public(self, **more: Any) -> dict[str, Any]:
        """The public part as an issuer publishes it."""
        return {"kid": self.key_id, "use": "sig", "alg": self.algorithm} | self._numbers() | more

    def _numbers(self) -> dict[str, Any]:
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            numbers = public.public_numbers()
            return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        if isinstance(public, ec.EllipticCurvePublicKey):
            point, size = public.public_numbers(), (public.key_size + 7) // 8
            curve = _CURVE_NAMES[self.algorithm]
            return {"kty": "EC", "crv": curve, "x": _number(point.x, size), "y": _number(point.y, size)}
        return {"kty": "OKP", "crv": "Ed25519", "x": encoded(public.public_bytes_raw())}

    def sign(self, data: bytes, algorithm: str = "") -> bytes:
        """Sign by ``algorithm``, or the key's own."""
        name = algorithm or self.algorithm
        if isinstance(self.private, Ed25519PrivateKey):
            return self.private.sign(data)
        kind = _HASHES[name[2:]]()
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            r, s = utils.decode_dss_signature(self.private.sign(data, ec.ECDSA(kind)))
            size = (self.private.key_size + 7) // 8
            return r.to_bytes(size) + s.to_bytes(size)
        if name.startswith("PS"):
            return self.private.sign(data, padding.PSS(padding.MGF1(kind), kind.digest_size), kind)
        return self.private.sign(data, padding.PKCS1v15(), kind)


def signed(key: SigningKey, header: str, claims: str, sign: Callable[[bytes], bytes] | None = None) -> str:
    """A token of exactly these texts."""
    data = f"{encoded(header.encode())}.{encoded(claims.encode())}"
    return f"{data}.{encoded((sign or key.sign)(data.encode()))}"


def claims(**changed: Any) -> dict[str, Any]:
    """What a right token says; a claim that is None is left out."""
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300, "scope": "read"}
    return {name: value for name, value in (usual | changed).items() if value is not None}


def token(key: SigningKey, *, header: dict[str, Any] | None = None, **changed: Any) -> str:
    """A token that ``key`` signs; a member of ``header`` that is None is left out."""
    usual = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.key_id} | (header or {})
    shown = {name: value for name, value in usual.items() if value is not None}
    return signed(key, json.dumps(shown), json.dumps(claims(**changed)))


def key_set(keys: Iterable[SigningKey | dict[str, Any]]) -> bytes:
    """The key set of these keys; those that are no SigningKey are published as they are."""
    return json.dumps({"keys": [one.public() if isinstance(one, SigningKey) else one for one in keys]}).encode()


class KeySetServer:
    """Publishes ``body`` over HTTP, with ``status`` and ``headers``, as long as it is ``open``; counts who asks."""

    def __init__(self, body: bytes = b"") -> None:
        self.body = body
        self.status = 200
        self.headers: list[bytes] = []
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["KeySetServer"]:
        """It answers as long as the context lasts; the next time at the same port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.open.set()
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"GET /keys HTTP/1.1\r\n")
            self.asked += 1
            await self.open.wait()
            lines = [b"HTTP/1.1 %d Status" % self.status, b"Content-Length: %d" % len(self.body), *self.headers]
            writer.write(b"\r\n".join([*lines, b"Connection: close", b"", self.body]))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
