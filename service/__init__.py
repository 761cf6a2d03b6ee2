"""The funds transfer service: double-entry transfers between accounts on PostgreSQL."""
