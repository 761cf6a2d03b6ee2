"""What reads who is calling: tokens of an issuer, its key set, certificates that a proxy passes on."""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

from service.access.certificates import HEADER, ClientCertificates
from service.access.issuers import Issuer, Rules
from service.access.key_sets import KeySet, usable_keys
from service.access.usage import ClientLimits
from service.errors import KeySetError, KeysMissingError, UnauthenticatedError
from service.settings import OIDC_ALGORITHMS, Settings
from tests.fuzz.drawing import Target
from tests.support.issuer import AUDIENCE, ISSUER, SigningKey, claims, encoded, key_set, token

_KEYS = [SigningKey("elliptic"), SigningKey("rsa", "RS256"), SigningKey("edwards", "EdDSA"), SigningKey("521", "ES512")]
_LIFETIME_SECONDS = 86_400
"""The samples are made when tests are collected, and read as long as these run."""
_SETTINGS = Settings(
    oidc_issuer=ISSUER,
    oidc_audiences=AUDIENCE,
    oidc_keys_file=Path("-"),
    oidc_algorithms=",".join(sorted(OIDC_ALGORITHMS)),
    oidc_lifetime_seconds_max=_LIFETIME_SECONDS,
)
_MEMBERS = (*(b'"kid":', b'"alg":', b'"none"', b'"HS256"', b'"crit":["b64"],', b'"exp":', b'"kty":"oct"', b'"crv":'),)
_PEER, _TRUSTED = ("127.0.0.1", 1), [ip_network("127.0.0.0/8")]


def _issuer() -> Issuer:
    async def fetch() -> bytes:
        return key_set(_KEYS)

    async def read() -> KeySet:
        keys = KeySet(fetch, OIDC_ALGORITHMS, interval_seconds=300)
        await keys.work()
        # No other reading follows: a token with an unknown key would wait for it.
        keys._began_at = keys._clock() + 1e9
        return keys

    return Issuer(Rules.of(_SETTINGS), asyncio.run(read()), ClientLimits(Settings()))


def caller_targets() -> Iterator[Target]:
    issuer = _issuer()

    def verify(data: bytes) -> object:
        return asyncio.run(issuer.verify(data.decode("latin-1")))

    told = (UnauthenticatedError, KeysMissingError)
    ending = int(time.time()) + _LIFETIME_SECONDS
    tokens = [token(key, exp=ending).encode() for key in _KEYS]
    yield Target("token", verify, told, tokens, [b".", b"..", b"=", b"-", b"_"])
    for part in ("header", "claims"):
        yield Target(f"{part} of a token", _signs(verify, part), told, [_part(one, part) for one in tokens], _MEMBERS)
    yield Target("key set", _key_set, (KeySetError,), [key_set([key]) for key in _KEYS] + [key_set(_KEYS)], _MEMBERS)
    certificates = ClientCertificates(_TRUSTED)
    yield Target(
        "Client-Cert",
        lambda data: certificates.hash_of([(HEADER, data)], _PEER),
        (UnauthenticatedError,),
        [b":" + base64.b64encode(bytes(range(200))) + b":", b":AA==:"],
        [b":", b"=", b", "],
    )


def _key_set(data: bytes) -> object:
    return usable_keys(data, OIDC_ALGORITHMS)


def _part(token: bytes, part: str) -> bytes:
    text = token.decode().split(".")[part == "claims"]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _signs(verify: Callable[[bytes], object], part: str) -> Callable[[bytes], object]:
    """Return what verifies a token with this ``part``, which the issuer has signed: the signature is right, so that
    what is in it is read.
    """

    def read(data: bytes) -> object:
        key = _KEYS[0]
        header = encoded(json.dumps({"alg": key.algorithm, "kid": key.key_id}).encode())
        said = encoded(json.dumps(claims()).encode())
        parts = (encoded(data), said) if part == "header" else (header, encoded(data))
        text = ".".join(parts)
        return verify(f"{text}.{encoded(key.sign(text.encode()))}".encode())

    return read
