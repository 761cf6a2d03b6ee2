"""HTTP: one module a resource, what all of them share of the protocol, the OpenAPI document."""
