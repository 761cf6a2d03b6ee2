"""The console: the API as pages for auditors and operators (docs/console.md)."""
