"""Part the indexes of decisions that were not applied, so that an account's are found in the account's own.

Both the index of a ledger's and those of an account's have the order of the lists. Where PostgreSQL has no statistics,
it expects a row or none from either, and it may read all of a ledger's for the few of an account. The ledger's has a
condition now, true of every row, that only the query for a ledger's makes.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Writers wait for this lock until the index is built: a second or two for a million decisions that were not applied.
CREATE_INDEX = """
CREATE INDEX {name} ON funds.decisions (ledger_id, outcome, created_at, client_id, idempotency_key) WHERE {rows}
"""

DROP_INDEX = """-- squawk-ignore require-concurrent-index-deletion
DROP INDEX funds.{name}
"""


def upgrade() -> None:
    op.execute(CREATE_INDEX.format(name="ix_decisions_not_applied", rows="outcome <> 'applied' AND client_id <> ''"))
    op.execute(DROP_INDEX.format(name="ix_decisions_refused"))


def downgrade() -> None:
    op.execute(CREATE_INDEX.format(name="ix_decisions_refused", rows="outcome <> 'applied'"))
    op.execute(DROP_INDEX.format(name="ix_decisions_not_applied"))
