"""Reading and proving: what auditors and operators ask of a ledger as a whole."""
