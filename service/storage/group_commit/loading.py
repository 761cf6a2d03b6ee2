"""What a batch loads: the rows that its commands change, locked, then earlier decisions and the time."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.accounts import Account
from service.domain.batch_state import Contents
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
from service.domain.decisions import Decision
from service.domain.holds import Hold
from service.domain.transfers import Transfer
from service.storage.group_commit.parts import parts
from service.storage.group_commit.pipeline import Pipeline, driver_without_old_plans
from service.storage.group_commit.statements import (
    LOCK_ACCOUNTS,
    LOCK_HOLDS,
    READ_ACCOUNTS,
    READ_ACCOUNTS_OF_HOLDS,
    READ_CODES,
    READ_DECISIONS,
    READ_HOLDS,
    READ_REVERSED_AMOUNTS,
    READ_TRANSFERS,
    TRANSFER_COLUMNS,
)
from service.storage.stored_decisions import HOLD_OPERATIONS, read_result


async def load(session: AsyncSession, ledger_id: int, commands: Sequence[AnyCommand], *, lock: bool = True) -> Contents:
    """Lock what ``commands`` change, then read their earlier decisions and the database's clock.

    Without ``lock`` the session's transaction must have one snapshot (REPEATABLE READ), and nothing of what is decided
    may be written.
    """
    driver = await driver_without_old_plans(session)
    return await _Loader(session, driver, ledger_id).load(commands, lock=lock)


class _Loader:
    def __init__(self, session: AsyncSession, driver: asyncpg.Connection, ledger_id: int) -> None:
        self._session = session
        self._driver = driver
        self._ledger_id = ledger_id

    async def load(self, commands: Sequence[AnyCommand], *, lock: bool) -> Contents:
        wanted = _Wanted(commands)
        transfers: list[Transfer] = []
        if wanted.hold_ids:
            wanted.add_accounts(await self._read(READ_ACCOUNTS_OF_HOLDS, wanted.hold_ids))
        if wanted.transfer_ids:
            transfers = [Transfer(**row._asdict()) for row in await self._read(READ_TRANSFERS, wanted.transfer_ids)]
            wanted.add_accounts((transfer.debit_account_id, transfer.credit_account_id) for transfer in transfers)

        locked = await self._read(LOCK_ACCOUNTS if lock else READ_ACCOUNTS, wanted.account_ids)
        codes: dict[UUID, str | None] = {}
        if wanted.codes:  # of accounts that are locked: no revision comes between this and what is decided by them
            codes = {account_id: code for account_id, code in await self._read(READ_CODES, wanted.account_ids)}  # noqa: C416
        holds = []
        if wanted.hold_ids:
            rows = await self._read(LOCK_HOLDS if lock else READ_HOLDS, wanted.hold_ids)
            holds = [Hold(**row._asdict()) for row in rows]
        reversed_amounts: dict[UUID, int] = {}
        if transfers:
            rows = await self._read(READ_REVERSED_AMOUNTS, wanted.transfer_ids)
            reversed_amounts = {transfer_id: amount for transfer_id, amount in rows}  # noqa: C416 - rows are no tuples

        # A statement of its own after the locks, so that its snapshot has what others committed meanwhile.
        async with Pipeline(self._session, self._driver) as pipeline:
            await pipeline.send(self._decisions, wanted.keys)
            accounts = [Account(*row) for row in locked]
            clock, decisions = await pipeline.answer()
        return Contents(
            accounts=accounts,
            decisions=decisions,
            clock=clock,
            holds=holds,
            transfers=transfers,
            reversed_amounts=reversed_amounts,
            codes=codes,
        )

    async def _read(self, query: Select[Any], ids: Iterable[UUID]) -> Iterable[Any]:
        return await self._session.execute(query, {"ledger_id": self._ledger_id, "ids": list(ids)})

    async def _decisions(
        self, driver: asyncpg.Connection, keys: Sequence[tuple[str, str]]
    ) -> tuple[datetime, list[Decision]]:
        """Return the time, and the earlier decisions under ``keys`` (client, idempotency key)."""
        rows = await driver.fetch(
            READ_DECISIONS, self._ledger_id, [client for client, _ in keys], [key for _, key in keys]
        )
        found = [row for row in rows if row["fingerprint"] is not None]  # one row at least, for the time alone
        hold_ids = [row["resource_id"] for row in found if row["operation"] in HOLD_OPERATIONS]
        holds: dict[UUID, Hold] = {}
        for ids in parts(hold_ids):
            holds |= {row.id: Hold(**row._asdict()) for row in await self._read(READ_HOLDS, ids)}
        decisions: list[Decision] = []
        for part in parts(found):
            decisions += [_decision(self._ledger_id, row, holds) for row in part]
            await asyncio.sleep(0)  # to read many decisions does not keep other tasks waiting
        return rows[0]["now"], decisions


class _Wanted:
    """What a batch of commands has to be loaded for."""

    def __init__(self, commands: Sequence[AnyCommand]) -> None:
        self.account_ids: set[UUID] = set()
        self.hold_ids: set[UUID] = set()
        self.transfer_ids: set[UUID] = set()
        self.codes = False
        keys = set()
        for command in commands:
            if isinstance(command, Command):
                keys.add((command.client_id, command.idempotency_key))
                if command.debit_limit is not None and command.debit_limit.codes:
                    self.codes = True
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


def _decision(ledger_id: int, row: asyncpg.Record, holds: dict[UUID, Hold]) -> Decision:
    made: Transfer | Hold | None = holds.get(row["resource_id"])
    if row["made_id"] is not None:
        made = Transfer(**{name: row[f"made_{name}"] for name in TRANSFER_COLUMNS})
    return Decision(
        ledger_id=ledger_id,
        client_id=row["client_id"],
        idempotency_key=row["idempotency_key"],
        fingerprint=row["fingerprint"],
        operation=row["operation"],
        result=read_result(
            row["operation"], row["outcome"], resource=row["resource"], problem=row["problem"], made=made
        ),
        created_at=row["created_at"],
    )
