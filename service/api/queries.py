"""Query strings: what no route understands is refused, not ignored."""

from collections.abc import Container
from urllib.parse import parse_qsl

from service.api.problems import malformed


def refuse_unknown_parameters(query_string: bytes, known: Container[str]) -> None:
    """Check that a query has only ``known`` parameters: a filter misspelt must not answer as if there were none.

    Raises ProblemError (malformed_request), also for NUL, which PostgreSQL's text cannot hold.
    """
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            raise malformed(f"/query/{name}", "this operation has no such parameter")
        if "\x00" in value:
            raise malformed(f"/query/{name}", "NUL is not allowed")
