"""The queries of lists of transfers: a walk along an index, in its order, and what is sifted on the way."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PGUUID
from sqlalchemy.sql.type_api import TypeEngine

from service.domain.texts import FOLDED
from service.storage.database import Session
from service.storage.group_commit.statements import TRANSFER_COLUMNS
from service.storage.lists import ENTRIES_SCANNED_MAX, LIMIT, ListOrder, merged, only, ordered, sifted
from service.storage.rows import SCHEMA, UUIDS, TransferRow
from service.storage.transfer_filters import Walk

Side = Literal["debit", "credit"]
SIDES: tuple[Side, ...] = ("debit", "credit")

_TRANSFERS = TransferRow.__table__.c
_FACTS = [_TRANSFERS[name] for name in TRANSFER_COLUMNS]
_LEDGER = _TRANSFERS.ledger_id == bindparam("ledger_id", type_=Integer)


@cache
def transfers_page(walk: Walk, order: ListOrder, *, is_sifted: bool) -> Select[Any]:
    """Return the query for a page of transfers along ``walk``, in ``order``: put together once, which takes longer
    (3 ms) than to run it. Of a query that is sifted, ``lists.sifted`` says what its rows are.

    Its parameters are ``limit``, the bounds of the walk and, sifted, those of ``_condition``.
    """
    branches, names = _BRANCHES[walk](order), _NAMES.get(walk, ("id",))
    limit = ENTRIES_SCANNED_MAX if is_sifted else LIMIT
    scan = merged(branches, names, order, limit=limit) if len(branches) > 1 else branches[0].limit(limit)
    if is_sifted:
        return sifted(scan, _condition, order, names)
    page = scan.subquery()
    rows = select(*(page.c[name] for name in TRANSFER_COLUMNS))
    return rows.order_by(*(ordered(page.c[name], order) for name in names))


def _parameter(name: str, column: str) -> ColumnElement[Any]:
    return bindparam(name, type_=_TRANSFERS[column].type)


def _of_value(name: str) -> Callable[[ListOrder], list[Select[Any]]]:
    """Return the walk along the index of those whose column ``name`` has one value, by identifier."""
    return lambda order: [transfers_by_id(order, only(_TRANSFERS[name], _parameter(name, name)))]


def transfers_by_id(
    order: ListOrder, *conditions: ColumnElement[bool], low: str = "low_id", high: str = "high_id"
) -> Select[Any]:
    """Return the transfers that meet ``conditions``, by identifier, from ``low`` to before ``high``."""
    between = (_TRANSFERS.id >= _parameter(low, "id"), _TRANSFERS.id < _parameter(high, "id"))
    return select(*_FACTS).where(_LEDGER, *between, *conditions).order_by(ordered(_TRANSFERS.id, order))


def _dated(order: ListOrder) -> list[Select[Any]]:
    """Return what may have a value date from one recorded before ``first_id`` to one before ``end_id``: what was
    recorded then, and of what was recorded before and after it what is dated apart.
    """
    apart = _TRANSFERS.effective_at != _TRANSFERS.created_at
    return [
        transfers_by_id(order, apart, low="low_id", high="first_id"),
        transfers_by_id(order, low="first_id", high="end_id"),
        transfers_by_id(order, apart, low="end_id", high="high_id"),
    ]


def _of_account(*sides: Side) -> Callable[[ListOrder], list[Select[Any]]]:
    return lambda order: [transfers_of_side(side, order) for side in sides]


def transfers_of_side(side: Side, order: ListOrder) -> Select[Any]:
    """Return the transfers of an account on ``side``, by the account's version."""
    version = _TRANSFERS[f"{side}_account_version"]
    conditions = (
        _TRANSFERS[f"{side}_account_id"] == _parameter("walked_id", "id"),
        version >= bindparam("low_version", type_=BigInteger),
        version < bindparam("high_version", type_=BigInteger),
    )
    return select(*_FACTS, version.label("version")).where(_LEDGER, *conditions).order_by(ordered(version, order))


def _of_prefix(order: ListOrder) -> list[Select[Any]]:
    """Return the transfers whose reference lies between two, by reference and identifier, behind a place between them.
    The column compares texts by their code points: those that begin alike stand together in the index.

    The scan begins at the place, and ends by the other end alone: of two conditions on its beginning, PostgreSQL takes
    the wrong one.
    """
    reference = _TRANSFERS.reference
    place = tuple_(reference, _TRANSFERS.id)
    at = tuple_(_parameter("at_reference", "reference"), _parameter("at_id", "id"))
    conditions = {
        "asc": (place > at, reference < _parameter("end_reference", "reference")),
        "desc": (place < at, reference >= _parameter("first_reference", "reference")),
    }
    by_place = (ordered(reference, order), ordered(_TRANSFERS.id, order))
    return [select(*_FACTS).where(_LEDGER, *conditions[order]).order_by(*by_place)]


_BRANCHES: dict[Walk, Callable[[ListOrder], list[Select[Any]]]] = {
    "all": lambda order: [transfers_by_id(order)],
    "dated": _dated,
    "account": _of_account(*SIDES),
    "debit": _of_account("debit"),
    "credit": _of_account("credit"),
    "hold": _of_value("hold_id"),
    "reversed": _of_value("reverses_id"),
    "reference": _of_value("reference"),
    "prefix": _of_prefix,
}
_NAMES: dict[Walk, tuple[str, ...]] = {
    "account": ("version",),
    "debit": ("version",),
    "credit": ("version",),
    "prefix": ("reference", "id"),
}
"""The columns that a walk is in the order of, where that is not the identifier alone."""

_Matches = Callable[[Any], ColumnElement[bool]]


def _condition(row: Any) -> ColumnElement[bool]:
    """Return the condition that ``row`` passes every filter that is given: of the others, the parameter is null."""
    c = row.c

    def unless_null(name: str, kind: TypeEngine[Any], matches: _Matches) -> ColumnElement[bool]:
        parameter = bindparam(name, type_=kind)
        return or_(parameter.is_(None), matches(parameter))

    def on_either_side(parameter: Any) -> ColumnElement[bool]:
        return or_(c.debit_account_id == parameter, c.credit_account_id == parameter)

    texts = ARRAY(Text)
    words = func.string_to_array(func.translate(c.description, *map(literal, FOLDED)), " ", type_=texts)
    member = func.jsonb_each_text(c.metadata).table_valued("key", "value", name="member")
    members = func.array(select(member.c.key + ":" + member.c.value).scalar_subquery(), type_=texts)
    return and_(
        c.id >= _parameter("low_id", "id"),
        c.id < _parameter("high_id", "id"),
        *(unless_null(name, c[name].type, c[name].__eq__) for name in EQUAL),
        unless_null("account_id", c.id.type, on_either_side),
        unless_null("counterparty_id", c.id.type, on_either_side),
        unless_null("first_reference", c.reference.type, c.reference.__ge__),
        unless_null("end_reference", c.reference.type, c.reference.__lt__),
        unless_null("effective_from", c.effective_at.type, c.effective_at.__ge__),
        unless_null("effective_to", c.effective_at.type, c.effective_at.__lt__),
        unless_null("amount_min", c.amount.type, c.amount.__ge__),
        unless_null("amount_max", c.amount.type, c.amount.__le__),
        unless_null("description_words", texts, words.contains),
        unless_null("metadata", texts, members.contains),
    )


EQUAL = ("debit_account_id", "credit_account_id", "hold_id", "reverses_id", "reference", "currency", "client_id")
"""The columns of which a filter gives the value."""

_LATEST = "coalesce(greatest({}), 0)".format(
    ", ".join(
        f"(SELECT max({side}_account_version) FROM {SCHEMA}.transfers"  # noqa: S608 - names are this module's own
        f" WHERE ledger_id = :ledger_id AND {side}_account_id = :account_id)"
        for side in SIDES
    )
)
LATEST_VERSION = text(f"SELECT {_LATEST}")
"""The version of an account after its latest transfer; 0 where it has none."""


def search_version(account: str, high: str, at: str) -> str:
    """Return the SQL that finds the version of ``account`` from which on its transfers are not older than the
    identifier ``at``; ``high`` lies behind its last version. All three are SQL.

    A binary search along the account's versions, in the statement's indexes. Between low and high lies the version
    asked for; what is looked at is the first transfer from the middle on, for a version may be that of a hold.
    """
    probes = [
        f"""(SELECT {side}_account_version AS version, id
             FROM {SCHEMA}.transfers
             WHERE ledger_id = :ledger_id AND {side}_account_id = {account} AND {side}_account_version >= middle
             ORDER BY {side}_account_version
             LIMIT 1)"""  # noqa: S608 - names are this module's own
        for side in SIDES
    ]
    return f"""
        WITH RECURSIVE search (low, high) AS (
            SELECT 1::bigint, {high}
            UNION ALL
            SELECT CASE WHEN probe.id < {at} THEN probe.version + 1 ELSE search.low END,
                   CASE WHEN probe.id < {at} THEN search.high ELSE middle END
            FROM search
            CROSS JOIN LATERAL (SELECT (search.low + search.high) / 2 AS middle) AS half
            LEFT JOIN LATERAL (
                SELECT version, id
                FROM ({" UNION ALL ".join(probes)}) AS sides
                ORDER BY version
                LIMIT 1
            ) AS probe ON true
            WHERE search.low < search.high
        )
        SELECT low FROM search WHERE low >= high
    """  # noqa: S608


_VERSIONS_AT = text(
    f"""
    SELECT found.version
    FROM unnest(:at) WITH ORDINALITY AS wanted (id, place)
    CROSS JOIN LATERAL ({search_version(":account_id", f"{_LATEST} + 1", "wanted.id")}) AS found (version)
    ORDER BY place
    """  # noqa: S608
).bindparams(
    bindparam("ledger_id", type_=Integer),
    bindparam("account_id", type_=PGUUID(as_uuid=True)),
    bindparam("at", type_=UUIDS),
)


async def versions_at(session: Session, ledger_id: int, account_id: UUID, ids: Sequence[UUID]) -> Sequence[int]:
    """Return the account's versions from which on its transfers are not older than each of ``ids``, in their order."""
    parameters = {"ledger_id": ledger_id, "account_id": account_id, "at": list(ids)}
    return (await session.scalars(_VERSIONS_AT, parameters)).all()
