"""Entries of other ledgers: postings to any number of accounts, which become transfers between two accounts each."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from service.domain.fingerprints import fingerprint
from service.errors import EntryError
from service.journals.amounts import decimal_text, exponent_of

POSTINGS_MAX = 1_000
"""The most postings that an entry may have: all of it is applied together."""


class Posting(Struct, frozen=True):
    """What an entry does to an account: a debit of ``amount`` minor units, or a credit where that is less than 0."""

    account: str
    amount: int
    currency: str


class Pair(Struct, frozen=True):
    """A transfer between the accounts that have these references."""

    debit: str
    credit: str
    amount: int
    currency: str


class Entry(Struct, frozen=True, kw_only=True):
    """An entry of a file, on ``line``: transfers that apply together or not at all.

    ``number`` is what the source calls it, if that is what it will be called the next time, too. A value date of None
    is now.
    """

    line: int
    number: str | None
    effective_at: datetime | None
    reference: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}
    pairs: Sequence[Pair]

    def content(self) -> bytes:
        """Return a digest that is equal for entries that say the same, wherever they stand."""
        pairs = [(pair.debit, pair.credit, pair.amount, pair.currency) for pair in self.pairs]
        return fingerprint("entry", self.effective_at, self.reference, self.description, self.metadata, pairs)


def pairs_of(postings: Iterable[Posting]) -> list[Pair]:
    """Return the transfers that do to each account what ``postings`` do together. The same postings always become the
    same transfers, one fewer for each currency than it has accounts at most.

    Currency by currency, in the order in which each is first posted to: what an account gets and gives is added up, at
    the place of its first posting. Then the first account that is still to be debited and the first one that is still
    to be credited make a transfer of the smaller of the two amounts, until nothing is left.

    Raises EntryError, which says what is missing, when the debits of a currency are not equal to its credits.
    """
    nets: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for posting in postings:
        nets[posting.currency][posting.account] += posting.amount
    missing = {currency: -sum(net.values()) for currency, net in nets.items()}
    if any(missing.values()):
        raise EntryError(_unbalanced(missing))
    pairs = [pair for currency, net in nets.items() for pair in _pairs_in(currency, net)]
    if not pairs:
        raise EntryError("nothing moves: what each account gets and gives is the same")
    return pairs


def _pairs_in(currency: str, net: dict[str, int]) -> list[Pair]:
    debits = deque((account, amount) for account, amount in net.items() if amount > 0)
    credits_ = deque((account, -amount) for account, amount in net.items() if amount < 0)
    pairs: list[Pair] = []
    while debits:
        (debit, owed), (credit, due) = debits.popleft(), credits_.popleft()
        amount = min(owed, due)
        pairs.append(Pair(debit, credit, amount, currency))
        if owed > amount:
            debits.appendleft((debit, owed - amount))
        if due > amount:
            credits_.appendleft((credit, due - amount))
    return pairs


def _unbalanced(missing: dict[str, int]) -> str:
    wanted = [
        f"a {'debit' if amount > 0 else 'credit'} of {decimal_text(abs(amount), exponent_of(currency))} {currency}"
        for currency, amount in missing.items()
        if amount
    ]
    return f"the entry does not balance: {' and '.join(wanted)} {'is' if len(wanted) == 1 else 'are'} missing"
