"""The test server: a real service on a database of its own, in a process of its own."""
