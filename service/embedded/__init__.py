"""The PostgreSQL of ``make run`` and of the tests: a real server from a wheel."""
