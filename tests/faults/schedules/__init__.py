"""Faults of every kind, in an order that a seed draws, while callers record histories that the checker judges."""
