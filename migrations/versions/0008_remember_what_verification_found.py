"""Remember what the verification of each ledger found: for every process, and over restarts.

A row a ledger: the last pass that ended, and the one that is under way with its place, as JSON.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

VERIFICATIONS = """
CREATE TABLE funds.verifications (
    ledger_id    integer NOT NULL,
    damaged      boolean NOT NULL,
    completed_at timestamptz,
    complete     json,
    running      json,
    CONSTRAINT pk_verifications PRIMARY KEY (ledger_id)
)
"""

FOR_THE_SERVICE = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_service') THEN
        GRANT UPDATE (damaged, completed_at, complete, running) ON funds.verifications TO funds_service;
    END IF;
END $$;
"""


def upgrade() -> None:
    op.execute(VERIFICATIONS)
    op.execute(FOR_THE_SERVICE)


def downgrade() -> None:
    op.execute("DROP TABLE funds.verifications")
