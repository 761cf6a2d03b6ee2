"""The statements of group commit: load what a batch of commands needs, store what it decided.

All of them run inside the caller's transaction. Only the first goes through SQLAlchemy's executor, which begins the
transaction; the rest speak to the driver, at a third of the cost a statement, and COPY has no other way.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import asyncpg
import msgspec
from sqlalchemy import Integer, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.accounts import Account
from service.domain.book import Book, Decision
from service.domain.rejections import Rejection
from service.domain.transfers import PostTransfer, Transfer
from service.storage import models
from service.storage.models import SCHEMA, UUIDS

_MICROSECOND = timedelta(microseconds=1)
_encode = msgspec.json.Encoder().encode

_ACCOUNTS = models.Account.__table__.c

# Locks every account of the batch, in the order of ids, so that batches queue up behind each other instead of
# deadlocking. NO KEY UPDATE: foreign key checks of other transfers (KEY SHARE) need not wait.
_LOCK_ACCOUNTS = (
    select(*(_ACCOUNTS[name] for name in Account.__struct_fields__))
    .where(
        _ACCOUNTS.ledger_id == bindparam("ledger_id", type_=Integer),
        _ACCOUNTS.id == bindparam("account_ids", type_=UUIDS).any_(),
    )
    .order_by(_ACCOUNTS.id)
    .with_for_update(key_share=True)
)

_TRANSFER_COLUMNS = Transfer.__struct_fields__

# Earlier decisions under the batch's keys with the transfers they made, and the time. A statement of its own: its
# snapshot is taken after the locks were granted, so it sees what the transactions waited for have committed.
_READ_DECISIONS = f"""
    SELECT clock.now, decision.client_id, decision.idempotency_key, decision.fingerprint, decision.operation,
           decision.problem, decision.created_at AS decided_at,
           {", ".join(f"transfer.{name}" for name in _TRANSFER_COLUMNS)}
    FROM (SELECT clock_timestamp() AS now) AS clock
    LEFT JOIN (
        unnest($2::text[], $3::text[]) AS wanted (client_id, idempotency_key)
        JOIN {SCHEMA}.decisions AS decision
          ON decision.ledger_id = $1
         AND decision.client_id = wanted.client_id
         AND decision.idempotency_key = wanted.idempotency_key
    ) ON true
    LEFT JOIN {SCHEMA}.transfers AS transfer
      ON transfer.ledger_id = $1 AND transfer.id = decision.resource_id
"""  # noqa: S608 - column names are this module's own

# The new counters, for exactly the versions that were loaded: any other count of rows is a broken lock.
_UPDATE_ACCOUNTS = f"""
    UPDATE {SCHEMA}.accounts AS account
    SET debits_posted = new.debits_posted, credits_posted = new.credits_posted, debits_held = new.debits_held,
        credits_held = new.credits_held, version = new.version, updated_at = $2
    FROM unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
      AS new (id, loaded_version, version, debits_posted, credits_posted, debits_held, credits_held)
    WHERE account.ledger_id = $1 AND account.id = new.id AND account.version = new.loaded_version
"""  # noqa: S608

_DECISION_COLUMNS = (
    "ledger_id",
    "client_id",
    "idempotency_key",
    "fingerprint",
    "operation",
    "outcome",
    "resource_id",
    "problem",
    "created_at",
)


class Batch:
    """The statements of one batch, in the transaction (or savepoint) that its session is in."""

    def __init__(self, session: AsyncSession, ledger_id: int) -> None:
        self._session = session
        self._ledger_id = ledger_id

    async def _driver(self) -> asyncpg.Connection:
        """Return the driver's connection. The session is asked each time: ``begin_nested()`` sends its SAVEPOINT when
        the session is first used in it, and not before.
        """
        connection = await self._session.connection()
        pooled = await connection.get_raw_connection()
        return cast("asyncpg.Connection", pooled.driver_connection)

    async def load(self, commands: Sequence[PostTransfer]) -> Book:
        """Lock the accounts of ``commands``, then read their earlier decisions and the time; return the open book.

        The time is the database's, and later than every change of these accounts even if its clock was set back, so
        that times and identifiers rise along every account.
        """
        account_ids = {command.debit_account_id for command in commands}
        account_ids.update(command.credit_account_id for command in commands)
        locked = await self._session.execute(
            _LOCK_ACCOUNTS, {"ledger_id": self._ledger_id, "account_ids": list(account_ids)}
        )
        accounts = [Account(*row) for row in locked]
        keys = {(command.client_id, command.idempotency_key) for command in commands}
        driver = await self._driver()
        rows = await driver.fetch(
            _READ_DECISIONS, self._ledger_id, [client for client, _ in keys], [key for _, key in keys]
        )
        now: datetime = max([rows[0]["now"], *(account.updated_at + _MICROSECOND for account in accounts)])
        return Book(accounts, _decisions(self._ledger_id, rows), now)

    async def store(self, book: Book) -> None:
        """Write the new transfers, decisions and counters of ``book``, set by set.

        Raises the driver's IntegrityConstraintViolationError where the database's rules disagree with ours.
        """
        driver = await self._driver()
        if book.new_transfers:
            await driver.copy_records_to_table(
                "transfers",
                schema_name=SCHEMA,
                columns=_TRANSFER_COLUMNS,
                records=[_transfer_record(transfer) for transfer in book.new_transfers],
            )
        await driver.copy_records_to_table(
            "decisions",
            schema_name=SCHEMA,
            columns=_DECISION_COLUMNS,
            records=[_decision_record(decision) for decision in book.new_decisions],
        )
        if book.touched:
            await self._update_accounts(driver, book)

    async def _update_accounts(self, driver: asyncpg.Connection, book: Book) -> None:
        touched = [book.accounts[account_id] for account_id in book.touched]
        status = await driver.execute(
            _UPDATE_ACCOUNTS,
            self._ledger_id,
            book.now,
            [account.id for account in touched],
            list(book.touched.values()),
            [account.version for account in touched],
            [account.debits_posted for account in touched],
            [account.credits_posted for account in touched],
            [account.debits_held for account in touched],
            [account.credits_held for account in touched],
        )
        if status != f"UPDATE {len(touched)}":
            raise AssertionError(f"{len(touched)} locked accounts to update, the database says {status}")


def _transfer_record(transfer: Transfer) -> tuple[Any, ...]:
    values = [getattr(transfer, name) for name in _TRANSFER_COLUMNS]
    values[_METADATA] = _encode(transfer.metadata).decode() if transfer.metadata else "{}"
    return tuple(values)


_METADATA = _TRANSFER_COLUMNS.index("metadata")


def _decision_record(decision: Decision) -> tuple[Any, ...]:
    transfer, rejection = decision.transfer, decision.rejection
    return (
        decision.ledger_id,
        decision.client_id,
        decision.idempotency_key,
        decision.fingerprint,
        decision.operation,
        "applied" if rejection is None else "rejected",
        None if transfer is None else transfer.id,
        None if rejection is None else _encode(rejection).decode(),
        decision.created_at,
    )


def _decisions(ledger_id: int, rows: Iterable[asyncpg.Record]) -> Iterable[Decision]:
    for row in rows:
        if row["fingerprint"] is None:  # the one row that only tells the time
            continue
        yield Decision(
            ledger_id=ledger_id,
            client_id=row["client_id"],
            idempotency_key=row["idempotency_key"],
            fingerprint=row["fingerprint"],
            operation=row["operation"],
            transfer=None if row["id"] is None else _transfer(row),
            rejection=None if row["problem"] is None else msgspec.convert(row["problem"], Rejection),
            created_at=row["decided_at"],
        )


def _transfer(row: asyncpg.Record) -> Transfer:
    return Transfer(**{name: row[name] for name in _TRANSFER_COLUMNS})
