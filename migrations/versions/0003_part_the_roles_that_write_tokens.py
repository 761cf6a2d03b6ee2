"""Let the operator's role write tokens and the service's role only look them up; bound what else the roles may do.

The service's role could make itself a token with every scope, and the auditor's could read the hashes of all. Of holds
and of reversed transfers the service could change what never changes: their terms and their accounts.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LOOKED_UP = "id, client, token_hash, scopes, ledgers, expires_at, revoked_at"
AUDITED = "id, client, scopes, ledgers, created_at, expires_at, revoked_at"
CHANGING_IN_HOLDS = "captured_amount, status, closed_at, closed_debit_account_version, closed_credit_account_version"

FOR_THE_ROLE = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        {statements}
    END IF;
END $$;
"""

GRANTS = {
    "funds_service": f"""
        REVOKE ALL ON funds.tokens FROM funds_service;
        GRANT SELECT ({LOOKED_UP}) ON funds.tokens TO funds_service;
        REVOKE UPDATE ON funds.holds FROM funds_service;
        GRANT UPDATE ({CHANGING_IN_HOLDS}) ON funds.holds TO funds_service;
        REVOKE UPDATE ON funds.reversed_transfers FROM funds_service;
        GRANT UPDATE (reversed_amount) ON funds.reversed_transfers TO funds_service;""",  # noqa: S608 - constants
    "funds_operator": """
        GRANT SELECT, INSERT, UPDATE (revoked_at) ON funds.tokens TO funds_operator;
        GRANT SELECT (id, name) ON funds.ledgers TO funds_operator;
        GRANT SELECT ON funds.alembic_version TO funds_operator;""",
    "funds_auditor": f"""
        REVOKE ALL ON funds.tokens FROM funds_auditor;
        GRANT SELECT ({AUDITED}) ON funds.tokens TO funds_auditor;""",
}

GRANTS_BEFORE = {
    "funds_service": """
        REVOKE ALL ON funds.tokens, funds.holds, funds.reversed_transfers FROM funds_service;
        GRANT SELECT, INSERT, UPDATE ON funds.tokens, funds.holds, funds.reversed_transfers TO funds_service;""",
    "funds_operator": """
        REVOKE ALL ON funds.tokens, funds.ledgers, funds.alembic_version FROM funds_operator;""",
    "funds_auditor": """
        REVOKE ALL ON funds.tokens FROM funds_auditor;
        GRANT SELECT ON funds.tokens TO funds_auditor;""",
}


def upgrade() -> None:
    for role, statements in GRANTS.items():
        op.execute(FOR_THE_ROLE.format(role=role, statements=statements.strip()))


def downgrade() -> None:
    for role, statements in GRANTS_BEFORE.items():
        op.execute(FOR_THE_ROLE.format(role=role, statements=statements.strip()))
