"""What a request is called: as its caller says, where that is well formed; else by its trace, or by a made name."""

import re

import pytest

from service.telemetry.records import RequestRecord
from tests.telemetry.test_trace_context import PARENT, TRACE

TRACEPARENT = f"00-{TRACE}-{PARENT}-01".encode()


def record(*headers: tuple[bytes, bytes]) -> RequestRecord:
    return RequestRecord("GET", [(b"host", b"funds"), *headers])


@pytest.mark.parametrize("given", ["7", "a" * 128, "Order_7.retry-2", "0192e6b2-7c1e-7000-8000-000000000001"])
def test_a_well_formed_id_is_taken(given: str) -> None:
    assert record((b"x-request-id", given.encode())).id == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "a\tb", "ü", 'a"', "<b>", "a/b", "a;b", "\x1b[31m", "a\x00"])
def test_another_one_is_replaced(given: str) -> None:
    made = record((b"x-request-id", given.encode())).id
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert made != record((b"x-request-id", given.encode())).id, "each request has its own"


def test_without_an_id_it_is_that_of_the_trace() -> None:
    assert record((b"traceparent", TRACEPARENT)).id == TRACE
    both = record((b"traceparent", TRACEPARENT), (b"x-request-id", b"mine"))
    assert (both.id, both.trace_id) == ("mine", TRACE)


def test_of_two_none_is_meant() -> None:
    twice = [(b"x-request-id", b"one"), (b"x-request-id", b"two"), (b"traceparent", TRACEPARENT)]
    assert record(*twice).id == TRACE
    assert record(*twice, (b"traceparent", TRACEPARENT)).trace_id is None


def test_other_methods_have_one_name() -> None:
    assert RequestRecord("BREW", []).method == "_OTHER"
