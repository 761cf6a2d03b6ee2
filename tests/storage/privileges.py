"""What each role of deploy/roles.sql may do in the service's database: all of it. service/README.md shows it too.

A role that is not named for a table may not do anything there. ``ALL`` stands for every column.
"""

ALL = frozenset({"*"})
SERVICE, OPERATOR, AUDITOR, READER = "funds_service", "funds_operator", "funds_auditor", "funds_reader"

_OF_TOKENS = {"id", "client", "token_digest", "scopes", "ledgers", "expires_at", "revoked_at"}
_OF_TOKENS |= {"debit_accounts", "debit_codes", "is_certificate"}
_COUNTERS = {"debits_posted", "credits_posted", "debits_held", "credits_held", "version", "updated_at"}

# table -> role -> privilege -> columns
TABLES: dict[str, dict[str, dict[str, frozenset[str]]]] = {
    "ledgers": {
        SERVICE: {"SELECT": ALL, "INSERT": ALL},
        OPERATOR: {"SELECT": frozenset({"id", "name"})},
        AUDITOR: {"SELECT": ALL},
    },
    "ledger_heads": {
        SERVICE: {
            "SELECT": ALL,
            "INSERT": ALL,
            "UPDATE": frozenset({"last_at", "closed_until", "late_entries"}),
        },
        OPERATOR: {"SELECT": ALL, "UPDATE": frozenset({"last_at"})},
        AUDITOR: {"SELECT": ALL},
    },
    "accounts": {
        SERVICE: {
            "SELECT": ALL,
            "INSERT": ALL,
            "UPDATE": frozenset(
                {"name", "minimum_balance", "maximum_balance", "status", "metadata", "code"} | _COUNTERS
            ),
        },
        AUDITOR: {"SELECT": ALL},
    },
    "holds": {
        SERVICE: {
            "SELECT": ALL,
            "INSERT": ALL,
            "UPDATE": frozenset(
                {
                    "captured_amount",
                    "status",
                    "closed_at",
                    "closed_debit_account_version",
                    "closed_credit_account_version",
                }
            ),
        },
        AUDITOR: {"SELECT": ALL},
    },
    "transfers": {SERVICE: {"SELECT": ALL, "INSERT": ALL}, AUDITOR: {"SELECT": ALL}},
    "reversed_transfers": {
        SERVICE: {"SELECT": ALL, "INSERT": ALL, "UPDATE": frozenset({"reversed_amount"})},
        AUDITOR: {"SELECT": ALL},
    },
    "history": {
        SERVICE: {"SELECT": ALL, "INSERT": ALL},
        OPERATOR: {"SELECT": ALL, "INSERT": ALL},
        AUDITOR: {"SELECT": ALL},
    },
    "log_tiles": {SERVICE: {"SELECT": ALL, "INSERT": ALL}, AUDITOR: {"SELECT": ALL}},
    "log_checkpoints": {SERVICE: {"SELECT": ALL, "INSERT": ALL}, AUDITOR: {"SELECT": ALL}},
    "log_cosignatures": {SERVICE: {"SELECT": ALL, "INSERT": ALL}, AUDITOR: {"SELECT": ALL}},
    "decisions": {SERVICE: {"SELECT": ALL, "INSERT": ALL}, AUDITOR: {"SELECT": ALL}},
    "tokens": {
        SERVICE: {"SELECT": frozenset(_OF_TOKENS | {"token_hash"})},
        OPERATOR: {"SELECT": ALL, "INSERT": ALL, "UPDATE": frozenset({"revoked_at"})},
        AUDITOR: {"SELECT": frozenset(_OF_TOKENS | {"created_at"})},
    },
    "token_uses": {
        SERVICE: {"SELECT": ALL, "INSERT": ALL, "UPDATE": frozenset({"requests", "last_used_at"})},
        OPERATOR: {"SELECT": ALL},
        AUDITOR: {"SELECT": ALL},
    },
    "verifications": {
        SERVICE: {
            "SELECT": ALL,
            "INSERT": ALL,
            "UPDATE": frozenset({"damaged", "completed_at", "complete", "running"}),
        },
        AUDITOR: {"SELECT": ALL},
    },
    "alembic_version": {SERVICE: {"SELECT": ALL}, OPERATOR: {"SELECT": ALL}, AUDITOR: {"SELECT": ALL}},
}

# sequence -> role -> privileges
SEQUENCES: dict[str, dict[str, frozenset[str]]] = {"ledgers_id_seq": {SERVICE: frozenset({"USAGE"})}}

VIEWS = frozenset(
    {"ledgers", "accounts", "transfers", "postings", "holds", "decisions", "history", "entries", "checkpoints"}
)
"""The views of the schema ``funds_audit``. Those who read them may do nothing else there, and nobody else anything."""
VIEW_READERS = frozenset({AUDITOR, READER})

ROLES = (SERVICE, OPERATOR, AUDITOR, READER)
COLUMN_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "REFERENCES")
TABLE_PRIVILEGES = (*COLUMN_PRIVILEGES, "DELETE", "TRUNCATE", "TRIGGER")
