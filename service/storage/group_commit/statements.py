"""The statements of group commit, and look-ups by id that other reads share with it.

Names of tables and columns are this project's own, values are parameters.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, any_, bindparam, cast, select

from service.domain.accounts import Account, AccountDetails
from service.domain.holds import Hold
from service.domain.transfers import Transfer
from service.storage import rows
from service.storage.rows import SCHEMA, UUIDS, Base

ACCOUNT_COLUMNS = Account.__struct_fields__
TRANSFER_COLUMNS = Transfer.__struct_fields__
HOLD_COLUMNS = Hold.__struct_fields__


_IDS = bindparam("ids", type_=UUIDS)

# What the planner does not see it takes for few: in view of many ids it may read all rows of a ledger instead, if it
# knows little of the table. The committer's connections never show it values (``database._INDEX_PLANS``).
_HIDDEN_IDS = cast(select(_IDS).scalar_subquery(), UUIDS)


def _by_ids(
    table: type[Base], columns: Iterable[ColumnElement[Any]], key: str = "id", ids: ColumnElement[Any] = _IDS
) -> Select[Any]:
    """Select ``columns`` of the rows of one ledger whose ``key`` is among ``ids``, in the order of the key."""
    keys = table.__table__.c
    return (
        select(*columns)
        .where(
            keys.ledger_id == bindparam("ledger_id", type_=Integer),
            keys[key] == any_(ids),
        )
        .order_by(keys[key])
    )


def _columns(table: type[Base], names: Iterable[str]) -> Iterator[ColumnElement[Any]]:
    return (table.__table__.c[name] for name in names)


# Rows are locked in the order of their keys, accounts before holds, so that batches queue up behind each other
# instead of deadlocking. NO KEY UPDATE: foreign key checks of other transfers (KEY SHARE) need not wait.
READ_ACCOUNTS = _by_ids(rows.AccountRow, _columns(rows.AccountRow, ACCOUNT_COLUMNS))
LOCK_ACCOUNTS = READ_ACCOUNTS.with_for_update(key_share=True)
READ_CODES = _by_ids(rows.AccountRow, _columns(rows.AccountRow, ("id", "code")))
READ_HOLDS = _by_ids(rows.HoldRow, _columns(rows.HoldRow, HOLD_COLUMNS))
LOCK_HOLDS = READ_HOLDS.with_for_update(key_share=True)
READ_ACCOUNTS_OF_HOLDS = _by_ids(rows.HoldRow, _columns(rows.HoldRow, ("debit_account_id", "credit_account_id")))
READ_TRANSFERS = _by_ids(rows.TransferRow, _columns(rows.TransferRow, TRANSFER_COLUMNS))
READ_REVERSED_AMOUNTS = _by_ids(
    rows.ReversedTransferRow,
    _columns(rows.ReversedTransferRow, ("transfer_id", "reversed_amount")),
    key="transfer_id",
)

# Outside group commit: everything that an answer shows.
FIND_ACCOUNTS = _by_ids(rows.AccountRow, _columns(rows.AccountRow, AccountDetails.__struct_fields__), ids=_HIDDEN_IDS)
FIND_NAMES = _by_ids(rows.AccountRow, _columns(rows.AccountRow, ("id", "reference", "name")), ids=_HIDDEN_IDS)
FIND_TRANSFERS = _by_ids(rows.TransferRow, _columns(rows.TransferRow, TRANSFER_COLUMNS), ids=_HIDDEN_IDS)
FIND_HOLDS = _by_ids(rows.HoldRow, _columns(rows.HoldRow, HOLD_COLUMNS), ids=_HIDDEN_IDS)

# Without the status among the conditions, which would lead PostgreSQL to the open holds of all accounts where it knows
# nothing of the table.
LOCK_FREE_HOLDS = _by_ids(rows.HoldRow, _columns(rows.HoldRow, ("id", "status")), ids=_HIDDEN_IDS).with_for_update(
    key_share=True, skip_locked=True
)

# Earlier decisions under the batch's keys with the transfers they made, and the time. A statement of its own: its
# snapshot is taken after the locks were granted, so it sees what the transactions waited for have committed. LATERAL
# and LIMIT leave the planner one way, a look-up for each key, however little it knows of a table that is new.
READ_DECISIONS = f"""
    SELECT clock.now, decision.client_id, decision.idempotency_key, decision.fingerprint, decision.operation,
           decision.outcome, decision.resource_id, decision.resource, decision.problem,
           decision.created_at,
           {", ".join(f"transfer.{name} AS made_{name}" for name in TRANSFER_COLUMNS)}
    FROM (SELECT clock_timestamp() AS now) AS clock
    LEFT JOIN (
        unnest($2::text[], $3::text[]) AS wanted (client_id, idempotency_key)
        CROSS JOIN LATERAL (
            SELECT *
            FROM {SCHEMA}.decisions AS earlier
            WHERE earlier.ledger_id = $1
              AND earlier.client_id = wanted.client_id
              AND earlier.idempotency_key = wanted.idempotency_key
            LIMIT 1
        ) AS decision
    ) ON true
    LEFT JOIN LATERAL (
        SELECT * FROM {SCHEMA}.transfers AS made WHERE made.ledger_id = $1 AND made.id = decision.resource_id LIMIT 1
    ) AS transfer ON true
"""  # noqa: S608 - column names are this module's own

_NEW_COUNTERS = """
    unnest($3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
      AS new (id, currency, loaded_version, version, debits_posted, credits_posted, debits_held, credits_held)
"""


def _update_accounts(new_counters: str, of_ledger: str) -> str:
    """Return the statement that stores the new counters, for exactly the versions that were loaded (any other count of
    rows is a broken lock) and for accounts in the currency of what was posted to them: no foreign key of transfers
    proves that. With them the ledger's head, which is locked, moves to its last place, also when there are no accounts.
    """
    return f"""
        WITH head AS (UPDATE {SCHEMA}.ledger_heads SET last_at = $11 WHERE ledger_id = $1)
        UPDATE {SCHEMA}.accounts AS account
        SET debits_posted = new.debits_posted, credits_posted = new.credits_posted, debits_held = new.debits_held,
            credits_held = new.credits_held, version = new.version, updated_at = $2
        FROM {new_counters}
        WHERE {of_ledger} AND account.id = new.id AND account.currency = new.currency
          AND account.version = new.loaded_version
    """  # noqa: S608


# OFFSET 0 keeps the ledger's id a part of the join: as a condition on accounts alone, the planner would think few rows
# have it.
UPDATE_ACCOUNTS = _update_accounts(
    f"(SELECT $1::integer AS ledger_id, * FROM {_NEW_COUNTERS} OFFSET 0) AS new",  # noqa: S608
    "account.ledger_id = new.ledger_id",
)
# Citus must see the ledger as a condition on accounts, or it asks every shard of every node. The ids beside it leave
# the planner of the node that has it no more rows than there are.
UPDATE_ACCOUNTS_ON_A_NODE = _update_accounts(_NEW_COUNTERS, "account.ledger_id = $1 AND account.id = ANY($3::uuid[])")

# Holds likewise: still open, and captured as far as was loaded.
UPDATE_HOLDS = f"""
    UPDATE {SCHEMA}.holds AS hold
    SET captured_amount = new.captured_amount, status = new.status, closed_at = new.closed_at,
        closed_debit_account_version = new.closed_debit_account_version,
        closed_credit_account_version = new.closed_credit_account_version
    FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::timestamptz[], $7::bigint[], $8::bigint[])
      AS new (id, loaded_amount, captured_amount, status, closed_at, closed_debit_account_version,
              closed_credit_account_version)
    WHERE hold.ledger_id = $1 AND hold.id = new.id AND hold.status = 'open'
      AND hold.captured_amount = new.loaded_amount
"""  # noqa: S608

ADD_REVERSED_AMOUNTS = f"""
    INSERT INTO {SCHEMA}.reversed_transfers AS reversed (ledger_id, transfer_id, amount, reversed_amount)
    SELECT $1, new.transfer_id, new.amount, new.reversed_amount - new.loaded_amount
    FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[])
      AS new (transfer_id, amount, loaded_amount, reversed_amount)
    ON CONFLICT (ledger_id, transfer_id)
    DO UPDATE SET reversed_amount = reversed.reversed_amount + excluded.reversed_amount
"""  # noqa: S608
