"""Bytes at whatever reads bytes of others: it answers, or raises what it is known to raise. No other exception comes,
no hang, and no more memory is taken than the input is worth.
"""

import tracemalloc
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli.records import RefusedLine
from tests.fuzz.callers import caller_targets
from tests.fuzz.drawing import Target, changed, fuzzed
from tests.fuzz.files import file_targets
from tests.fuzz.proofs import proof_targets
from tests.fuzz.requests import (
    body_targets,
    cursor_targets,
    head_targets,
    make_app,
    path_targets,
    query_targets,
)

_APP = make_app()
TARGETS = [
    *body_targets(),
    *head_targets(),
    *query_targets(_APP),
    *cursor_targets(_APP),
    *path_targets(_APP),
    *caller_targets(),
    *proof_targets(),
    *file_targets(),
]
REPEATED = (b"[", b'{"a":', b'"', b"\\", b",", b"\n", b"9", b"A", b"%", b"\xff")
BYTES_A_BYTE_MAX = 64
"""How much memory a byte of input may take while it is read."""
BESIDE_BYTES_MAX = 4 * 2**20
"""How much may be taken once, by caches that fill and messages that are made."""

every_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@every_target
def test_samples_are_right(target: Target) -> None:
    """At least one of them is taken: otherwise little of what reads would be reached."""
    taken = 0
    for sample in target.samples:
        try:
            target.read(sample)
        except target.told:
            continue
        taken += 1
    assert taken


@every_target
def test_changed_bytes_are_taken_or_refused(target: Target) -> None:
    @fuzzed()
    @given(data=changed(target.samples, target.tokens) | st.binary(max_size=64))
    def read(data: bytes) -> None:
        _read(target, data)

    read()


def test_a_member_that_is_no_object_of_others_is_told_in_words() -> None:
    """Found by changed bytes: metadata of Formance, whose values are not ours to check."""
    formance = next(target for target in TARGETS if target.name == "Formance")
    [refused] = cast("list[RefusedLine]", formance.read(b'{"id":7,"timestamp":"t","postings":[],"metadata":"x"}'))
    assert refused.reason == "metadata: this must be an object; it was a text"


@every_target
def test_what_is_large_takes_memory_by_its_size(target: Target) -> None:
    whole = target.samples[0]
    for piece in (*REPEATED, *target.tokens[:2], whole):
        data = piece * (target.bytes_max // len(piece))
        for large in (data, whole[: len(whole) // 2] + data + whole[len(whole) // 2 :]):
            tracemalloc.start()
            try:
                _read(target, large)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < BYTES_A_BYTE_MAX * len(large) + BESIDE_BYTES_MAX, f"{target.name}: {peak} for {piece[:40]!r}"


def _read(target: Target, data: bytes) -> None:
    """Have ``data`` read. Raises any exception that is not known; those that are say something in UTF-8."""
    try:
        target.read(data)
    except target.told as error:
        str(error).encode()
