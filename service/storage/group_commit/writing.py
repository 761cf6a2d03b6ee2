"""What a batch writes: new transfers, holds and decisions by COPY, changed rows by one UPDATE a table.

The statements speak to the driver, at a third of the cost a statement of SQLAlchemy's executor, and COPY has no other
way. They run in the transaction (or savepoint) that the session is in.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Self
from uuid import UUID

import asyncpg
import msgspec
from msgspec import structs
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.batch_state import BatchState
from service.domain.holds import Hold
from service.domain.transfers import Transfer
from service.errors import UnexpectedRowCountError
from service.storage.group_commit.binary_copy import (
    DECISION_COLUMNS,
    HISTORY_COLUMNS,
    copy,
    encode_decisions,
    encode_history,
    encode_transfer,
)
from service.storage.group_commit.parts import parts
from service.storage.group_commit.pipeline import Pipeline
from service.storage.group_commit.statements import (
    ADD_REVERSED_AMOUNTS,
    HOLD_COLUMNS,
    TRANSFER_COLUMNS,
    UPDATE_ACCOUNTS,
    UPDATE_ACCOUNTS_ON_A_NODE,
    UPDATE_HOLDS,
)
from service.storage.rows import SCHEMA

_encode = msgspec.json.Encoder().encode


class BatchWriter:
    """Writes what a batch made, set by set. Each call returns while PostgreSQL works on what it wrote; leaving the
    context waits for the end.

    Raises the driver's errors where the database's rules disagree with ours, and UnexpectedRowCountError when rows
    that are to change are not there as they were loaded; each by a later call, or by leaving.
    """

    def __init__(self, session: AsyncSession, ledger_id: int) -> None:
        self._ledger_id = ledger_id
        self._pipeline = Pipeline(session)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        await self._pipeline.__aexit__(kind, error, trace)

    async def write_transfers(self, transfers: Sequence[Transfer]) -> None:
        """Add ``transfers``, which may be none."""
        if not transfers:
            await asyncio.sleep(0)  # other tasks run between two chunks
        for part in parts(transfers):
            await self._pipeline.send(copy, "transfers", TRANSFER_COLUMNS, b"".join(map(encode_transfer, part)))

    async def write_changes(self, state: BatchState, *, last_place: datetime) -> None:
        """Add the holds, decisions and entries that ``state`` has made, change the rows that it has touched, and move
        the ledger's head to ``last_place``, that of the batch's last identifier.
        """
        for holds in parts(state.new_holds):
            await self._pipeline.send(_copy_holds, holds)
        for rows in encode_decisions(state.new_decisions):
            await self._pipeline.send(copy, "decisions", DECISION_COLUMNS, rows)
        for entries in parts(state.new_entries):
            await self._pipeline.send(copy, "history", HISTORY_COLUMNS, b"".join(map(encode_history, entries)))
        if state.touched_holds:
            await self._pipeline.send(_update, UPDATE_HOLDS, len(state.touched_holds), *self._changed_holds(state))
        if state.touched_transfers:
            await self._pipeline.send(
                _update, ADD_REVERSED_AMOUNTS, len(state.touched_transfers), *self._reversed_amounts(state)
            )
        if state.changed:
            await self._pipeline.send(
                _update_accounts, len(state.touched_accounts), *self._changed_accounts(state), last_place
            )

    def _changed_accounts(self, state: BatchState) -> tuple[object, ...]:
        currencies = _currencies(state)
        touched = [state.accounts[account_id] for account_id in state.touched_accounts]
        return (
            self._ledger_id,
            state.moment.place,
            list(state.touched_accounts),
            [currencies[account_id] for account_id in state.touched_accounts],
            list(state.touched_accounts.values()),
            [account.version for account in touched],
            [account.debits_posted for account in touched],
            [account.credits_posted for account in touched],
            [account.debits_held for account in touched],
            [account.credits_held for account in touched],
        )

    def _changed_holds(self, state: BatchState) -> tuple[object, ...]:
        touched = [state.holds[hold_id] for hold_id in state.touched_holds]
        return (
            self._ledger_id,
            [hold.id for hold in touched],
            list(state.touched_holds.values()),
            [hold.captured_amount for hold in touched],
            [hold.status for hold in touched],
            [hold.closed_at for hold in touched],
            [hold.closed_debit_account_version for hold in touched],
            [hold.closed_credit_account_version for hold in touched],
        )

    def _reversed_amounts(self, state: BatchState) -> tuple[object, ...]:
        return (
            self._ledger_id,
            list(state.touched_transfers),
            [state.transfers[transfer_id].amount for transfer_id in state.touched_transfers],
            list(state.touched_transfers.values()),
            [state.reversed_amounts[transfer_id] for transfer_id in state.touched_transfers],
        )


def _currencies(state: BatchState) -> dict[UUID, str]:
    """Return in which currency each account was touched, by what was posted to it and not by what the account says."""
    currencies: dict[UUID, str] = {}
    changed_holds = (state.holds[hold_id] for hold_id in state.touched_holds)
    facts: Iterable[Transfer | Hold] = chain(state.new_transfers, state.new_holds, changed_holds)
    for fact in facts:
        for account_id in (fact.debit_account_id, fact.credit_account_id):
            known = currencies.setdefault(account_id, fact.currency)
            assert known == fact.currency, f"account {account_id} was touched in two currencies"
    assert currencies.keys() == state.touched_accounts.keys(), "what was posted to accounts and what was counted differ"
    return currencies


async def _update(driver: asyncpg.Connection, statement: str, rows: int, *arguments: object) -> None:
    """Run ``statement``, which must change exactly ``rows`` locked rows. Raises UnexpectedRowCountError."""
    status = await driver.execute(statement, *arguments)
    if int(status.rpartition(" ")[2]) != rows:
        raise UnexpectedRowCountError(expected=rows, status=status)


async def _update_accounts(driver: asyncpg.Connection, rows: int, *arguments: object) -> None:
    await _update(driver, UPDATE_ACCOUNTS_ON_A_NODE if driver.is_distributed else UPDATE_ACCOUNTS, rows, *arguments)


async def _copy_holds(driver: asyncpg.Connection, holds: Iterable[Hold]) -> None:
    records = (
        structs.astuple(structs.replace(hold, metadata=_encode(hold.metadata).decode()))  # jsonb goes in as text
        for hold in holds
    )
    await driver.copy_records_to_table("holds", schema_name=SCHEMA, columns=HOLD_COLUMNS, records=records)
