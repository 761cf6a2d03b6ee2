"""The rules of moving money. Pure Python: no I/O, no framework, no clock, no randomness."""
