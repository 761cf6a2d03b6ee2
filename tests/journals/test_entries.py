"""Entries become transfers that do to each account what their postings did together."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import EntryError
from service.journals.entries import Entry, Pair, Posting, pairs_of

ACCOUNTS, CURRENCIES = "abcde", ("USD", "JPY", "KWD")
POSTINGS = st.lists(
    st.builds(Posting, st.sampled_from(ACCOUNTS), st.integers(-50, 50), st.sampled_from(CURRENCIES)), max_size=12
)


def effects(postings: list[Posting]) -> Counter[tuple[str, str]]:
    sums: Counter[tuple[str, str]] = Counter()
    for posting in postings:
        sums[posting.account, posting.currency] += posting.amount
    return Counter({key: amount for key, amount in sums.items() if amount})


def balanced(postings: list[Posting]) -> list[Posting]:
    """``postings``, and one more of each currency that is not balanced."""
    missing: Counter[str] = Counter()
    for posting in postings:
        missing[posting.currency] -= posting.amount
    return [*postings, *(Posting("f", amount, currency) for currency, amount in missing.items())]


@given(POSTINGS)
def test_transfers_do_what_the_postings_do(postings: list[Posting]) -> None:
    postings = balanced(postings)
    wanted = effects(postings)
    if not wanted:
        with pytest.raises(EntryError, match="nothing moves"):
            pairs_of(postings)
        return
    pairs = pairs_of(postings)
    made = [Posting(pair.debit, pair.amount, pair.currency) for pair in pairs]
    made += [Posting(pair.credit, -pair.amount, pair.currency) for pair in pairs]
    assert effects(made) == wanted
    assert all(pair.amount > 0 and pair.debit != pair.credit for pair in pairs)
    for currency in CURRENCIES:
        accounts = sum(key[1] == currency for key in wanted)
        assert sum(pair.currency == currency for pair in pairs) <= max(0, accounts - 1)


def test_the_split_is_this_one_for_ever() -> None:
    """Keys of what was imported depend on it."""
    postings = [
        Posting("food", 1000, "EUR"),
        Posting("bank", -2500, "EUR"),
        Posting("yen", 7, "JPY"),
        Posting("rent", 2050, "EUR"),
        Posting("card", -550, "EUR"),
        Posting("till", -7, "JPY"),
        Posting("food", 1, "EUR"),
        Posting("card", -1, "EUR"),
        Posting("in and out", 5, "EUR"),
        Posting("in and out", -5, "EUR"),
    ]
    pairs = pairs_of(postings)
    assert pairs == [
        Pair("food", "bank", 1001, "EUR"),
        Pair("rent", "bank", 1499, "EUR"),
        Pair("rent", "card", 551, "EUR"),
        Pair("yen", "till", 7, "JPY"),
    ]
    entry = Entry(line=1, number=None, effective_at=None, description="split", pairs=pairs)
    assert entry.content().hex() == "794ca1cff0cd42d76f57e4b3ec333b67"


@pytest.mark.parametrize(
    ("amounts", "reason"),
    [
        ([("a", 100, "USD"), ("b", -90, "USD")], "a credit of 0.10 USD is missing"),
        ([("a", -5, "JPY")], "a debit of 5 JPY is missing"),
        (
            [("a", 100, "USD"), ("b", -90, "EUR")],
            "a credit of 1.00 USD and a debit of 0.90 EUR are missing",
        ),
    ],
)
def test_what_is_missing_is_told(amounts: list[tuple[str, int, str]], reason: str) -> None:
    with pytest.raises(EntryError, match=f"^the entry does not balance: {reason}$"):
        pairs_of([Posting(*one) for one in amounts])
