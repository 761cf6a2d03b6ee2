"""Index what was not applied of a client's requests: a token without the scope ``audit`` sees no others."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# As 0010 has it: the condition on the operation is true of every row, and only the query for a client's makes it.
# One that an interrupted try has left is dropped before: it would be there, and serve nobody.
CREATE_INDEX = """-- squawk-ignore prefer-robust-stmts
CREATE INDEX CONCURRENTLY ix_decisions_not_applied_of_client
    ON funds.decisions (ledger_id, client_id, outcome, created_at, idempotency_key)
    WHERE outcome <> 'applied' AND operation <> ''
"""

DROP_INDEX = "DROP INDEX CONCURRENTLY IF EXISTS funds.ix_decisions_not_applied_of_client"

# It waits for transactions that began before, and stops nobody meanwhile.
WAIT = "SET lock_timeout = 0"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(WAIT)
        op.execute(DROP_INDEX)
        op.execute(CREATE_INDEX)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(WAIT)
        op.execute(DROP_INDEX)
