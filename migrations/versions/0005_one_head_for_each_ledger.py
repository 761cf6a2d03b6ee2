"""Give every ledger a head: the row that whoever writes to the ledger locks first, with its last place in the order.

Ledger 0 is the installation's own: decisions about ledgers stand under it. Half of every page is left free, so that a
head that moves with every batch stays in its page (HOT). Nothing points at a head.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LEDGER_HEADS = """
CREATE TABLE funds.ledger_heads (
    ledger_id integer NOT NULL,
    last_at   timestamptz NOT NULL,
    CONSTRAINT pk_ledger_heads PRIMARY KEY (ledger_id),
    CONSTRAINT ck_ledger_heads_ledger CHECK (ledger_id >= 0)
) WITH (fillfactor = 50)
"""

# The latest of everything that has a time in the order of its ledger. The ledger's own opening is there if nothing is.
FILL = """
INSERT INTO funds.ledger_heads (ledger_id, last_at)
SELECT ledger_id, max(last_at)
FROM (
    SELECT id AS ledger_id, created_at AS last_at FROM funds.ledgers
    UNION ALL SELECT 0, clock_timestamp()
    UNION ALL SELECT 0, max(created_at) FROM funds.ledgers
    UNION ALL SELECT 0, max(greatest(created_at, revoked_at)) FROM funds.tokens
    UNION ALL SELECT ledger_id, max(updated_at) FROM funds.accounts GROUP BY ledger_id
    UNION ALL SELECT ledger_id, max(created_at) FROM funds.transfers GROUP BY ledger_id
    UNION ALL SELECT ledger_id, max(greatest(created_at, closed_at)) FROM funds.holds GROUP BY ledger_id
    UNION ALL SELECT ledger_id, max(created_at) FROM funds.decisions GROUP BY ledger_id
) AS stored
GROUP BY ledger_id
"""

GRANT = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        GRANT {privileges} ON funds.ledger_heads TO {role};
    END IF;
END $$;
"""


def upgrade() -> None:
    op.execute(LEDGER_HEADS)
    op.execute(FILL)
    op.execute(GRANT.format(role="funds_service", privileges="UPDATE (last_at)"))
    op.execute(GRANT.format(role="funds_operator", privileges="SELECT, UPDATE (last_at)"))


def downgrade() -> None:
    op.execute("DROP TABLE funds.ledger_heads")
