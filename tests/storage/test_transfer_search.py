"""Lists of transfers by any filters against a search of all rows that is written without the service."""

import json
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations, count
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.identifiers import identifier
from service.domain.texts import words_of
from service.settings import Settings
from service.storage.database import Database
from service.storage.lists import ENTRIES_SCANNED_MAX, ListOrder, ScanEnd
from service.storage.migrations import upgrade
from service.storage.repositories.transfers import TransferRepository
from service.storage.transfer_filters import Position, TransferFilters
from tests.storage.paging import in_either_order
from tests.support.rows import MAIN, add_account, add_ledger
from tests.support.servers import ROLES_SQL, TestDatabase, TestPostgres

SEED = 20261127
COUNT = 3_000
"""More than one page looks through, for the accounts that have half of them, too."""

START = datetime(2026, 3, 1, tzinfo=UTC)
ACCOUNTS = [UUID(int=number) for number in range(1, 8)]
BUSY = ACCOUNTS[:2]
REFERENCES = [
    *("invoice-1", "invoice-10", "invoice-2", "Invoice-1", "invoice 1", "invoice_1", "invoice%", "in", "é", "ë"),
    *("zebra", "Zebra", "a\U0001f3e6b", "a", "a\uff5e", "\U0010fffd", "-", "straße", "strasse", "invoice\\1"),
]
PREFIXES = ["invoice", "invoice-1", "invoice ", "invoice%", "%", "_", "invoice_", "i", "Z", "é", "a", "a\U0001f3e6"]
PREFIXES += ["\U0010fffd", "stra", "straß", "\\", "invoice\\", "nothing"]
DESCRIPTIONS = [
    None,
    "",
    "Rent for May",
    "rent, May (2026)",
    "RENT: parental",
    "d'été 100% off_season",
    "Été",
    "line\nend\tand tab",
    "a\u00a0b “c”—d",
    "back\\slash {brace},comma NULL",
]
DESCRIBED = [
    "rent",
    "may RENT",
    "parental",
    "par",
    "ÉTÉ",
    "été",
    "Été",
    "100%",
    "tab end",
    "c d b",
    "null",
    "slash, back",
]
METADATA = ["{}", '{"channel": "web"}', '{"channel": "web", "shop": "17"}', '{"channel": "Web"}', '{"a:b": "c"}']
METADATA += ['{"a": "b:c", "empty": ""}', '{"quote": "\\"x\\",{y}"}']
MEMBERS = ["channel:web", "channel:Web", "shop:17", "shop:1", "a:b:c", "empty:", 'quote:"x",{y}', "channel:"]
CURRENCIES, CLIENTS = ["USD", "EUR"], ["payroll", "shop", "Shop"]


def at(number: float) -> datetime:
    return START + timedelta(minutes=number)


def made(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Transfers without an order of their own: what a row has, by column."""
    versions = {account_id: count(1) for account_id in ACCOUNTS}
    for number in range(COUNT):
        debit, credit = chance.sample(ACCOUNTS, 2) if chance.random() < 0.3 else chance.sample(BUSY, 2)
        if chance.random() < 0.1:
            next(versions[debit])  # a hold's
        apart = timedelta(minutes=chance.randint(-3_000, 3_000)) if chance.random() < 0.2 else timedelta(0)
        yield {
            "ledger_id": MAIN,
            "id": identifier(at(number), 0, chance.getrandbits(46)),
            "debit_account_id": debit,
            "credit_account_id": credit,
            "amount": chance.choice([1, 2, 3, 1_000, 2**63 - 1]),
            "currency": chance.choice(CURRENCIES),
            "debit_account_version": next(versions[debit]),
            "credit_account_version": next(versions[credit]),
            "debit_balance_after": 0,
            "credit_balance_after": 0,
            "hold_id": chance.choice([None, None, *HOLDS]),
            "reverses_id": chance.choice([None, None, *REVERSED]),
            "reference": chance.choice([None, *REFERENCES]),
            "description": chance.choice(DESCRIPTIONS),
            "metadata": chance.choice(METADATA),
            "effective_at": at(number) + apart,
            "created_at": at(number),
            "client_id": chance.choice(CLIENTS),
            "idempotency_key": f"key {number}",
        }


HOLDS, REVERSED = [UUID(int=number) for number in (50, 51)], [UUID(int=number) for number in (60, 61)]


@pytest.fixture(scope="module")
async def rows(shared_database: TestDatabase) -> list[dict[str, Any]]:
    return await stored(shared_database)


async def stored(database: TestDatabase) -> list[dict[str, Any]]:
    """Return transfers that are stored in the main ledger; in another one there are the same."""
    rows = list(made(random.Random(SEED)))
    superuser = await asyncpg.connect(database.superuser_url)
    await superuser.execute("SET session_replication_role = replica")  # holds and accounts need not be there
    other = await add_ledger(superuser, "other")
    for account_id in ACCOUNTS:
        for ledger_id in (MAIN, other):
            await add_account(superuser, ledger_id=ledger_id, id=account_id, reference=f"account {account_id.int}")
    names = list(rows[0])
    for ledger_id in (MAIN, other):
        records = [tuple((row | {"ledger_id": ledger_id}).values()) for row in rows]
        await superuser.copy_records_to_table("transfers", schema_name="funds", columns=names, records=records)
    await superuser.close()
    return rows


Choice = tuple[dict[str, Any], dict[str, Any]]
"""Filters as the service takes them, and what they ask of a row."""


class Search:
    """Chooses filters, and finds what they ask for by looking at each row."""

    def __init__(self, chance: random.Random, rows: Sequence[dict[str, Any]]) -> None:
        self._chance, self._rows = chance, rows

    def choose(self, names: Sequence[str]) -> dict[str, Any]:
        row = self._chance.choice(self._rows)
        account_id, other = row["debit_account_id"], row["credit_account_id"]
        moments = sorted(at(self._chance.uniform(-100, COUNT + 100)) for _ in range(2))
        values: dict[str, Any] = {
            "account_id": account_id,
            "debit_account_reference": f"account {account_id.int}",
            "credit_account_reference": f"account {other.int}",
            "counterparty_id": self._chance.choice([account_id, other, self._chance.choice(ACCOUNTS)]),
            "hold_id": self._chance.choice(HOLDS),
            "reverses_id": self._chance.choice(REVERSED),
            "reference": self._chance.choice([*REFERENCES, "nothing"]),
            "reference_prefix": self._chance.choice(PREFIXES),
            "created_from": moments[0],
            "created_to": self._chance.choice([moments[1], row["created_at"]]),
            "effective_from": self._chance.choice([moments[0], row["effective_at"]]),
            "effective_to": moments[1],
            "amount_min": self._chance.choice([1, 2, 1_000, 2**63 - 1]),
            "amount_max": self._chance.choice([1, 3, 999, 2**63 - 1]),
            "currency": self._chance.choice(CURRENCIES),
            "client_id": self._chance.choice(CLIENTS),
            "description_words": self._chance.choice(DESCRIBED),
            "metadata": self._chance.sample(MEMBERS, self._chance.choice([1, 1, 2])),
        }
        return {name: values[name] for name in names}

    def found(self, filters: dict[str, Any], order: ListOrder) -> list[UUID]:
        """Return what the list must be."""
        rows = [row for row in self._rows if all(_passes(row, name, filters) for name in filters)]
        if "reference_prefix" in filters and not {*ACCOUNT_FILTERS, *HOLD_FILTERS, "reference"} & filters.keys():
            rows.sort(key=lambda row: (row["reference"].encode(), row["id"].bytes))
        return [row["id"] for row in (rows if order == "asc" else reversed(rows))]


def _passes(row: dict[str, Any], name: str, filters: dict[str, Any]) -> bool:  # noqa: C901, PLR0911, PLR0912
    value = filters[name]
    sides = [row["debit_account_id"], row["credit_account_id"]]
    match name:
        case "account_id":
            return bool(value in sides)
        case "debit_account_reference":
            return bool(value == f"account {sides[0].int}")
        case "credit_account_reference":
            return bool(value == f"account {sides[1].int}")
        case "counterparty_id":
            if "account_id" in filters:
                return value in sides and value != filters["account_id"]
            return bool(value == sides["debit_account_reference" in filters])
        case "reference_prefix":
            return row["reference"] is not None and row["reference"].startswith(value)
        case "created_from" | "effective_from":
            return bool(row[name.replace("from", "at")] >= value)
        case "created_to" | "effective_to":
            return bool(row[name.replace("to", "at")] < value)
        case "amount_min":
            return bool(row["amount"] >= value)
        case "amount_max":
            return bool(row["amount"] <= value)
        case "description_words":
            return row["description"] is not None and _words(value) <= _words(row["description"])
        case "metadata":
            return {*value} <= {f"{key}:{text}" for key, text in json.loads(row["metadata"]).items()}
        case _:
            return bool(row[name] == value)


def _words(text: str) -> set[str]:
    """The words of a text: of letters and digits, those of ASCII in lower case."""
    lower = "".join(one.lower() if one.isascii() else one for one in text)
    return {*re.findall(r"[0-9a-z\u00c0-\u1fff]+", lower)}


async def followed(
    session: AsyncSession, filters: TransferFilters, *, limit: int, order: ListOrder
) -> tuple[list[UUID], int]:
    """Return what the list has, read page by page, and how many pages that took."""
    transfers = TransferRepository(session)
    found: list[UUID] = []
    after: Position | None = None
    for pages in count(1):
        items, position, ended = 0, None, False
        async for rows in transfers.page(MAIN, filters, limit=limit, order=order, after=after):
            for row in rows:
                if isinstance(row, ScanEnd):
                    ended, position = True, row.position
                    continue
                found.append(row.id)
                items, position = items + 1, filters.position(row)
        assert items <= limit
        if items < limit and not ended:
            return found, pages
        after = position
    raise AssertionError


ACCOUNT_FILTERS = {"account_id", "debit_account_reference", "credit_account_reference"}
HOLD_FILTERS = {"hold_id", "reverses_id"}


def combinations_of(chance: random.Random, size: int) -> Iterator[list[str]]:
    """Return many pairs of filters, and ``size`` combinations of more or fewer."""
    for pair in combinations(TransferFilters.__struct_fields__, 2):
        if _goes(pair) and chance.random() < 0.5:
            yield list(pair)
    while size:
        names = chance.sample(TransferFilters.__struct_fields__, chance.choice([1, 3, 3, 4, 5]))
        if _goes(names):
            size -= 1
            yield names


def _goes(names: Sequence[str]) -> bool:
    """Whether the service takes these filters together."""
    accounts = ACCOUNT_FILTERS.intersection(names)
    return (
        len(accounts) <= 1 and ("counterparty_id" not in names or bool(accounts)) and not HOLD_FILTERS.issubset(names)
    )


@pytest.mark.parametrize("seed", range(2))
@in_either_order
async def test_any_filters_find_what_looking_at_each_row_finds(
    shared_session: AsyncSession, rows: list[dict[str, Any]], seed: int, order: ListOrder
) -> None:
    chance = random.Random(SEED + seed)
    search = Search(chance, rows)
    for names in combinations_of(chance, 60):
        filters = search.choose(names)
        expected = search.found(filters, order)
        words = filters.get("description_words")
        given = TransferFilters(**filters | ({} if words is None else {"description_words": words_of(words)}))
        limit = chance.choice([7, 100, 1_000]) if len(expected) < 500 else chance.choice([100, 1_000])
        found, pages = await followed(shared_session, given, limit=limit, order=order)
        assert found == expected, (filters, limit)
        assert pages <= 1 + len(expected) // limit + COUNT // ENTRIES_SCANNED_MAX + 1, filters


@pytest.fixture
async def american(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    """A database in which texts are sorted as people in the United States do it."""
    name = "american"
    superuser = await asyncpg.connect(postgres.url("postgres"))
    try:
        try:
            await superuser.execute(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
            )
        except asyncpg.FeatureNotSupportedError:
            pytest.skip("the embedded PostgreSQL is built without ICU, and has no collation but that of code points")
        database = postgres.database(name)
        connection = await asyncpg.connect(database.superuser_url)
        await connection.execute(ROLES_SQL.read_text())
        await connection.close()
        await upgrade(database.owner_url)
        yield database
        await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await superuser.close()


@in_either_order
async def test_references_that_begin_alike_in_any_database(american: TestDatabase, order: ListOrder) -> None:
    rows = await stored(american)
    search = Search(random.Random(SEED), rows)
    database = Database.connect(american.service_url, Settings())
    async with database.sessions() as session:
        assert await session.scalar(text("SELECT 'a' < 'B'")), "the database's own order is another"
        for prefix in PREFIXES:
            expected = search.found({"reference_prefix": prefix}, order)
            found, _ = await followed(session, TransferFilters(reference_prefix=prefix), limit=50, order=order)
            assert found == expected, prefix
        for words in DESCRIBED:
            filters = {"account_id": BUSY[0], "description_words": words}
            given = TransferFilters(account_id=BUSY[0], description_words=words_of(words))
            found, _ = await followed(session, given, limit=100, order=order)
            assert found == search.found(filters, order), words
    await database.close()
