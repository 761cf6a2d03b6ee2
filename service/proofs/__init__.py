"""Proofs of what a log holds: made and verified without a database, and without anything else of the service."""
