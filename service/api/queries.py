"""Query strings: what no route understands is refused, not ignored."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from service.api.problems import malformed


async def refuse_unknown_parameters(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard of every route: a filter misspelt must not answer as if there were none, and PostgreSQL's text has no NUL.

    Raises ProblemError (malformed_request).
    """
    if not connection.scope["query_string"]:
        return
    known = handler.parsed_fn_signature.parameters
    for name, value in connection.query_params.multi_items():
        if name not in known:
            raise malformed(f"/query/{name}", "this operation has no such parameter")
        if "\x00" in value:
            raise malformed(f"/query/{name}", "NUL is not allowed")
