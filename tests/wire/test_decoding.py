"""JSON decoded strictly: every member said once, every fault told with its place."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.wire.accounts import AccountPatch, AccountRequest
from service.wire.batches import BatchItem
from service.wire.decoding import count_texts, decode, said_twice, says_once, texts_min
from service.wire.errors import MalformedError
from service.wire.holds import CaptureRequest, HoldRequest
from service.wire.ledgers import LedgerRequest
from service.wire.transfers import TransferRequest

# Texts that are taken apart wrongly when quotation marks and backslashes are counted wrongly.
TEXTS = st.text('"\\ab:,{}[]ü\U0001f3e6\n', max_size=4)
NAMES = st.sampled_from(["a", "b", '"', "\\", "\\\\", '\\"', ":", "", "ü", "a\\", '"a']) | TEXTS


class RepeatedError(Exception):
    """Raised by the reference for an object with a repeated member."""


def _written(value: object) -> st.SearchStrategy[str]:
    """Every way to write a text is taken: plainly, with short escapes, with every character escaped."""
    text = json.dumps(value)
    escaped = "".join(f"\\u{group:04x}" for group in _groups(str(value)))
    return st.sampled_from([text, json.dumps(value, ensure_ascii=False), f'"{escaped}"'])


def _groups(text: str) -> list[int]:
    encoded = text.encode("utf-16-be")
    return [int.from_bytes(encoded[place : place + 2]) for place in range(0, len(encoded), 2)]


def _object(pairs: Sequence[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{name} : {value}" for name, value in pairs) + "}"


JSON_TEXTS = st.recursive(
    st.sampled_from(["1", "null", "true", "-0.5e3", '""']) | TEXTS.flatmap(_written),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: "[" + ", ".join(values) + "]")
        | st.lists(st.tuples(NAMES.flatmap(_written), inner), max_size=4).map(_object)
    ),
    max_leaves=8,
)


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise RepeatedError
    return dict(pairs)


def _says_once_by_reference(body: bytes) -> bool:
    try:
        json.loads(body, object_pairs_hook=_refuse_repeated)
    except RepeatedError:
        return False
    return True


@given(JSON_TEXTS)
@example(r'{"a": "\"", "a": "\\"}')
@example(r'{"a": "\\\"", "\u0061": "\"\""}')
@example('{"": {"": 1, "": 2}}')
def test_counting_texts_finds_exactly_what_looking_at_every_pair_finds(text: str) -> None:
    body = text.encode()
    assert says_once(body) == _says_once_by_reference(body)
    if not says_once(body):
        assert said_twice(body).pointer.startswith("/")


ACCOUNT_ID = "0193a6b2-7c1d-7e4f-8a9b-0c1d2e3f4a5b"
SHORTEST = {"debit_account_id": ACCOUNT_ID, "credit_account_id": ACCOUNT_ID, "amount": 1, "currency": "USD"}


@pytest.mark.parametrize(
    ("kind", "shortest", "another_text"),
    [
        (TransferRequest, SHORTEST, {"reference": "r"}),
        (TransferRequest, SHORTEST, {"amount": {"at_most": 1}}),
        (HoldRequest, SHORTEST, {"expires_in_seconds": 60}),
        (BatchItem, SHORTEST | {"idempotency_key": "k"}, {"hold": {}}),
        (AccountRequest, {"currency": "USD"}, {"metadata": {"k": "v"}}),
        (LedgerRequest, {"name": "main"}, {"description": None}),
        (CaptureRequest, {}, {"final": True}),
        (AccountPatch, {}, {"name": None}),
    ],
)
def test_a_body_of_the_fewest_texts_is_the_shortest_there_is(
    kind: Any, shortest: dict[str, Any], another_text: dict[str, Any]
) -> None:
    """What has no more texts than its type needs cannot say anything twice, so nobody looks."""
    for body, more in ((shortest, 0), (shortest | another_text, 1)):
        content = json.dumps(body).encode()
        msgspec.json.decode(content, type=kind)
        assert count_texts(content) >= 2 * (texts_min(kind) + more)
    assert count_texts(json.dumps(shortest).encode()) == 2 * texts_min(kind)


BODIES = [
    ('{"a": 1, "b": 2, "a": 1}', "/a"),
    (r'{"amount": 1, "\u0061mount": 500}', "/amount"),
    (r'{"x": {"y": [{}, {"n/~": null, "n\/~": null}]}}', "/x/y/1/n~1~0"),
    ('{"m": {"k": "", "k": ""}, "m": {}}', "/m"),
]


@pytest.mark.parametrize(("text", "pointer"), BODIES)
def test_the_fault_points_at_the_outermost(text: str, pointer: str) -> None:
    assert not says_once(text.encode())
    fault = said_twice(text.encode(), pointer="/at")
    assert fault.pointer == f"/at{pointer}"
    assert isinstance(fault, MalformedError)


@pytest.mark.parametrize(
    ("body", "pointer", "reason"),
    [
        ({"currency": "usd"}, "/currency", 'this must be a currency of ISO 4217, three capital letters, such as "USD"'),
        ({"currency": "USD", "name": " "}, "/name", "it is blank"),
        ({"currency": "USD", "metadata": {"a ": ""}}, "/metadata", 'the name "a ": white space at the ends'),
        ({"currency": "USD", "surname": "x"}, "/surname", "there is no such member here"),
        ({}, "", 'the member "currency" is missing'),
    ],
)
def test_decoding_says_where_it_stopped_and_why(body: dict[str, Any], pointer: str, reason: str) -> None:
    with pytest.raises(MalformedError) as caught:
        decode(msgspec.json.Decoder(AccountRequest), json.dumps(body).encode(), pointer="/accounts/3")
    assert caught.value.pointer == f"/accounts/3{pointer}"
    assert caught.value.reason.startswith(reason)


def test_what_the_type_has_no_place_for_must_be_text_too() -> None:
    """It is skipped unread, and read when members are counted."""

    class Known(msgspec.Struct):
        known: str | None = None

    with pytest.raises(MalformedError, match="not valid JSON"):
        decode(msgspec.json.Decoder(Known), b'{"known": "a", "\x88other": "b"}')
