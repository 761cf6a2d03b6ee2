"""Give accounts codes: their places in a chart of accounts.

The column is null for every account that is there, so nothing is rewritten. The version before knows nothing of it, and
goes on opening and revising accounts beside this one.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FOR_THE_SERVICE = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_service') THEN
        GRANT UPDATE (code) ON funds.accounts TO funds_service;
    END IF;
END $$;
"""


def upgrade() -> None:
    op.execute('ALTER TABLE funds.accounts ADD COLUMN code text COLLATE "C"')
    op.execute("CREATE INDEX ix_accounts_code ON funds.accounts (ledger_id, code, id) WHERE code IS NOT NULL")
    op.execute(FOR_THE_SERVICE)


def downgrade() -> None:
    op.execute("ALTER TABLE funds.accounts DROP COLUMN code")
