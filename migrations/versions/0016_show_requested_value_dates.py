"""Show in the views which value date was asked for, of transfers that were dated forward out of a closed period."""

# ruff: noqa: S608 - names are this module's own

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_ADDED = ", fact.requested_effective_at"
_LEDGER = "(SELECT name FROM funds.ledgers AS one WHERE one.id = fact.ledger_id) AS ledger"
_TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_ENTRY = "fact.client_id AS client, fact.request_id, fact.created_at"


def _change(side: str) -> str:
    other = "credit" if side == "debit" else "debit"
    return f"CASE {side}.normal_side WHEN '{side}' THEN fact.amount WHEN '{other}' THEN -fact.amount END"


def _of_account(side: str, value: str) -> str:
    account = f"one.ledger_id = fact.ledger_id AND one.id = fact.{side}_account_id"
    return f"(SELECT {value} FROM funds.accounts AS one WHERE {account})"


def _transfers(added: str) -> str:
    return f"""
        SELECT fact.ledger_id, ledger.name AS ledger, fact.id, fact.debit_account_id,
               debit.reference AS debit_account_reference, fact.credit_account_id,
               credit.reference AS credit_account_reference, fact.amount, fact.currency,
               {_change("debit")} AS debit_balance_change, {_change("credit")} AS credit_balance_change,
               fact.debit_account_version, fact.credit_account_version, fact.debit_balance_after,
               fact.credit_balance_after, fact.hold_id, fact.reverses_id, fact.group_id, fact.reference,
               fact.description, fact.metadata, fact.client_id AS client, fact.request_id, fact.effective_at,
               fact.created_at{added}
        FROM funds.transfers AS fact
        JOIN funds.ledgers AS ledger ON ledger.id = fact.ledger_id
        LEFT JOIN funds.accounts AS debit ON debit.ledger_id = fact.ledger_id AND debit.id = fact.debit_account_id
        LEFT JOIN funds.accounts AS credit ON credit.ledger_id = fact.ledger_id AND credit.id = fact.credit_account_id
    """


def _posting(side: str, other: str, sign: str, added: str) -> str:
    change = _of_account(side, f"CASE one.normal_side WHEN '{side}' THEN fact.amount ELSE -fact.amount END")
    return f"""
        SELECT fact.ledger_id, {_LEDGER}, fact.id AS transfer_id, '{side}'::text AS side,
               fact.{side}_account_id AS account_id, {_of_account(side, "one.reference")} AS account_reference,
               {_of_account(side, "one.code")} AS account_code, fact.{other}_account_id AS counterparty_id,
               {_of_account(other, "one.reference")} AS counterparty_reference,
               fact.amount, {sign}fact.amount AS signed_amount, {change} AS balance_change,
               fact.{side}_balance_after AS balance_after, fact.{side}_account_version AS account_version,
               fact.currency, fact.reference, fact.description, fact.client_id AS client, fact.effective_at,
               fact.created_at{added}
        FROM funds.transfers AS fact
    """


def _postings(added: str) -> str:
    return f"{_posting('debit', 'credit', '', added)} UNION ALL {_posting('credit', 'debit', '-', added)}"


def _entries(added: str) -> str:
    requested = (
        f""" || CASE WHEN fact.requested_effective_at IS NULL THEN jsonb_build_object()
             ELSE jsonb_build_object('requested_effective_at', {_TIME.format("fact.requested_effective_at")}) END"""
        if added
        else ""
    )
    return f"""
        SELECT fact.ledger_id, {_LEDGER}, fact.id, 'funds.transfer.posted'::text AS type, fact.id AS subject, {_ENTRY},
               jsonb_build_object(
                   'amount', fact.amount, 'credit_account_id', fact.credit_account_id,
                   'credit_account_version', fact.credit_account_version,
                   'credit_balance_after', fact.credit_balance_after, 'currency', fact.currency,
                   'debit_account_id', fact.debit_account_id, 'debit_account_version', fact.debit_account_version,
                   'debit_balance_after', fact.debit_balance_after, 'description', fact.description,
                   'effective_at', {_TIME.format("fact.effective_at")}, 'group_id', fact.group_id,
                   'hold_id', fact.hold_id, 'metadata', fact.metadata, 'reference', fact.reference,
                   'reverses_id', fact.reverses_id
               ){requested} AS data
        FROM funds.transfers AS fact
        UNION ALL
        SELECT fact.ledger_id, {_LEDGER}, fact.id, 'funds.hold.opened'::text, fact.id, {_ENTRY},
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
    """


VIEWS = {
    "transfers": (_transfers, "Transfers, with the references of both accounts and what changed each balance."),
    "postings": (_postings, "Two rows a transfer: a debit, and a credit. Signed amounts add up to zero."),
    "entries": (_entries, "The history: all that happened, one row each, with its author. The order is that of id."),
}

FOR_THE_ROLES = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_auditor') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA funds_audit TO funds_auditor;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_reader') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA funds_audit TO funds_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    for name, (query, _) in VIEWS.items():
        op.execute(f"CREATE OR REPLACE VIEW funds_audit.{name} AS {query(_ADDED)}")


def downgrade() -> None:
    for name, (query, comment) in VIEWS.items():  # a view that is replaced keeps its columns
        op.execute(f"DROP VIEW funds_audit.{name}")
        op.execute(f"CREATE VIEW funds_audit.{name} AS {query('')}")
        op.execute(f"COMMENT ON VIEW funds_audit.{name} IS '{comment}'")
    op.execute(FOR_THE_ROLES)
