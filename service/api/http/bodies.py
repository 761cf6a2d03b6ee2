"""Request bodies that end too soon."""

from typing import Any

from litestar.types import Receive

from service.wire.errors import MalformedError


def refuse_cut_off(receive: Receive) -> Receive:
    """Return a ``receive`` by which a body that is cut off is a problem (malformed_request), not a fault of ours."""
    whole = False

    async def receive_whole() -> Any:
        nonlocal whole
        message = await receive()
        if message["type"] == "http.request":
            whole = not message.get("more_body", False)
        elif not whole:
            raise MalformedError("", "the request was cut off")
        return message

    return receive_whole
