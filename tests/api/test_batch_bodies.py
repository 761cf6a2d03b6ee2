"""Bodies of batches are read in parts, and are taken or refused as if they were read as one."""

import asyncio
import json
import random
from typing import Any

import msgspec
import pytest

from service.api.http.batch_bodies import read_batch
from service.wire.batches import BatchRequest
from service.wire.errors import MalformedError
from tests.api.wrong_bodies import TRANSFER

ITEM = msgspec.json.encode(TRANSFER | {"idempotency_key": "key"})
BODIES = [
    b'{"transfers":[' + ITEM + b"]}",
    b'{"mode":"atomic","transfers":[' + ITEM + b"," + ITEM + b"]}",
    b'{ "transfers" : [' + ITEM + b' ] , "mode" : "atomic" }',
    rb'{"tr\u0061nsfers":[' + ITEM + b"]}",
]
WRONG = [
    b"[]",
    b"{}",
    b'{"transfers":[]}',
    b'{"transfers":5}',
    b'{"transfers":"[]"}',
    b'{"transfers":["]"]}',
    b'{"transfers":[' + ITEM + b'],"mode":["atomic"]}',
    b'{"mode":["atomic"],"transfers":[' + ITEM + b"]}",
    b'{"mode":"a[]b","transfers":[' + ITEM + b"]}",
    b'{"of[]ers":[' + ITEM + b"]}",
    b'{"transfers":[' + ITEM + b'],"transfers":[' + ITEM + b"]}",
    rb'{"transfers":[' + ITEM + rb'],"tr\u0061nsfers":[' + ITEM + b"]}",
    b'{"transfers":[' + ITEM + b'],"mode":"atomic","mode":"atomic"}',
    b'{"transfers":[' + ITEM + b"]}]",
    b"[" + ITEM + b"]",
]
PIECES = [b"[", b"]", b"{", b"}", b'"', b",", b":", b"\\", b"1", b" ", b"\xff", b"[]", b'"]"', b'"mode":[],']
CHANGES = 4000


def _as_one(body: bytes) -> BatchRequest | None:
    """Return the batch in ``body`` as msgspec reads it in one, None where it or a member that is said twice forbids."""

    def once(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            raise ValueError

    try:
        request = msgspec.json.decode(body, type=BatchRequest)
        json.loads(body, object_pairs_hook=once)
    except (msgspec.DecodeError, ValueError):
        return None
    return request


def _in_parts(body: bytes) -> BatchRequest | None:
    try:
        return asyncio.run(read_batch(body))
    except MalformedError:
        return None


@pytest.mark.parametrize("body", [*BODIES, *WRONG])
def test_a_body_is_taken_as_if_it_were_read_as_one(body: bytes) -> None:
    assert _in_parts(body) == _as_one(body)
    assert (_in_parts(body) is None) == (body in WRONG)


@pytest.mark.parametrize("body", [*BODIES, *WRONG])
def test_so_is_each_that_is_a_little_different(body: bytes) -> None:
    dice = random.Random(body)
    for _ in range(CHANGES // len(BODIES + WRONG)):
        changed = bytearray(body)
        for _ in range(dice.choice([1, 1, 2])):
            place = dice.randrange(len(changed) + 1)
            changed[place : place + dice.choice([0, 0, 1, 3])] = dice.choice([b"", *PIECES])
        assert _in_parts(bytes(changed)) == _as_one(bytes(changed)), bytes(changed)


@pytest.mark.parametrize("size", [1_000, 100_000], ids=["small", "large"])
@pytest.mark.parametrize(
    ("begin", "end", "pointer"),
    [
        (b'{"mood":1,"transfers":[' + ITEM + b"],", b'"mode":"atomic"}', "/mood"),
        (b'{"mode":["atomic"],"transfers":[' + ITEM + b"],", b'"x":1}', "/mode"),
        (b'{"transfers":[' + ITEM + b",", ITEM + b'],"mode":["atomic"]}', "/mode"),
        (b'{"transfers":[' + ITEM + b",", ITEM + b'],"mood":1}', "/mood"),
        (b'{"transfers":[' + ITEM + b",", ITEM + b'],"transfers":[]}', "/transfers"),
        (b'{"transfers":[' + ITEM + b",", b'5],"mode":"atomic"}', "/transfers/1"),
        (b'{"transfers":[' + ITEM + b",", ITEM + b"],,}", ""),
        (b'{"transfers":[' + ITEM + b",", ITEM + b"}", ""),
    ],
)
def test_the_fault_is_pointed_at(begin: bytes, end: bytes, pointer: str, size: int) -> None:
    with pytest.raises(MalformedError) as raised:
        asyncio.run(read_batch(begin + b" " * size + end))
    assert raised.value.pointer == pointer


def test_little_may_stand_beside_the_list() -> None:
    body = b'{"transfers":[' + ITEM + b"]%b}"
    assert asyncio.run(read_batch(body % (b" " * 60_000))).mode == "independent"
    with pytest.raises(MalformedError, match="more than 65536 bytes stand beside this list"):
        asyncio.run(read_batch(body % (b" " * 70_000)))
