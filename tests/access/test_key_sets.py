"""The keys of an issuer: which are taken, when they are read again, and what becomes of those who wait."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.access import key_sets
from service.access.key_sets import KEYS_MAX, REREAD_SECONDS_MIN, SET_BYTES_MAX, KeySet, reader_of, usable_keys
from service.errors import KeySetError, KeysMissingError, UnauthenticatedError
from service.settings import OIDC_ALGORITHMS
from tests.support.issuer import SigningKey, key_set, rsa_key

FIRST, SECOND = SigningKey("first"), SigningKey("second")
NEVER = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Published:
    """What an issuer publishes, or how it fails; who reads it waits until it is ``open``."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = keys
        self.fault: Exception | None = None
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self) -> bytes:
        self.reads += 1
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return key_set(self.keys)


@asynccontextmanager
async def reading(keys: KeySet) -> AsyncIterator[None]:
    """Has the keys read as a worker does."""

    async def work() -> None:
        while True:
            await keys.work()

    task = asyncio.create_task(work())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def keys_of(published: Published, clock: Clock, interval_seconds: float = NEVER) -> KeySet:
    return KeySet(published.fetch, OIDC_ALGORITHMS, interval_seconds=interval_seconds, clock=clock)


async def test_a_new_key_is_found_when_a_token_names_it() -> None:
    clock, published = Clock(), Published(FIRST)
    keys = keys_of(published, clock)
    async with reading(keys):
        await keys.find("first", "ES256")
        published.keys = (FIRST, SECOND)
        clock.now += REREAD_SECONDS_MIN
        found = await asyncio.gather(*(keys.find("second", "ES256") for _ in range(100)))
        assert len(found) == 100
        assert published.reads == 2  # one reading for all
        published.keys = (SECOND,)
        clock.now += REREAD_SECONDS_MIN
        with pytest.raises(UnauthenticatedError, match="is not known"):
            await keys.find("third", "ES256")
        with pytest.raises(UnauthenticatedError, match="is not known"):
            await keys.find("first", "ES256")  # taken back


async def test_unknown_keys_cause_no_more_than_one_reading_in_a_time() -> None:
    clock, published = Clock(), Published(FIRST)
    keys = keys_of(published, clock)
    async with reading(keys):
        await keys.find("first", "ES256")
        for number in range(50):
            with pytest.raises(UnauthenticatedError):
                await keys.find(f"unknown {number}", "ES256")
        assert published.reads == 1
        clock.now += REREAD_SECONDS_MIN
        for number in range(50):
            with pytest.raises(UnauthenticatedError):
                await keys.find(f"unknown {number}", "ES256")
        assert published.reads == 2
        with pytest.raises(UnauthenticatedError, match="is not for its algorithm"):
            await keys.find("first", "ES384")
        clock.now += REREAD_SECONDS_MIN
        with pytest.raises(UnauthenticatedError, match="is not for its algorithm"):
            await keys.find("first", "ES384")
        assert published.reads == 2  # the key is known


async def test_a_failure_keeps_what_was_read() -> None:
    clock, published = Clock(), Published(FIRST)
    keys = keys_of(published, clock)
    await keys.work()
    first = await keys.find("first", "ES256")
    published.keys, published.fault = (), KeySetError("away")
    clock.now += NEVER
    await keys.work()
    found = await keys.find("first", "ES256")
    assert found is first
    assert keys.age_seconds == NEVER
    published.fault = None
    clock.now += REREAD_SECONDS_MIN
    await keys.work()  # an answer without keys is an answer
    assert (keys.count, keys.age_seconds) == (0, 0)
    with pytest.raises(KeysMissingError):
        await keys.find("first", "ES256")


@pytest.mark.parametrize("document", [b"", b"{}", b"[]", b'{"keys": {}}', b'{"keys": [', b"\xff", b'{"keys": "x"}'])
async def test_what_is_no_key_set_changes_nothing(document: bytes) -> None:
    clock, answers = Clock(), iter([key_set([FIRST]), document])

    async def fetch() -> bytes:
        return next(answers)

    keys = KeySet(fetch, OIDC_ALGORITHMS, interval_seconds=NEVER, clock=clock)
    await keys.work()
    clock.now += NEVER
    await keys.work()
    assert keys.count == 1
    with pytest.raises(KeySetError, match="it is no JSON object with a list of keys"):
        usable_keys(document, OIDC_ALGORITHMS)


async def test_without_keys_it_is_tried_again_soon() -> None:
    clock, published = Clock(), Published(FIRST)
    published.fault = KeySetError("away")
    keys = keys_of(published, clock)
    await keys.work()
    with pytest.raises(KeysMissingError):
        await keys.find("first", "ES256")
    published.fault = None
    clock.now += REREAD_SECONDS_MIN
    async with reading(keys):
        await keys.find("first", "ES256")
    assert published.reads == 2


async def test_a_request_waits_for_the_first_reading_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    published = Published(FIRST)
    published.open.clear()
    keys = keys_of(published, Clock())
    async with reading(keys):
        waiting = asyncio.create_task(keys.find("first", "ES256"))
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
        monkeypatch.setattr(key_sets, "WAIT_SECONDS_MAX", 0.01)
        with pytest.raises(KeysMissingError):
            await keys.find("first", "ES256")
        published.open.set()
        await waiting
    assert published.reads == 1


async def test_keys_are_read_again_after_a_time() -> None:
    published, clock = Published(FIRST), Clock()
    keys = keys_of(published, clock, interval_seconds=60)
    await keys.work()
    clock.now += 60
    published.keys = (SECOND,)
    await keys.work()
    await keys.find("second", "ES256")


async def test_a_file(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    keys = KeySet(reader_of(path), OIDC_ALGORITHMS, interval_seconds=5, clock=clock)
    with pytest.raises(KeySetError, match="is not there"):
        await reader_of(path)()
    for written, found in ((FIRST, "first"), (SECOND, "second")):
        path.write_bytes(key_set([written]))
        clock.now += REREAD_SECONDS_MIN
        await keys.work()
        await keys.find(found, "ES256")
    path.write_bytes(b" " * (SET_BYTES_MAX + 1))
    clock.now += REREAD_SECONDS_MIN
    with pytest.raises(KeySetError, match=f"more than {SET_BYTES_MAX} bytes"):
        await reader_of(path)()
    await keys.work()
    await keys.find("second", "ES256")


@pytest.mark.parametrize("path", [Path("/"), Path("/dev/zero"), Path("x" * 5000)])
async def test_a_file_that_is_none(path: Path) -> None:
    with pytest.raises(KeySetError, match=r"^the file of the issuer's keys"):
        await reader_of(path)()


def _without(key: SigningKey, *names: str) -> dict[str, Any]:
    return {name: value for name, value in key.public().items() if name not in names}


RSA = SigningKey("rsa", "RS256")
SHORT = SigningKey("short", "RS256", rsa_key("short", 1024))
UNUSABLE = [
    FIRST.public(use="enc"),
    FIRST.public(use=""),
    FIRST.public(key_ops=["encrypt"]),
    FIRST.public(key_ops=[]),
    FIRST.public(alg="ECDH-ES"),
    FIRST.public(alg="RS256"),
    FIRST.public(alg="none"),
    FIRST.public(crv="P-384"),
    FIRST.public(crv="secp256k1"),
    FIRST.public(kty="RSA"),
    FIRST.public(kty="oct", k="c2VjcmV0"),
    FIRST.public(kty="AKP"),
    FIRST.public(d="AA"),
    FIRST.public(x="AA"),
    FIRST.public(x="!"),
    FIRST.public(y=FIRST.public()["x"]),
    FIRST.public(kid=1),
    _without(FIRST, "kid"),
    _without(FIRST, "kty"),
    _without(FIRST, "x"),
    _without(RSA, "n"),
    _without(RSA, "e"),
    RSA.public(n="!"),
    SHORT.public(),
    RSA.public(n=RSA.public()["n"] * 3),
    SigningKey("ed", "EdDSA").public(crv="X25519", alg=None),
    {},
]


@pytest.mark.parametrize("unusable", UNUSABLE, ids=range(len(UNUSABLE)))
def test_a_key_that_cannot_be_used_is_left_out(unusable: dict[str, Any]) -> None:
    others = [json.loads(key_set([SECOND]))["keys"][0], None, 1, "key", []]
    document = json.dumps({"keys": [unusable, *others], "more": 1}).encode()
    assert set(usable_keys(document, OIDC_ALGORITHMS)) == {("second", "ES256")}


def test_only_algorithms_that_are_allowed() -> None:
    document = key_set([FIRST, RSA, SigningKey("ed", "EdDSA")])
    assert set(usable_keys(document, {"EdDSA", "ES384"})) == {("ed", "EdDSA")}


def test_the_first_of_two_keys_with_one_id_counts() -> None:
    other = SigningKey("first")
    [key] = usable_keys(key_set([FIRST, other]), OIDC_ALGORITHMS).values()
    assert key.as_dict()["x"] == FIRST.public()["x"]


def test_there_are_not_too_many() -> None:
    assert len(usable_keys(key_set([FIRST] * KEYS_MAX), OIDC_ALGORITHMS)) == 1
    with pytest.raises(KeySetError, match=f"more than {KEYS_MAX} keys"):
        usable_keys(key_set([FIRST] * (KEYS_MAX + 1)), OIDC_ALGORITHMS)
