"""Count the uses of tokens: how many requests each had on each day, and when the last one came.

The service's role changes its counters: a row for each write would grow for ever, by a thousand a day and token.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

USES = """
CREATE TABLE funds.token_uses (
    token_id     uuid NOT NULL,
    day          date NOT NULL,
    requests     bigint NOT NULL,
    last_used_at timestamptz NOT NULL,
    CONSTRAINT pk_token_uses PRIMARY KEY (token_id, day),
    CONSTRAINT fk_token_uses_token FOREIGN KEY (token_id) REFERENCES funds.tokens (id),
    CONSTRAINT ck_token_uses_requests CHECK (requests > 0)
) WITH (fillfactor = 50)
"""

FOR_THE_ROLES = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_service') THEN
        GRANT UPDATE (requests, last_used_at) ON funds.token_uses TO funds_service;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_operator') THEN
        GRANT SELECT ON funds.token_uses TO funds_operator;
    END IF;
END $$;
"""


def upgrade() -> None:
    op.execute(USES)
    op.execute(FOR_THE_ROLES)


def downgrade() -> None:
    op.execute("DROP TABLE funds.token_uses")
