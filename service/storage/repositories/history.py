"""The history of a ledger: its entries in order, as documents that never change, and what adds the entries that have
no other row.

A document is a CloudEvents 1.0 object in canonical JSON (``service/docs/history.md`` documents it byte by byte).
PostgreSQL writes it, so that the feed, the log and its receipts have the same bytes, and reading costs Python nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, get_args
from uuid import UUID

import msgspec
from sqlalchemy import Integer, Select, Text, TextClause, bindparam, select, text
from sqlalchemy.dialects.postgresql import UUID as PGUUID

from service.domain.history import NOT_APPLIED, HistoryEntry
from service.domain.periods import LEDGER_ITSELF, Closing
from service.storage.database import Session
from service.storage.group_commit.binary_copy import HISTORY_COLUMNS, copy, encode_history
from service.storage.group_commit.pipeline import driver_of
from service.storage.lists import LIMIT, ListOrder, Slices, behind, only, ordered, slices
from service.storage.rows import SCHEMA, HistoryRow

ALL = UUID(int=0)
"""Before every entry."""
_ALL_FALLING = UUID(int=2**128 - 1)


class Document(NamedTuple):
    """An entry's identifier, and its canonical JSON."""

    id: UUID
    text: str


class HistoryRepository:
    """Reads and adds entries on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def entries(self, ledger_id: int, source: str, *, after: UUID = ALL, limit: int) -> Sequence[Document]:
        """Return the next ``limit`` entries of the ledger after the entry ``after``, oldest first. ``source`` is what
        their documents say where they happened.

        Entries rise in the order of commits (``heads``): nothing ever appears before an entry that was read.
        """
        parameters = {"ledger_id": ledger_id, "source": source, "after": after, "limit": limit}
        return [Document(*row) for row in await self._session.execute(_ENTRIES, parameters)]

    async def leaves(
        self, ledger_id: int, source: str, *, after: UUID = ALL, limit: int
    ) -> tuple[list[UUID], list[bytes]]:
        """Return the identifiers of what ``entries`` returns, and their hashes as leaves of the log (RFC 9162), which
        PostgreSQL makes: only they leave it.
        """
        parameters = {"ledger_id": ledger_id, "source": source, "after": after, "limit": limit}
        rows = (await self._session.execute(_LEAVES, parameters)).all()
        return [row[0] for row in rows], [row[1] for row in rows]

    async def page_of_subject(
        self, ledger_id: int, source: str, *, subject_id: UUID, order: ListOrder, after: UUID | None, limit: int
    ) -> Slices[Document]:
        """Yield, in slices, up to ``limit`` entries about ``subject_id`` in ``order``, after the entry ``after``: those
        of ``history``. How a transfer was posted and a hold opened is told by their own rows.
        """
        parameters = {
            "ledger_id": ledger_id,
            "source": source,
            "subject_id": subject_id,
            "after": after or (ALL if order == "asc" else _ALL_FALLING),
            "limit": limit,
        }
        async for rows in slices(self._session, _OF_SUBJECT[order], parameters):
            yield [Document(*row) for row in rows]

    async def of_tokens(self, source: str, *, after: UUID = ALL, limit: int) -> Sequence[Document]:
        """Return the next ``limit`` entries of tokens after the entry ``after``, oldest first. They stand under id 0,
        which belongs to no ledger, and among them the ledgers', which are skipped.
        """
        parameters = {"ledger_id": 0, "source": source, "after": after, "limit": limit}
        return [Document(*row) for row in await self._session.execute(_OF_TOKENS, parameters)]

    async def closings(self, ledger_id: int, *, order: ListOrder, after: UUID | None, limit: int) -> Slices[Closing]:
        """Yield, in slices, up to ``limit`` closings of the ledger in ``order``, after the one called ``after``: the
        first one of a list that falls is in force.
        """
        parameters = {
            "ledger_id": ledger_id,
            "subject_id": LEDGER_ITSELF,
            "after": after or (ALL if order == "asc" else _ALL_FALLING),
            "limit": limit,
        }
        async for rows in slices(self._session, _CLOSINGS[order], parameters):
            yield [_closing(*row) for row in rows]

    async def page(
        self, ledger_id: int, source: str, *, after: UUID, limit: int, not_applied_of: str | None = None
    ) -> Slices[Document]:
        """Yield, in slices, what ``entries`` returns; of requests that were not applied, only those of the client
        ``not_applied_of``, if that is given: in the place of another client's stands a document that says where it is
        and has its hash as a leaf of the log, and nothing else of it.
        """
        parameters = {"ledger_id": ledger_id, "source": source, "after": after, "limit": limit}
        query = _ENTRIES
        if not_applied_of is not None:
            query = _ENTRIES_WITHHELD
            parameters["not_applied_of"] = not_applied_of
        async for rows in slices(self._session, query, parameters):
            yield [Document(*row) for row in rows]

    async def add(self, entries: Iterable[HistoryEntry]) -> None:
        """Add ``entries``. The transaction has begun: whoever adds to a ledger's history holds its head."""
        rows = b"".join(map(encode_history, entries))
        if rows:
            await copy(await driver_of(await self._session.connection()), "history", HISTORY_COLUMNS, rows)


def _time(column: str) -> str:
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


_METADATA = """
    CASE
        WHEN fact.metadata = '{}' THEN '{}'::json
        ELSE ('{' || (
            SELECT string_agg(to_json(key)::text || '\\:' || to_json(value)::text, ',' ORDER BY key COLLATE "C")
            FROM jsonb_each_text(fact.metadata)
        ) || '}')::json
    END"""

# The members of each object in the order of their names. row_to_json writes no white space.
_TRANSFER = f"""
    SELECT fact.amount, fact.credit_account_id, fact.credit_account_version, fact.credit_balance_after, fact.currency,
           fact.debit_account_id, fact.debit_account_version, fact.debit_balance_after, fact.description,
           {_time("fact.effective_at")} AS effective_at, fact.group_id, fact.hold_id, {_METADATA} AS metadata,
           fact.reference"""

# What is there of a transfer never changes: a member that came later is in entries that have it, and in no others.
_TRANSFER_DATA = f"""
    CASE
        WHEN fact.requested_effective_at IS NULL
        THEN (SELECT row_to_json(data) FROM ({_TRANSFER}, fact.reverses_id) AS data)
        ELSE (
            SELECT row_to_json(data)
            FROM (
                {_TRANSFER}, {_time("fact.requested_effective_at")} AS requested_effective_at, fact.reverses_id
            ) AS data
        )
    END"""  # noqa: S608 - names are this module's own

_HOLD = f"""
    SELECT fact.amount, fact.credit_account_id, fact.credit_account_version, fact.currency, fact.debit_account_id,
           fact.debit_account_version, fact.description, {_time("fact.expires_at")} AS expires_at, fact.group_id,
           {_METADATA} AS metadata, fact.reference"""


def _document(entry_type: str, data: str, subject: str = "id") -> str:
    return f"""(
            SELECT row_to_json(entry)
            FROM (
                SELECT fact.client_id AS client, {data} AS data, fact.id, fact.idempotency_key AS idempotencykey,
                       fact.request_id AS requestid, :source AS source, '1.0' AS specversion, fact.{subject} AS subject,
                       {_time("fact.created_at")} AS time, {entry_type} AS type
            ) AS entry
        )::text"""  # noqa: S608


def _leaf(document: str) -> str:
    return f"sha256('\\x00'::bytea || convert_to({document}, 'UTF8'))"


def _entries(table: str, document: str, *, condition: str = "fact.id > :after", order: ListOrder = "asc") -> str:
    return f"""(
        SELECT fact.id, {document} AS document
        FROM {SCHEMA}.{table} AS fact
        WHERE fact.ledger_id = :ledger_id AND {condition}
        ORDER BY fact.id {order}
        LIMIT :limit
    )"""  # noqa: S608


_OTHER = _document("'funds.' || fact.type", "fact.data", "subject_id")

_OTHER_OR_WITHHELD = f"""
    CASE
        WHEN fact.client_id <> :not_applied_of AND fact.type IN ({", ".join(f"'{one}'" for one in NOT_APPLIED)})
        THEN (
            SELECT row_to_json(entry)
            FROM (
                SELECT NULL AS client, (
                           SELECT row_to_json(shown)
                           FROM (SELECT encode({_leaf(_OTHER)}, 'base64') AS leaf_hash) AS shown
                       ) AS data,
                       fact.id, NULL AS idempotencykey, NULL AS requestid, :source AS source, '1.0' AS specversion,
                       NULL AS subject, {_time("fact.created_at")} AS time, 'funds.entry.withheld' AS type
            ) AS entry
        )::text
        ELSE {_OTHER}
    END"""  # noqa: S608


def _other_entries(condition: str = "fact.id > :after", order: ListOrder = "asc") -> str:
    """Return the query for the entries that have no other row."""
    return _entries("history", _OTHER, condition=condition, order=order)


_PARAMETERS = (
    bindparam("ledger_id", type_=Integer),
    bindparam("source", type_=Text),
    bindparam("after", type_=PGUUID(as_uuid=True)),
    bindparam("limit", type_=Integer),
)


def _all(column: str, other: str = _OTHER) -> TextClause:
    """Return the query for ``column`` of all entries, in their order; ``other`` is the document of those that have no
    other row.
    """
    return text(
        f"""
        SELECT id, {column}
        FROM (
            {_entries("transfers", _document("'funds.transfer.posted'", _TRANSFER_DATA))}
            UNION ALL
            {_entries("holds", _document("'funds.hold.opened'", f"(SELECT row_to_json(data) FROM ({_HOLD}) AS data)"))}
            UNION ALL
            {_entries("history", other)}
        ) AS entry
        ORDER BY id
        LIMIT :limit
        """  # noqa: S608
    ).bindparams(*_PARAMETERS)


_ENTRIES = _all("document")
_ENTRIES_WITHHELD = _all("document", _OTHER_OR_WITHHELD).bindparams(bindparam("not_applied_of", type_=Text))
_LEAVES = _all(_leaf("document"))

# As ``lists.only`` has it, lest the planner walk the whole ledger where it expects that a subject is common.
_ABOUT = " AND ".join(f"fact.subject_id {operator} (SELECT :subject_id)" for operator in ("=", ">=", "<="))
_BEHIND: dict[ListOrder, str] = {"asc": "fact.id > :after", "desc": "fact.id < :after"}
_OF_SUBJECT: dict[ListOrder, TextClause] = {
    order: text(_other_entries(f"{_ABOUT} AND {behind}", order)).bindparams(
        *_PARAMETERS, bindparam("subject_id", type_=PGUUID(as_uuid=True))
    )
    for order, behind in _BEHIND.items()
}

_HISTORY = HistoryRow.__table__.c
_CLOSINGS: dict[ListOrder, Select[Any]] = {
    order: select(_HISTORY.id, _HISTORY.client_id, _HISTORY.created_at, _HISTORY.data)
    .where(
        _HISTORY.ledger_id == bindparam("ledger_id", type_=Integer),
        only(_HISTORY.subject_id, bindparam("subject_id", type_=_HISTORY.subject_id.type)),
        behind(_HISTORY.id, bindparam("after", type_=_HISTORY.id.type), order),
    )
    .order_by(ordered(_HISTORY.id, order))
    .limit(LIMIT)
    for order in get_args(ListOrder)
}


def _closing(entry_id: UUID, client_id: str, created_at: datetime, data: dict[str, Any]) -> Closing:
    terms = {"id": entry_id, "client_id": client_id, "created_at": created_at, **data}
    return msgspec.convert(terms, Closing)


_OF_TOKENS = text(_other_entries("fact.type LIKE 'token.%' AND fact.id > :after")).bindparams(*_PARAMETERS)
