"""Say of each token whether it is a certificate, which a proxy passes on; its hash does not tell."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

ADD_COLUMN = "ALTER TABLE funds.tokens ADD COLUMN is_certificate boolean NOT NULL DEFAULT false"

GRANT = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_service') THEN
        GRANT SELECT (is_certificate) ON funds.tokens TO funds_service;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_auditor') THEN
        GRANT SELECT (is_certificate) ON funds.tokens TO funds_auditor;
    END IF;
END $$;
"""


def upgrade() -> None:
    op.execute(ADD_COLUMN)
    op.execute(GRANT)


def downgrade() -> None:
    op.execute("-- squawk-ignore ban-drop-column\nALTER TABLE funds.tokens DROP COLUMN is_certificate")
