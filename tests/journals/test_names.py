"""Names of accounts in files: one each, and texts that can be read back."""

import re
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.journals import beancount
from service.journals.names import account_name, percent_encoded

UNSAFE = re.compile(r"[;|]|^ | $")
ID = UUID(int=17)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
TRICKY = st.text(st.sampled_from("aAxX-:2Dé0 %|"))


@given(TEXTS)
def test_percent_encoding_is_read_back_and_stays_on_a_line(text: str) -> None:
    encoded = percent_encoded(text, UNSAFE)
    assert unquote(encoded) == text
    assert encoded.isprintable()
    assert not UNSAFE.search(encoded)


@pytest.mark.parametrize(
    ("reference", "name"),
    [("cash:eur", "cash:eur"), (None, f"id:{ID}"), ("id:17", "%69d:17"), ("%69d:17", "%2569d:17"), ("a|b", "a%7Cb")],
)
def test_a_name_is_a_reference_or_an_identifier(reference: str | None, name: str) -> None:
    assert account_name(reference, ID, UNSAFE) == name


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("cash", "Liabilities:Cash"),
        ("Cash", "Liabilities:Cash-x"),
        ("cash:eur", "Liabilities:Cash:Eur"),
        ("1000:customer-17", "Liabilities:1000:Customer-17"),
        ("a-x", "Liabilities:A-x2Dx"),
        ("a-", "Liabilities:A-x2D"),
        ("é", "Liabilities:X-x--xC3-xA9"),
        (":", "Liabilities:X-x-:X-x-"),
        (None, f"Liabilities:Account-xid-{ID}"),
    ],
)
def test_names_of_beancount(reference: str | None, name: str) -> None:
    assert beancount.account_name(reference, ID, "credit") == name


@given(TEXTS | TRICKY, TEXTS | TRICKY)
def test_no_two_references_have_the_same_name_in_beancount(one: str, other: str) -> None:
    first, second = (beancount.account_name(reference, ID, "debit") for reference in (one, other))
    assert (first == second) == (one == other)
    assert re.fullmatch(r"Assets(:[A-Z0-9][A-Za-z0-9-]*)+", first)
    assert first != beancount.account_name(None, ID, "debit")
