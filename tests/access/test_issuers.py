"""Tokens of an issuer: what a right one proves, and every kind of wrong one. The keys are real; no code is shared."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import serialization

from service.access.issuers import TOKEN_LENGTH_MAX, Issuer, Proved, Rules
from service.access.key_sets import KeySet
from service.access.principal import SCOPES
from service.access.usage import ClientLimits
from service.domain.rights import DebitLimit
from service.errors import KeysMissingError, UnauthenticatedError
from service.settings import OIDC_ALGORITHMS, Settings
from tests.support.issuer import AUDIENCE, ISSUER, SigningKey, claims, encoded, key_set, rsa_key, signed, token

KEY = SigningKey("elliptic")
RSA = SigningKey("rsa", "RS256")
LEEWAY, LONGEST = 30, 7_200
SETTINGS: dict[str, Any] = {"oidc_issuer": ISSUER, "oidc_audiences": f"{AUDIENCE}, funds-too", "oidc_keys_file": "-"}


async def issuer_of(*published: SigningKey | dict[str, Any], **settings: Any) -> Issuer:
    """An issuer whose keys were read."""

    async def fetch() -> bytes:
        return key_set(published)

    rules = Rules.of(Settings(**(SETTINGS | settings)))
    keys = KeySet(fetch, rules.algorithms, interval_seconds=300)
    await keys.work()
    return Issuer(rules, keys, ClientLimits(Settings()))


async def verified(text: str, *published: SigningKey | dict[str, Any], **settings: Any) -> Proved:
    return await (await issuer_of(*(published or (KEY, RSA)), **settings)).verify(text)


async def refused(text: str, why: str, *published: SigningKey | dict[str, Any], **settings: Any) -> None:
    with pytest.raises(UnauthenticatedError, match=f"^an issuer's token {why}$|^the key of an issuer's token {why}$"):
        await verified(text, *published, **settings)


async def test_what_a_token_proves() -> None:
    proved = await verified(token(KEY, scope="openid transfers:write read", ledgers=["main", "other"]))
    principal = proved.principal
    assert principal.client == "oidc:alice"
    assert principal.scopes == {"transfers:write", "read"}
    assert principal.ledgers == frozenset({"main", "other"})
    assert 300 < proved.seconds <= 300 + LEEWAY


@pytest.mark.parametrize("algorithm", sorted(OIDC_ALGORITHMS))
async def test_each_algorithm(algorithm: str) -> None:
    key = SigningKey("one", algorithm)
    assert (await verified(token(key), key, oidc_algorithms=algorithm)).principal.client == "oidc:alice"
    why = "is signed by an algorithm that is not allowed, or not at all"
    await refused(token(key), why, key, oidc_algorithms=",".join(OIDC_ALGORITHMS - {algorithm}))
    wrong = SigningKey("one", algorithm, rsa_key("another") if algorithm[:2] in {"RS", "PS"} else None)
    await refused(token(wrong), "has a wrong signature", key, oidc_algorithms=algorithm)


async def test_a_key_that_names_no_algorithm_verifies_by_those_of_its_kind() -> None:
    published = {name: value for name, value in RSA.public().items() if name not in {"alg", "use"}}
    for algorithm in ("RS256", "PS256"):
        text = token(SigningKey("rsa", algorithm))
        assert (await verified(text, published)).principal.client == "oidc:alice"
    await refused(token(RSA, header={"alg": "ES256"}), "is not for its algorithm", published)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"alg": "none"}, "is signed by an algorithm that is not allowed, or not at all"),
        ({"alg": "None"}, "is signed by an algorithm that is not allowed, or not at all"),
        ({"alg": None}, "is signed by an algorithm that is not allowed, or not at all"),
        ({"alg": ["ES256"]}, "is signed by an algorithm that is not allowed, or not at all"),
        ({"alg": "HS256"}, "is signed by an algorithm that is not allowed, or not at all"),
        ({"alg": "ES384"}, "is signed by an algorithm that is not allowed, or not at all"),
        ({"alg": "RS256"}, "is not for its algorithm"),
        ({"kid": "rsa"}, "is not for its algorithm"),
        ({"kid": "unknown"}, "is not known"),
        ({"kid": None}, "does not name its key"),
        ({"kid": 1}, "does not name its key"),
        ({"kid": ["elliptic"]}, "does not name its key"),
        ({"crit": ["exp"]}, "asks for an extension that is not known here"),
        ({"crit": []}, "asks for an extension that is not known here"),
        ({"b64": False}, "asks for an extension that is not known here"),
        ({"typ": "dpop+jwt"}, "is of another type"),
        ({"typ": "logout+jwt"}, "is of another type"),
        ({"typ": ""}, "is of another type"),
        ({"typ": ["JWT"]}, "is of another type"),
        ({"cty": "JWT"}, "is of another type"),
        ({"jku": 1}, "has a wrong signature"),
    ],
    ids=str,
)
async def test_a_header_that_is_wrong(header: dict[str, Any], why: str) -> None:
    await refused(token(KEY, header=header), why)


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", None])
async def test_the_types_that_access_tokens_have(kind: str | None) -> None:
    assert await verified(token(KEY, header={"typ": kind}))


async def test_a_token_cannot_bring_its_own_key() -> None:
    own = SigningKey("own")
    places: list[dict[str, Any]] = [
        {"jwk": own.public()},
        {"jku": "https://thief.example/keys"},
        {"x5u": "https://thief.example/certificate"},
        {"x5c": ["MIIB"]},
    ]
    for more in places:
        await refused(token(own, header=more), "is not known")
        await refused(token(own, header=more | {"kid": "elliptic"}), "has a wrong signature")
        assert (await verified(token(KEY, header=more))).principal.client == "oidc:alice"  # ignored


def _hs256(secret: bytes, data: bytes) -> bytes:
    return hmac.digest(secret, data, hashlib.sha256)


async def test_the_public_key_is_no_secret_to_sign_with() -> None:
    """Algorithm confusion: HS256 with what everybody knows as the secret."""
    public = RSA.private.public_key()
    for secret in (
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        json.dumps(RSA.public()).encode(),
    ):
        header = json.dumps({"alg": "HS256", "typ": "JWT", "kid": "rsa"})
        text = signed(RSA, header, json.dumps(claims()), partial(_hs256, secret))
        await refused(text, "is signed by an algorithm that is not allowed, or not at all")
    shared = {"kty": "oct", "kid": "shared", "k": encoded(b"x" * 32)}
    with pytest.raises(KeysMissingError):
        await verified(token(KEY, header={"kid": "shared"}), shared)


class After(NamedTuple):
    """A time that lies so many seconds after the making of the token."""

    seconds: int


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"iss": "https://issuer.example"}, "is of another issuer"),
        ({"iss": ISSUER + "/"}, "is of another issuer"),
        ({"iss": None}, "is of another issuer"),
        ({"iss": [ISSUER]}, "is of another issuer"),
        ({"aud": "other"}, "is meant for another audience"),
        ({"aud": ["other", "Funds"]}, "is meant for another audience"),
        ({"aud": []}, "is meant for another audience"),
        ({"aud": "funds funds-too"}, "is meant for another audience"),
        ({"aud": None}, "has no audience"),
        ({"aud": {"funds": 1}}, "has no audience"),
        ({"exp": None}, "has no end"),
        ({"exp": "never"}, "has a time that is none"),
        ({"exp": True}, "has a time that is none"),
        ({"exp": -1}, "has a time that is none"),
        ({"exp": 10**400}, "has a time that is none"),
        ({"exp": After(-600), "iat": After(-900)}, "is past its end"),
        ({"nbf": After(600)}, "is not valid yet"),
        ({"nbf": None, "iat": After(600), "exp": After(700)}, "is not valid yet"),
        ({"nbf": "soon"}, "has a time that is none"),
        ({"exp": After(LONGEST + 600)}, "is valid for longer than a token may be"),
        ({"exp": After(LONGEST + 600), "iat": None}, "is valid for longer than a token may be"),
        ({"iat": After(-LONGEST)}, "is valid for longer than a token may be"),
        ({"sub": None}, "names no client"),
        ({"sub": ""}, "names no client"),
        ({"sub": 7}, "names no client"),
        ({"sub": ["alice"]}, "names no client"),
        ({"sub": "alice "}, "names a client by what is no name of one"),
        ({"sub": "ali\u200bce"}, "names a client by what is no name of one"),
        ({"sub": "ali\0ce"}, "names a client by what is no name of one"),
        ({"sub": "\ud800"}, "names a client by what is no name of one"),
        ({"sub": "e\u0301"}, "names a client by what is no name of one"),
        ({"sub": "x" * 124}, "names a client by what is no name of one"),
        ({"scope": {"read": True}}, "has scopes that are no texts"),
        ({"scope": ["read", 1]}, "has scopes that are no texts"),
        ({"ledgers": 1}, "has ledgers that are no names"),
        ({"ledgers": [["main"]]}, "has ledgers that are no names"),
        ({"cnf": {"jkt": "x"}}, "is bound to a key of its holder's, which is not asked for here"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_claims_that_are_wrong(changed: dict[str, Any], why: str) -> None:
    now = int(time.time())
    said: dict[str, Any] = {name: now + one.seconds if isinstance(one, After) else one for name, one in changed.items()}
    await refused(token(KEY, **said), why)


async def test_clocks_may_differ_by_the_leeway() -> None:
    now, margin = int(time.time()), 10
    for right in (
        {"exp": now - LEEWAY + margin, "iat": now - 60},
        {"nbf": now + LEEWAY - margin},
        {"iat": now + LEEWAY - margin},
        {"exp": now + LONGEST - margin, "iat": None},
    ):
        assert await verified(token(KEY, **right))
    await refused(token(KEY, exp=now - margin, iat=now - 60), "is past its end", oidc_leeway_seconds=0)


async def test_what_is_signed_says_each_thing_once() -> None:
    header, said = json.dumps({"alg": "ES256", "kid": "elliptic"}), json.dumps(claims())
    assert await verified(signed(KEY, header, said))
    await refused(signed(KEY, header[:-1] + ', "kid": "elliptic"}', said), "has a member twice")
    await refused(signed(KEY, header, said[:-1] + ', "sub": "bob"}'), "has a member twice")
    await refused(signed(KEY, header, said[:-1] + ', "x": {"y": 1, "y": 2}}'), "has a member twice")


@pytest.mark.parametrize(
    "said",
    ["", "{", "[]", "null", "\ufeff{}", "[" * 2000, '"text"', "{'a': 1}", '{"exp": 1} {}'],
    ids=lambda text: text[:9],
)
async def test_claims_that_are_no_object(said: str) -> None:
    header = json.dumps({"alg": "ES256", "kid": "elliptic"})
    why = "is not written as tokens are" if said else "has not the three parts of a signed token"
    await refused(signed(KEY, header, said), why)
    await refused(signed(KEY, said, json.dumps(claims())), why)


async def test_numbers_that_json_has_not() -> None:
    header = json.dumps({"alg": "ES256", "kid": "elliptic"})
    for number in ("NaN", "Infinity", "-Infinity"):
        said = json.dumps(claims())[:-1] + f', "x": {number}}}'
        await refused(signed(KEY, header, said), "has a number that is none")
    said = json.dumps(claims(exp=None))[:-1] + ', "exp": 1e999}'
    await refused(signed(KEY, header, said), "has a time that is none")


def _flipped(text: str, part: int) -> str:
    parts = text.split(".")
    first = parts[part][0]
    parts[part] = ("A" if first != "A" else "B") + parts[part][1:]
    return ".".join(parts)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.rpartition(".")[0] + ".", "has not the three parts of a signed token"),
        (lambda text: text.rpartition(".")[0], "has not the three parts of a signed token"),
        (lambda text: f"{text}.", "has not the three parts of a signed token"),
        (lambda text: f"{text}.{text}", "has not the three parts of a signed token"),
        (lambda text: f".{text}", "has not the three parts of a signed token"),
        (lambda text: text.replace(".", "=."), "has not the three parts of a signed token"),
        (lambda text: text + "=", "has not the three parts of a signed token"),
        (lambda text: text + "\n", "has not the three parts of a signed token"),
        (lambda _: "e30.e30.e30.e30.e30", "has not the three parts of a signed token"),
        (lambda text: _flipped(text, 2), "has a wrong signature"),
        (lambda text: _flipped(text, 1), "has a wrong signature"),
        (lambda text: text + "AA", "has a wrong signature"),
        (lambda text: text[:-4], "has a wrong signature"),
        (lambda text: text.rpartition(".")[0] + "." + encoded(bytes(64)), "has a wrong signature"),
        (lambda text: text.rpartition(".")[0] + "." + encoded(bytes(2000)), "has a wrong signature"),
        (lambda text: "A" + text, "is not written as tokens are"),
    ],
)
async def test_a_token_that_was_changed(change: Callable[[str], str], why: str) -> None:
    await refused(change(token(KEY)), why)


async def test_another_spelling_of_the_signature_is_another_token() -> None:
    """The last character of base64 has bits that say nothing; they must be zero."""
    text = token(KEY)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = text[:-1] + letters[letters.index(text[-1]) + 1]
    padding = "=" * (-len(text.rpartition(".")[2]) % 4)
    spellings = [base64.urlsafe_b64decode(one.rpartition(".")[2] + padding) for one in (text, other)]
    assert spellings[0] == spellings[1]
    await refused(other, "has a wrong signature")


async def test_encrypted_and_nested_tokens() -> None:
    header = encoded(json.dumps({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "rsa"}).encode())
    await refused(f"{header}.AA.AA.AA.AA", "has not the three parts of a signed token")
    nested = signed(KEY, json.dumps({"alg": "ES256", "kid": "elliptic", "cty": "JWT"}), token(KEY))
    await refused(nested, "is of another type")


async def test_the_longest_token() -> None:
    text = token(KEY, more="")
    text = token(KEY, more="x" * ((TOKEN_LENGTH_MAX - len(text)) * 3 // 4 - 2))
    assert TOKEN_LENGTH_MAX - 8 < len(text) <= TOKEN_LENGTH_MAX
    assert await verified(text)


@pytest.mark.parametrize(
    ("claimed", "default", "ledgers"),
    [
        ({}, "none", frozenset()),
        ({}, "all", None),
        ({"ledgers": []}, "all", frozenset()),
        ({"ledgers": ""}, "all", frozenset()),
        ({"ledgers": "main other"}, "none", {"main", "other"}),
        ({"ledgers": ["main"]}, "all", {"main"}),
        ({"ledgers": "*"}, "none", None),
        ({"ledgers": ["main", "*"]}, "none", None),
    ],
)
async def test_the_ledgers_of_a_token(claimed: dict[str, Any], default: str, ledgers: object) -> None:
    proved = await verified(token(KEY, **claimed), oidc_ledgers_default=default)
    assert proved.principal.ledgers == ledgers


ACCOUNT = "019b76da-a801-7000-8000-0000000000a0"
OTHER = "019b76da-a801-7000-8000-0000000000b0"
LIMITED: dict[str, Any] = {"oidc_debit_accounts_claim": "debits", "oidc_debit_codes_claim": "https://bank/codes"}
NOTHING = DebitLimit()


def _limit(*account_ids: str, codes: tuple[str, ...] = ()) -> DebitLimit:
    return DebitLimit(frozenset(map(UUID, account_ids)), codes)


@pytest.mark.parametrize(
    ("claimed", "limit"),
    [
        ({}, NOTHING),
        ({"debits": [], "https://bank/codes": ""}, NOTHING),
        ({"debits": ACCOUNT}, _limit(ACCOUNT)),
        ({"debits": f"{OTHER} {ACCOUNT}"}, _limit(ACCOUNT, OTHER)),
        ({"debits": [ACCOUNT, OTHER, ACCOUNT]}, _limit(ACCOUNT, OTHER)),
        ({"https://bank/codes": "2000 1000:cash"}, _limit(codes=("1000:cash", "2000"))),
        ({"https://bank/codes": ["1000"], "debits": [OTHER]}, _limit(OTHER, codes=("1000",))),
        ({"debits": "*"}, None),
        ({"debits": [ACCOUNT, "*"]}, None),
        ({"https://bank/codes": ["*"]}, None),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_what_a_token_may_debit(claimed: dict[str, Any], limit: DebitLimit | None) -> None:
    principal = (await verified(token(KEY, scope="transfers:write audit", **claimed), **LIMITED)).principal
    assert principal.debit_limit == limit


async def test_no_claim_limits_what_is_debited_unless_the_settings_name_it() -> None:
    claimed: dict[str, Any] = {"debits": [ACCOUNT], "https://bank/codes": "1000"}
    assert (await verified(token(KEY, scope="admin", **claimed))).principal.debit_limit is None
    for name, limit in (
        ("oidc_debit_accounts_claim", _limit(ACCOUNT)),
        ("oidc_debit_codes_claim", _limit(codes=("1000",))),
    ):
        assert (await verified(token(KEY, **claimed), **{name: LIMITED[name]})).principal.debit_limit == limit


@pytest.mark.parametrize(
    ("claimed", "why"),
    [
        ({"debits": 1}, "says what it may debit in what are no texts"),
        ({"debits": None}, "says what it may debit in what are no texts"),
        ({"debits": {"id": ACCOUNT}}, "says what it may debit in what are no texts"),
        ({"debits": [[ACCOUNT]]}, "says what it may debit in what are no texts"),
        ({"https://bank/codes": 1000}, "says what it may debit in what are no texts"),
        ({"https://bank/codes": ["1000", 2000]}, "says what it may debit in what are no texts"),
        ({"debits": ACCOUNT.upper()}, "may debit an account that is none, as the API shows them"),
        ({"debits": ACCOUNT.replace("-", "")}, "may debit an account that is none, as the API shows them"),
        ({"debits": f"{ACCOUNT},{OTHER}"}, "may debit an account that is none, as the API shows them"),
        ({"debits": [f"{ACCOUNT} {OTHER}"]}, "may debit an account that is none, as the API shows them"),
        ({"debits": ["1000:cash"]}, "may debit an account that is none, as the API shows them"),
        ({"debits": [""]}, "may debit an account that is none, as the API shows them"),
        ({"https://bank/codes": ":"}, "may debit a code of accounts that is none"),
        ({"https://bank/codes": "1000:*"}, "may debit a code of accounts that is none"),
        ({"https://bank/codes": ["1000 2000"]}, "may debit a code of accounts that is none"),
        ({"https://bank/codes": ["1000\n"]}, "may debit a code of accounts that is none"),
        ({"https://bank/codes": ["1" * 256]}, "may debit a code of accounts that is none"),
        *(
            ({"scope": scope} | claimed, "may debit certain accounts only, and has a scope that could change which")
            for scope in ("admin", "transfers:write accounts:write")
            for claimed in ({}, {"debits": ACCOUNT}, {"https://bank/codes": "1000"})
        ),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_what_a_token_cannot_say_of_debits(claimed: dict[str, Any], why: str) -> None:
    said: dict[str, Any] = {
        name: [None] if value is None else value for name, value in claimed.items()
    }  # None leaves a claim out
    await refused(token(KEY, **said), why, **LIMITED)
    assert await verified(token(KEY, **said))


async def test_scopes_that_are_not_known_are_ignored() -> None:
    for said in ("openid Read admins read:all ADMIN", ["email"], [], "", "   "):
        assert (await verified(token(KEY, scope=said))).principal.scopes == frozenset()
    assert (await verified(token(KEY, scope=None))).principal.scopes == frozenset()
    assert (await verified(token(KEY, scope=list(SCOPES)))).principal.scopes == set(SCOPES)
    assert (await verified(token(KEY, scope=["read admin"]))).principal.scopes == frozenset()


async def test_claims_of_other_names() -> None:
    names = {"oidc_client_claim": "azp", "oidc_scopes_claim": "scp", "oidc_ledgers_claim": "https://bank/ledgers"}
    said: dict[str, Any] = {"azp": "payroll", "scp": ["read"], "https://bank/ledgers": ["main"], "scope": "admin"}
    principal = (await verified(token(KEY, **said), **names, oidc_client_prefix="sso:")).principal
    assert principal.client == "sso:payroll"
    assert principal.scopes == frozenset({"read"})
    assert principal.ledgers == frozenset({"main"})
    await refused(token(KEY), "names no client", **names)


async def test_no_two_subjects_share_a_name() -> None:
    subjects = ["alice", "Alice", "alice2", "admin", "oidc:alice", "é", "alice bob", "x" * 123]
    clients = {(await verified(token(KEY, sub=one))).principal.client for one in subjects}
    assert clients == {f"oidc:{one}" for one in subjects}
    issuer = await issuer_of(KEY)
    assert all(map(issuer.owns, clients))
    assert not any(map(issuer.owns, ["admin", "payroll", "oidc", "OIDC:alice"]))
