"""Index what was not applied of a client's requests: a token without the scope ``audit`` sees no others."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# As 0010 has it: the condition on the operation is true of every row, and only the query for a client's makes it.
# Writers wait for this lock until the index is built: a second or two for a million decisions that were not applied.
# Before the first release instances are stopped meanwhile (docs/changelog.md).
CREATE_INDEX = """-- squawk-ignore require-concurrent-index-creation
CREATE INDEX ix_decisions_not_applied_of_client
    ON funds.decisions (ledger_id, client_id, outcome, created_at, idempotency_key)
    WHERE outcome <> 'applied' AND operation <> ''
"""

DROP_INDEX = """-- squawk-ignore require-concurrent-index-deletion
DROP INDEX funds.ix_decisions_not_applied_of_client
"""


def upgrade() -> None:
    op.execute(CREATE_INDEX)


def downgrade() -> None:
    op.execute(DROP_INDEX)
