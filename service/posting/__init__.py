"""Group commit: many commands, one database transaction; and the rarer commands that have one of their own."""
