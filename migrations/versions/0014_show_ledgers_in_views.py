"""Show ledgers in views, for people and programs that ask in SQL: a schema of their own, without tokens and keys.

A view reads with the rights of its owner, so whoever reads it needs none on the tables. Those that leave rows out are
security barriers: no function of a query sees what they leave out.
"""

# ruff: noqa: S608 - names are this module's own

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# The owner of the schema `funds` may not make another one: roles.sql does.
MAKE_SCHEMA = """
DO $$ BEGIN
    IF to_regnamespace('funds_audit') IS NULL THEN
        CREATE SCHEMA funds_audit;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE insufficient_privilege USING MESSAGE =
        'the schema funds_audit is missing: run deploy/roles.sql again (funds roles prints it), then migrate';
END $$
"""

_LEDGER = "fact.ledger_id, ledger.name AS ledger"
_OF_LEDGER = "JOIN funds.ledgers AS ledger ON ledger.id = fact.ledger_id"
# Not lost where an account is: then verification has something to say.
_SIDES = """
    LEFT JOIN funds.accounts AS debit ON debit.ledger_id = fact.ledger_id AND debit.id = fact.debit_account_id
    LEFT JOIN funds.accounts AS credit ON credit.ledger_id = fact.ledger_id AND credit.id = fact.credit_account_id
"""
_DEBIT_CHANGE = "CASE debit.normal_side WHEN 'debit' THEN fact.amount WHEN 'credit' THEN -fact.amount END"
_CREDIT_CHANGE = "CASE credit.normal_side WHEN 'credit' THEN fact.amount WHEN 'debit' THEN -fact.amount END"

# A part of a UNION ALL has one table and no join, so that PostgreSQL reads the parts along their indexes and merges
# them: the latest rows of an account are found without the others.
_NAMED_LEDGER = "fact.ledger_id, (SELECT name FROM funds.ledgers AS one WHERE one.id = fact.ledger_id) AS ledger"


def _of_account(side: str, value: str) -> str:
    account = f"one.ledger_id = fact.ledger_id AND one.id = fact.{side}_account_id"
    return f"(SELECT {value} FROM funds.accounts AS one WHERE {account})"


def _posting(side: str, other: str, sign: str) -> str:
    change = _of_account(side, f"CASE one.normal_side WHEN '{side}' THEN fact.amount ELSE -fact.amount END")
    return f"""
        SELECT {_NAMED_LEDGER}, fact.id AS transfer_id, '{side}'::text AS side, fact.{side}_account_id AS account_id,
               {_of_account(side, "one.reference")} AS account_reference,
               {_of_account(side, "one.code")} AS account_code, fact.{other}_account_id AS counterparty_id,
               {_of_account(other, "one.reference")} AS counterparty_reference,
               fact.amount, {sign}fact.amount AS signed_amount, {change} AS balance_change,
               fact.{side}_balance_after AS balance_after, fact.{side}_account_version AS account_version,
               fact.currency, fact.reference, fact.description, fact.client_id AS client, fact.effective_at,
               fact.created_at
        FROM funds.transfers AS fact
    """


_TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_ENTRY = "fact.client_id AS client, fact.request_id, fact.created_at"

VIEWS = {
    "ledgers": """
        SELECT id AS ledger_id, name AS ledger, description, created_at FROM funds.ledgers
    """,
    "accounts": f"""
        SELECT {_LEDGER}, fact.id, fact.reference, fact.name, fact.code, fact.currency, fact.normal_side,
               fact.minimum_balance, fact.maximum_balance, fact.status, fact.debits_posted, fact.credits_posted,
               fact.debits_held, fact.credits_held,
               CASE fact.normal_side WHEN 'credit' THEN fact.credits_posted - fact.debits_posted
                                     ELSE fact.debits_posted - fact.credits_posted END AS balance,
               CASE fact.normal_side WHEN 'credit' THEN fact.credits_posted - fact.debits_posted - fact.debits_held
                                     ELSE fact.debits_posted - fact.credits_posted - fact.credits_held
               END AS available_balance,
               fact.version, fact.metadata, fact.client_id AS client, fact.created_at, fact.updated_at
        FROM funds.accounts AS fact {_OF_LEDGER}
    """,
    "transfers": f"""
        SELECT {_LEDGER}, fact.id, fact.debit_account_id, debit.reference AS debit_account_reference,
               fact.credit_account_id, credit.reference AS credit_account_reference, fact.amount, fact.currency,
               {_DEBIT_CHANGE} AS debit_balance_change, {_CREDIT_CHANGE} AS credit_balance_change,
               fact.debit_account_version, fact.credit_account_version, fact.debit_balance_after,
               fact.credit_balance_after, fact.hold_id, fact.reverses_id, fact.group_id, fact.reference,
               fact.description, fact.metadata, fact.client_id AS client, fact.request_id, fact.effective_at,
               fact.created_at
        FROM funds.transfers AS fact {_OF_LEDGER} {_SIDES}
    """,
    "postings": f"""
        {_posting("debit", "credit", "")} UNION ALL {_posting("credit", "debit", "-")}
    """,
    "holds": f"""
        SELECT {_LEDGER}, fact.id, fact.debit_account_id, debit.reference AS debit_account_reference,
               fact.credit_account_id, credit.reference AS credit_account_reference, fact.amount, fact.captured_amount,
               fact.currency, fact.status, fact.expires_at, fact.debit_account_version, fact.credit_account_version,
               fact.closed_debit_account_version, fact.closed_credit_account_version, fact.group_id, fact.reference,
               fact.description, fact.metadata, fact.client_id AS client, fact.request_id, fact.created_at,
               fact.closed_at
        FROM funds.holds AS fact {_OF_LEDGER} {_SIDES}
    """,
    "decisions": f"""
        SELECT {_LEDGER}, fact.client_id AS client, fact.operation, fact.outcome, fact.resource_id,
               fact.problem ->> 'code' AS code, fact.problem ->> 'detail' AS detail,
               (fact.problem -> 'members')::jsonb - 'refused_idempotency_key' AS members, fact.terms::jsonb AS terms,
               fact.debit_account_id, fact.credit_account_id, fact.created_at AS decided_at
        FROM funds.decisions AS fact {_OF_LEDGER}
    """,
    "history": f"""
        SELECT {_LEDGER}, fact.id, 'funds.' || fact.type AS type, fact.subject_id AS subject, {_ENTRY},
               fact.data::jsonb #- '{{problem,members,refused_idempotency_key}}' AS data
        FROM funds.history AS fact {_OF_LEDGER}
    """,
    "entries": f"""
        SELECT {_NAMED_LEDGER}, fact.id, 'funds.transfer.posted'::text AS type, fact.id AS subject, {_ENTRY},
               jsonb_build_object(
                   'amount', fact.amount, 'credit_account_id', fact.credit_account_id,
                   'credit_account_version', fact.credit_account_version,
                   'credit_balance_after', fact.credit_balance_after, 'currency', fact.currency,
                   'debit_account_id', fact.debit_account_id, 'debit_account_version', fact.debit_account_version,
                   'debit_balance_after', fact.debit_balance_after, 'description', fact.description,
                   'effective_at', {_TIME.format("fact.effective_at")}, 'group_id', fact.group_id,
                   'hold_id', fact.hold_id, 'metadata', fact.metadata, 'reference', fact.reference,
                   'reverses_id', fact.reverses_id
               ) AS data
        FROM funds.transfers AS fact
        UNION ALL
        SELECT {_NAMED_LEDGER}, fact.id, 'funds.hold.opened'::text, fact.id, {_ENTRY},
               jsonb_build_object(
                   'amount', fact.amount, 'credit_account_id', fact.credit_account_id,
                   'credit_account_version', fact.credit_account_version, 'currency', fact.currency,
                   'debit_account_id', fact.debit_account_id, 'debit_account_version', fact.debit_account_version,
                   'description', fact.description, 'expires_at', {_TIME.format("fact.expires_at")},
                   'group_id', fact.group_id, 'metadata', fact.metadata, 'reference', fact.reference
               )
        FROM funds.holds AS fact
        UNION ALL
        SELECT ledger_id, ledger, id, type, subject, client, request_id, created_at, data FROM funds_audit.history
    """,
    "checkpoints": f"""
        SELECT {_LEDGER}, fact.size, fact.root, fact.last_entry_id, fact.note, fact.created_at
        FROM funds.log_checkpoints AS fact {_OF_LEDGER}
    """,
}

COMMENTS = {
    "ledgers": "The ledgers.",
    "accounts": "Accounts as they are now, with both balances on the normal side, in minor units.",
    "transfers": "Transfers, with the references of both accounts and what changed each balance.",
    "postings": "Two rows a transfer: a debit, and a credit. Signed amounts add up to zero.",
    "holds": "Holds and what became of them.",
    "decisions": "What was decided of every request under a key, without the keys.",
    "history": "Entries of the history that are neither a transfer nor the opening of a hold.",
    "entries": "The history: all that happened, one row each, with its author. The order is that of id.",
    "checkpoints": "Sealed sizes and roots of the logs of ledgers, with the signed notes that say so.",
}
_BARRIERS = {"decisions", "history", "checkpoints"}
"""Those that leave out what belongs to no ledger: ledgers and tokens as they are made, and their log. A view that is a
UNION ALL would be none: PostgreSQL takes it apart first, and so `entries` has `history` inside.
"""

# A role that is made later gets it from roles.sql.
FOR_THE_ROLES = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_auditor') THEN
        GRANT USAGE ON SCHEMA funds_audit TO funds_auditor;
        GRANT SELECT ON ALL TABLES IN SCHEMA funds_audit TO funds_auditor;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_reader') THEN
        GRANT USAGE ON SCHEMA funds_audit TO funds_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA funds_audit TO funds_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    op.execute(MAKE_SCHEMA)
    for name, query in VIEWS.items():
        options = " WITH (security_barrier)" if name in _BARRIERS else ""
        op.execute(f"CREATE VIEW funds_audit.{name}{options} AS {query}")
        op.execute(f"COMMENT ON VIEW funds_audit.{name} IS '{COMMENTS[name]}'")
    op.execute(FOR_THE_ROLES)


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW funds_audit.{name}")
