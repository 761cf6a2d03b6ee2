"""Reading entries from JSON lines: objects with a transfer or postings, and transactions as Formance exports them."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from service.cli.entry_values import (
    EntryHead,
    account_of,
    currency_of,
    entry_of,
    entry_with,
    posting_of,
    refused_line,
    transfer_of,
)
from service.cli.layouts import METADATA, Layout
from service.cli.records import RefusedLine, Source, json_lines
from service.errors import EntryError
from service.journals.amounts import scaled
from service.journals.entries import POSTINGS_MAX, Entry, Pair, pairs_of
from service.wire.decoding import decode
from service.wire.errors import MalformedError


class _PostingObject(Struct, forbid_unknown_fields=True, frozen=True):
    account: str
    amount: int | str
    currency: str | None = None


class _EntryObject(EntryHead, kw_only=True, forbid_unknown_fields=True, frozen=True):
    effective_at: str | None = None
    debit_account: str | None = None
    credit_account: str | None = None
    amount: int | str | None = None
    currency: str | None = None
    postings: list[_PostingObject] | None = None


class _FormancePosting(Struct, frozen=True):
    source: str
    destination: str
    amount: int
    asset: str


class _FormanceTransaction(Struct, frozen=True):
    id: int
    postings: list[_FormancePosting]
    timestamp: str
    reference: str | None = None
    metadata: dict[str, Any] = {}


def read_objects(source: Source, layout: Layout, *, formance: bool) -> Iterator[Entry | RefusedLine]:
    """Yield an entry a line, or why there is none."""
    entries, transactions = msgspec.json.Decoder(_EntryObject), msgspec.json.Decoder(_FormanceTransaction)
    for line in json_lines(source):
        if isinstance(line, RefusedLine):
            yield line
            continue
        try:
            if formance:
                yield _formance_entry(line.number, decode(transactions, line.text), layout)
            else:
                yield _object_entry(line.number, decode(entries, line.text), layout)
        except (EntryError, MalformedError) as error:
            yield refused_line(line.number, None, error)


def _object_entry(line: int, said: _EntryObject, layout: Layout) -> Entry:
    if said.postings is None:
        names = ("debit_account", "credit_account", "amount", "currency")
        fields = {name: str(value) for name in names if (value := getattr(said, name)) is not None}
        pairs: Sequence[Pair] = [transfer_of(fields, layout)]
    else:
        if len(said.postings) > POSTINGS_MAX:
            raise EntryError(f"the entry has {len(said.postings)} postings, more than {POSTINGS_MAX}")
        rows = [
            {"account": one.account, "amount": str(one.amount)} | ({"currency": one.currency} if one.currency else {})
            for one in said.postings
        ]
        pairs = pairs_of([posting_of(fields, layout) for fields in rows])
    return entry_with(line, said, said.effective_at, pairs, layout)


def _formance_entry(line: int, said: _FormanceTransaction, layout: Layout) -> Entry:
    """Return the entry of a transaction of Formance, whose postings are transfers: from a source, which is debited, to
    a destination, which is credited. With credit as normal side, accounts have the balances that they have there.
    """
    if len(said.postings) > POSTINGS_MAX:
        raise EntryError(f"the transaction has {len(said.postings)} postings, more than {POSTINGS_MAX}")
    pairs = []
    for posting in said.postings:
        asset, _, places = posting.asset.partition("/")
        currency = currency_of(asset, layout)
        if not places.isascii() or not (places.isdigit() or not places) or len(places) > 2:  # noqa: PLR2004
            raise EntryError(f"asset: {posting.asset!r} is no asset such as USD/2")
        amount = scaled(posting.amount, int(places or 0), currency)
        if amount:
            debit, credit = (account_of(one, currency, layout) for one in (posting.source, posting.destination))
            pairs.append(Pair(debit, credit, amount, currency))
    if not pairs:
        raise EntryError("nothing moves")
    metadata = {name: value if isinstance(value, str) else str(value) for name, value in said.metadata.items()}
    fields = {"number": str(said.id), "effective_at": said.timestamp}
    fields |= {METADATA + name: value for name, value in metadata.items()}
    return entry_of(line, fields | ({"reference": said.reference} if said.reference else {}), pairs, layout)
