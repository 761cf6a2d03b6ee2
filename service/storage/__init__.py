"""Everything that speaks to PostgreSQL: tables, statements, sessions, retries, error translation."""
