"""What each role of deploy/roles.sql may do in the service's database: all of it. service/README.md shows it too.

A role that is not named for a table may not do anything there. ``ALL`` stands for every column.
"""

ALL = frozenset({"*"})
SERVICE, OPERATOR, AUDITOR = "funds_service", "funds_operator", "funds_auditor"

_COUNTERS = {"debits_posted", "credits_posted", "debits_held", "credits_held", "version", "updated_at"}

# table -> role -> privilege -> columns
TABLES: dict[str, dict[str, dict[str, frozenset[str]]]] = {
    "ledgers": {
        SERVICE: {"SELECT": ALL, "INSERT": ALL},
        OPERATOR: {"SELECT": frozenset({"id", "name"})},
        AUDITOR: {"SELECT": ALL},
    },
    "accounts": {
        SERVICE: {
            "SELECT": ALL,
            "INSERT": ALL,
            "UPDATE": frozenset({"name", "minimum_balance", "maximum_balance", "status", "metadata"} | _COUNTERS),
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
    "decisions": {SERVICE: {"SELECT": ALL, "INSERT": ALL}, AUDITOR: {"SELECT": ALL}},
    "tokens": {
        SERVICE: {"SELECT": frozenset({"id", "client", "token_hash", "scopes", "ledgers", "expires_at", "revoked_at"})},
        OPERATOR: {"SELECT": ALL, "INSERT": ALL, "UPDATE": frozenset({"revoked_at"})},
        AUDITOR: {"SELECT": frozenset({"id", "client", "scopes", "ledgers", "created_at", "expires_at", "revoked_at"})},
    },
    "alembic_version": {SERVICE: {"SELECT": ALL}, OPERATOR: {"SELECT": ALL}, AUDITOR: {"SELECT": ALL}},
}

# sequence -> role -> privileges
SEQUENCES: dict[str, dict[str, frozenset[str]]] = {"ledgers_id_seq": {SERVICE: frozenset({"USAGE"})}}

ROLES = (SERVICE, OPERATOR, AUDITOR)
COLUMN_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "REFERENCES")
TABLE_PRIVILEGES = (*COLUMN_PRIVILEGES, "DELETE", "TRUNCATE", "TRIGGER")
