"""HTTP: one module a resource, wire schemas, problems, security."""
