"""Let tokens be limited to debiting certain accounts, by their ids or by codes of the chart of accounts.

Of both columns null is no limit, which every token has that was there before. Instances of the version before do not
know a limit: make limited tokens when all instances are of this one.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

ADD_COLUMNS = "ALTER TABLE funds.tokens ADD COLUMN debit_accounts uuid[], ADD COLUMN debit_codes text[]"

# Few tokens are there to be looked at.
ADD_CONSTRAINT = """-- squawk-ignore constraint-missing-not-valid
ALTER TABLE funds.tokens ADD CONSTRAINT ck_tokens_debit_limit CHECK (
    debit_accounts IS NULL AND debit_codes IS NULL OR NOT scopes && ARRAY['admin', 'accounts:write']
)
"""

GRANT = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_service') THEN
        GRANT SELECT (debit_accounts, debit_codes) ON funds.tokens TO funds_service;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_auditor') THEN
        GRANT SELECT (debit_accounts, debit_codes) ON funds.tokens TO funds_auditor;
    END IF;
END $$;
"""


def upgrade() -> None:
    op.execute(ADD_COLUMNS)
    op.execute(ADD_CONSTRAINT)
    op.execute(GRANT)


def downgrade() -> None:
    op.execute(
        "-- squawk-ignore ban-drop-column\nALTER TABLE funds.tokens DROP COLUMN debit_accounts, DROP COLUMN debit_codes"
    )
