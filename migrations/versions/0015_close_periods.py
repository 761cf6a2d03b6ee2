"""Close periods: up to which value date a ledger is closed stands in its head; a transfer keeps the value date that was
asked for, where it was dated forward out of a closed period.

All columns are null for what is there, so nothing is rewritten. The version before neither heeds a closing nor
shows what was dated forward, so no period may be closed while one of its processes runs.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# A head is a row a ledger: to look at all of them takes no time. The comment tells the linter so for these alone.
PERIOD = """-- squawk-ignore constraint-missing-not-valid
ALTER TABLE funds.ledger_heads
    ADD COLUMN closed_until timestamptz,
    ADD COLUMN late_entries text,
    ADD CONSTRAINT ck_ledger_heads_period
        CHECK ((closed_until IS NULL) = (late_entries IS NULL) AND late_entries IN ('reject', 'forward'))
"""

FOR_THE_SERVICE = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_service') THEN
        GRANT UPDATE (closed_until, late_entries) ON funds.ledger_heads TO funds_service;
    END IF;
END $$;
"""


def upgrade() -> None:
    op.execute(PERIOD)
    op.execute("ALTER TABLE funds.transfers ADD COLUMN requested_effective_at timestamptz")
    op.execute(FOR_THE_SERVICE)


def downgrade() -> None:
    op.execute("ALTER TABLE funds.transfers DROP COLUMN requested_effective_at")
    op.execute("ALTER TABLE funds.ledger_heads DROP COLUMN closed_until, DROP COLUMN late_entries")
