"""The resources of the API, one module each: routes, and conversions between wire types and the domain."""
