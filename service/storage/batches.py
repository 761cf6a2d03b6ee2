"""The storage of group commit: load what a batch of commands needs, store what it decided.

All of them run inside the caller's transaction. The first goes through SQLAlchemy's executor, which begins the
transaction, and so do the rare ones; those of every batch speak to the driver, at a third of the cost a statement,
and COPY has no other way.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from operator import attrgetter
from typing import Any, Self, TypeVar, cast
from uuid import UUID

import asyncpg
import msgspec
from msgspec import structs
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from service.domain.accounts import Account
from service.domain.book import FENCED, AccountChanged, Book, Contents, Decision, Outcome
from service.domain.commands import (
    AnyCommand,
    CaptureHold,
    Command,
    ExpireHold,
    OpenHold,
    PostTransfer,
    ReverseTransfer,
    VoidHold,
)
from service.domain.holds import Hold
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from service.storage.binary_copy import BEGIN, DECISION_COLUMNS, END, encode_decision, encode_transfer
from service.storage.models import SCHEMA
from service.storage.statements import (
    ADD_REVERSED_AMOUNTS,
    HOLD_COLUMNS,
    LOCK_ACCOUNTS,
    LOCK_HOLDS,
    READ_ACCOUNTS,
    READ_ACCOUNTS_OF_HOLDS,
    READ_DECISIONS,
    READ_HOLDS,
    READ_REVERSED_AMOUNTS,
    READ_TRANSFERS,
    TRANSFER_COLUMNS,
    UPDATE_ACCOUNTS,
    UPDATE_HOLDS,
)

PLAN_SECONDS_MAX = 1.0
"""How old a plan may grow. To plan a batch's statements costs the server about 2 ms."""

SLICE = 250
"""How many commands are decided before what they made is written."""

_ROWS_AT_ONCE = 2_000

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_client_and_key = attrgetter("client_id", "idempotency_key")


class Batch:
    """The statements of one batch, in the transaction (or savepoint) that its session is in."""

    def __init__(self, session: AsyncSession, ledger_id: int) -> None:
        self._session = session
        self.ledger_id = ledger_id

    async def _driver(self) -> asyncpg.Connection:
        """Return the driver's connection. The session is asked each time: ``begin_nested()`` sends its SAVEPOINT when
        the session is first used in it, and not before.
        """
        return await _driver_of(await self._session.connection())

    async def _driver_without_old_plans(self) -> asyncpg.Connection:
        """Return the driver's connection; every PLAN_SECONDS_MAX the server plans its statements anew. What was planned
        for a small table is wrong for the same table some thousand rows later, and the server itself notices only
        after a minute.
        """
        connection = await self._session.connection()
        driver = await _driver_of(connection)
        now = time.monotonic()
        if now - connection.info.get("planned_at", 0.0) > PLAN_SECONDS_MAX:
            connection.info["planned_at"] = now
            await driver.execute("DISCARD PLANS")
        return driver

    async def load(self, commands: Sequence[AnyCommand], *, lock: bool = True) -> Contents:
        """Lock what ``commands`` change, then read their earlier decisions and the database's clock.

        Without ``lock`` the caller's transaction must have one snapshot (REPEATABLE READ), and nothing of what is
        decided may be stored.
        """
        driver = await self._driver_without_old_plans()
        wanted = _Wanted(commands)
        transfers: list[Transfer] = []
        if wanted.hold_ids:
            wanted.add_accounts(await self._read(READ_ACCOUNTS_OF_HOLDS, wanted.hold_ids))
        if wanted.transfer_ids:
            transfers = [Transfer(**row._asdict()) for row in await self._read(READ_TRANSFERS, wanted.transfer_ids)]
            wanted.add_accounts((transfer.debit_account_id, transfer.credit_account_id) for transfer in transfers)

        locked = await self._read(LOCK_ACCOUNTS if lock else READ_ACCOUNTS, wanted.account_ids)
        holds = []
        if wanted.hold_ids:
            rows = await self._read(LOCK_HOLDS if lock else READ_HOLDS, wanted.hold_ids)
            holds = [Hold(**row._asdict()) for row in rows]
        reversed_amounts: dict[UUID, int] = {}
        if transfers:
            rows = await self._read(READ_REVERSED_AMOUNTS, wanted.transfer_ids)
            reversed_amounts = {transfer_id: amount for transfer_id, amount in rows}  # noqa: C416 - rows are no tuples

        async with _OneByOne(driver) as statements:
            await statements.send(self._decisions, wanted.keys)
            accounts = [Account(*row) for row in locked]
            clock, decisions = await statements.answer()
        return Contents(
            accounts=accounts,
            decisions=decisions,
            clock=clock,
            holds=holds,
            transfers=transfers,
            reversed_amounts=reversed_amounts,
        )

    async def _read(self, query: Select[Any], ids: Iterable[UUID]) -> Iterable[Any]:
        return await self._session.execute(query, {"ledger_id": self.ledger_id, "ids": list(ids)})

    async def _decisions(
        self, driver: asyncpg.Connection, keys: Sequence[tuple[str, str]]
    ) -> tuple[datetime, list[Decision]]:
        """Return the time, and the earlier decisions under ``keys`` (client, idempotency key)."""
        rows = await driver.fetch(
            READ_DECISIONS, self.ledger_id, [client for client, _ in keys], [key for _, key in keys]
        )
        found = [row for row in rows if row["fingerprint"] is not None]  # one row at least, for the time alone
        hold_ids = [row["resource_id"] for row in found if row["operation"] in _HOLD_OPERATIONS]
        holds: dict[UUID, Hold] = {}
        for ids in _parts(hold_ids):
            holds |= {row.id: Hold(**row._asdict()) for row in await self._read(READ_HOLDS, ids)}
        decisions: list[Decision] = []
        for part in _parts(found):
            decisions += [_decision(self.ledger_id, row, holds) for row in part]
            await asyncio.sleep(0)  # others have their turn
        return rows[0]["now"], decisions

    async def store(self, book: Book, deciding: Iterator[object]) -> None:
        """Write the new facts, decisions and counters of ``book``, set by set.

        Each step of ``deciding`` decides more of the batch, while PostgreSQL writes what was decided before. Raises the
        driver's IntegrityConstraintViolationError where the database's rules disagree with ours.
        """
        async with _OneByOne(await self._driver()) as statements:
            for transfers in _as_decided(book, deciding):
                if transfers:
                    rows = b"".join(map(encode_transfer, transfers))
                    await statements.send(_copy, "transfers", TRANSFER_COLUMNS, rows)
                else:
                    await asyncio.sleep(0)  # in the middle of a unit; others have their turn
            for holds in _parts(book.new_holds):
                await statements.send(_copy_holds, holds)
            if book.new_decisions:
                # In the order of their keys: rivals for the same keys, whose accounts may differ, meet at the first.
                decisions = sorted(book.new_decisions, key=_client_and_key)
                for part in _parts(decisions):
                    await statements.send(_copy, "decisions", DECISION_COLUMNS, b"".join(map(encode_decision, part)))
            if book.touched_holds:
                await statements.send(_update, UPDATE_HOLDS, len(book.touched_holds), *self._changed_holds(book))
            if book.touched_transfers:
                await statements.send(
                    _update, ADD_REVERSED_AMOUNTS, len(book.touched_transfers), *self._reversed_amounts(book)
                )
            if book.touched_accounts:
                currencies = _currencies(book)
                for changed_at, account_ids in book.touched_by_place().items():
                    changes = self._changed_accounts(book, account_ids, currencies)
                    await statements.send(
                        _update, UPDATE_ACCOUNTS, len(account_ids), self.ledger_id, changed_at, *changes
                    )

    def _changed_accounts(
        self, book: Book, account_ids: Sequence[UUID], currencies: Mapping[UUID, str]
    ) -> tuple[object, ...]:
        touched = [book.accounts[account_id] for account_id in account_ids]
        return (
            account_ids,
            [currencies[account_id] for account_id in account_ids],
            [book.touched_accounts[account_id] for account_id in account_ids],
            [account.version for account in touched],
            [account.debits_posted for account in touched],
            [account.credits_posted for account in touched],
            [account.debits_held for account in touched],
            [account.credits_held for account in touched],
        )

    def _changed_holds(self, book: Book) -> tuple[object, ...]:
        touched = [book.holds[hold_id] for hold_id in book.touched_holds]
        return (
            self.ledger_id,
            [hold.id for hold in touched],
            list(book.touched_holds.values()),
            [hold.captured_amount for hold in touched],
            [hold.status for hold in touched],
            [hold.closed_at for hold in touched],
            [hold.closed_debit_account_version for hold in touched],
            [hold.closed_credit_account_version for hold in touched],
        )

    def _reversed_amounts(self, book: Book) -> tuple[object, ...]:
        return (
            self.ledger_id,
            list(book.touched_transfers),
            [book.transfers[transfer_id].amount for transfer_id in book.touched_transfers],
            list(book.touched_transfers.values()),
            [book.reversed_amounts[transfer_id] for transfer_id in book.touched_transfers],
        )


class _OneByOne:
    """Statements of one transaction, each sent when the one before it has been answered.

    Whoever sends goes on meanwhile: Python decides and encodes what comes next while PostgreSQL works, and batches of
    a thousand hold their locks for a tenth less time (measured).
    """

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver
        self._running: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is asyncio.CancelledError and self._running is not None:
            self._running.cancel()  # nobody waits for its answer any more
        await self.answer()

    async def send(self, statement: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> None:
        """Send ``statement`` after the answer to the one before it, without waiting for its own. Raises what the one
        before it raised.
        """
        await self.answer()
        self._running = asyncio.create_task(statement(self._driver, *arguments))
        await asyncio.sleep(0)  # it goes out when the loop turns

    async def answer(self) -> Any:
        """Wait for the statement under way, if there is one, and return what it answers. Raises what it raises."""
        running, self._running = self._running, None
        return None if running is None else await running


def _currencies(book: Book) -> dict[UUID, str]:
    """Return in which currency each account was touched, by what was posted to it and not by what the account says."""
    currencies: dict[UUID, str] = {}
    changed_holds = (book.holds[hold_id] for hold_id in book.touched_holds)
    facts: Iterable[Transfer | Hold] = chain(book.new_transfers, book.new_holds, changed_holds)
    for fact in facts:
        for account_id in (fact.debit_account_id, fact.credit_account_id):
            if currencies.setdefault(account_id, fact.currency) != fact.currency:
                raise AssertionError(f"account {account_id} was touched in two currencies")
    if currencies.keys() != book.touched_accounts.keys():
        raise AssertionError("what was posted to accounts and what was counted differ")
    return currencies


def _as_decided(book: Book, deciding: Iterator[object]) -> Iterator[Sequence[Transfer]]:
    """Yield the new transfers of ``book``, and those that each SLICE steps of ``deciding`` add; none while a unit is
    not decided to its end.
    """
    written = 0
    all_decided = False
    while True:
        transfers = book.new_transfers[written : book.decided_transfers]
        written += len(transfers)
        if transfers:
            yield from _parts(transfers)
        elif not all_decided:
            yield ()
        if all_decided:
            assert written == len(book.new_transfers), "a transfer that was decided is written"
            return
        all_decided = len(list(islice(deciding, SLICE))) < SLICE


def _parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Divide ``rows`` into parts that are encoded in no time that others would notice."""
    return (rows[begin : begin + _ROWS_AT_ONCE] for begin in range(0, len(rows), _ROWS_AT_ONCE))


async def _driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    pooled = await connection.get_raw_connection()
    return cast("asyncpg.Connection", pooled.driver_connection)


class _Wanted:
    """What a batch of commands has to be loaded for."""

    def __init__(self, commands: Sequence[AnyCommand]) -> None:
        self.account_ids: set[UUID] = set()
        self.hold_ids: set[UUID] = set()
        self.transfer_ids: set[UUID] = set()
        keys = set()
        for command in commands:
            if isinstance(command, Command):
                keys.add((command.client_id, command.idempotency_key))
            match command:
                case PostTransfer() | OpenHold():
                    self.account_ids.add(command.debit_account_id)
                    self.account_ids.add(command.credit_account_id)
                case CaptureHold() | VoidHold() | ExpireHold():
                    self.hold_ids.add(command.hold_id)
                case ReverseTransfer():
                    self.transfer_ids.add(command.transfer_id)
        self.keys = list(keys)

    def add_accounts(self, pairs: Iterable[Iterable[UUID]]) -> None:
        for pair in pairs:
            self.account_ids.update(pair)


async def _update(driver: asyncpg.Connection, statement: str, rows: int, *arguments: object) -> None:
    """Run ``statement``, which must change exactly ``rows`` locked rows."""
    status = await driver.execute(statement, *arguments)
    if int(status.rpartition(" ")[2]) != rows:
        raise AssertionError(f"{rows} locked rows to write, the database says {status}")


async def _copy(driver: asyncpg.Connection, table: str, columns: Sequence[str], rows: bytes) -> None:
    """COPY encoded rows."""
    source = memoryview(BEGIN + rows + END)  # the driver would take bytes for the path of a file
    await driver.copy_to_table(table, schema_name=SCHEMA, columns=columns, format="binary", source=source)


async def _copy_holds(driver: asyncpg.Connection, holds: Iterable[Hold]) -> None:
    records = (
        structs.astuple(structs.replace(hold, metadata=_encode(hold.metadata).decode()))  # jsonb goes in as text
        for hold in holds
    )
    await driver.copy_records_to_table("holds", schema_name=SCHEMA, columns=HOLD_COLUMNS, records=records)


_HOLD_OPERATIONS = frozenset({OpenHold.operation, VoidHold.operation})


def _decision(ledger_id: int, row: asyncpg.Record, holds: dict[UUID, Hold]) -> Decision:
    return Decision(
        ledger_id=ledger_id,
        client_id=row["client_id"],
        idempotency_key=row["idempotency_key"],
        fingerprint=row["fingerprint"],
        operation=row["operation"],
        outcome=_outcome(row, holds),
        created_at=row["decided_at"],
    )


def _outcome(row: asyncpg.Record, holds: dict[UUID, Hold]) -> Outcome | AccountChanged:
    """Return what was answered: the transfer, the hold as it was then, the rejection; of an account its id alone."""
    if row["problem"] is not None:
        return msgspec.convert(row["problem"], Rejection)
    if row["outcome"] == "fenced":
        return FENCED
    if row["id"] is not None:
        return Transfer(**{name: row[name] for name in TRANSFER_COLUMNS})
    if row["operation"] not in _HOLD_OPERATIONS:
        return AccountChanged(row["resource_id"])
    hold = holds[row["resource_id"]]
    return hold.as_opened() if row["operation"] == OpenHold.operation else hold
