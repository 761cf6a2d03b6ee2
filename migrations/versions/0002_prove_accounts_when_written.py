"""Prove the accounts of transfers when they are written, and keep what was proved by privilege.

The foreign keys of transfers to their accounts cost PostgreSQL a quarter of a transfer in a batch: two look-ups a row
that end in the account which the same transaction has locked already. The service's one UPDATE of counters proves the
same once an account: it must find every account, in the version that was loaded and in the currency of its transfers.
And nothing but counters and what an operator may revise can be changed by the service: a currency stays what it was.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SIDES = ("debit", "credit")

CHANGING_COLUMNS = (
    "name, minimum_balance, maximum_balance, status, debits_posted, credits_posted, debits_held, credits_held, version,"
    " metadata, updated_at"
)

FOR_THE_SERVICE = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_service') THEN
        {statements}
    END IF;
END $$;
"""


# The one guarantee that is dropped on purpose, for the reason above; the comment tells the linter so for these alone.
DROP_FOREIGN_KEY = """-- squawk-ignore ban-drop-constraint
ALTER TABLE funds.transfers DROP CONSTRAINT fk_transfers_{side}_account
"""


def upgrade() -> None:
    for side in SIDES:
        op.execute(DROP_FOREIGN_KEY.format(side=side))
    op.execute(
        FOR_THE_SERVICE.format(
            statements="REVOKE UPDATE ON funds.accounts FROM funds_service;"
            f" GRANT UPDATE ({CHANGING_COLUMNS}) ON funds.accounts TO funds_service;"
        )
    )


def downgrade() -> None:
    op.execute(
        FOR_THE_SERVICE.format(
            statements=f"REVOKE UPDATE ({CHANGING_COLUMNS}) ON funds.accounts FROM funds_service;"
            " GRANT UPDATE ON funds.accounts TO funds_service;"
        )
    )
    for side in SIDES:
        op.execute(
            f"ALTER TABLE funds.transfers ADD CONSTRAINT fk_transfers_{side}_account"
            f" FOREIGN KEY (ledger_id, {side}_account_id, currency) REFERENCES funds.accounts (ledger_id, id, currency)"
        )
