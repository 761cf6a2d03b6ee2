"""Index transfers that were dated apart from their recording, and holds by how long they were open.

Balances at a time need both. The former cost nothing of what has no value date of its own; the latter is written once,
when a hold ends. Others wait for the lock of a table until its indexes are built: seconds for ten million rows, for
what was dated apart is looked for in all of them.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_APART = "WHERE effective_at <> created_at"
_OPEN_MILLISECONDS_DIGITS = "length((EXTRACT(epoch FROM closed_at - created_at) * 1000::numeric)::bigint::text)"

INDEXES = {
    **{
        f"ix_transfers_{side}_{name}": f"transfers (ledger_id, {side}_account_id, {columns}) {_APART}"
        for side in ("debit", "credit")
        for name, columns in (
            ("value_date", "effective_at, id) INCLUDE (amount"),
            ("apart", "id) INCLUDE (effective_at, amount"),
        )
    },
    "ix_transfers_apart": f"transfers (ledger_id, id) INCLUDE (effective_at) {_APART}",
    **{
        f"ix_holds_closed_{side}": f"holds (ledger_id, {side}_account_id, ({_OPEN_MILLISECONDS_DIGITS}), closed_at,"
        f" closed_{side}_account_version) WHERE closed_at IS NOT NULL"
        for side in ("debit", "credit")
    },
}


def upgrade() -> None:
    for name, rows in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON funds.{rows}")


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX funds.{name}")
