"""Pays salaries by the funds transfer service."""
