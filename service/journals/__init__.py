"""Files of other accounting programs: what a ledger is exported as, and what entries are imported from. Pure."""
