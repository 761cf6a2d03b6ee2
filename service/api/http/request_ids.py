"""Request ids: what a caller calls a request, so that it is found again in the history that it made."""

import re
from typing import Annotated

from litestar.params import HeaderParameter

from service.wire.errors import MalformedError

REQUEST_ID_HEADER = "X-Request-Id"
REQUEST_ID_LENGTH_MAX = 128
REQUEST_ID_PATTERN = f"^[\\x21-\\x7e]{{1,{REQUEST_ID_LENGTH_MAX}}}$"

_REQUEST_ID = re.compile(REQUEST_ID_PATTERN)

RequestId = Annotated[
    str | None,
    HeaderParameter(
        name=REQUEST_ID_HEADER,
        description="What the caller calls this request, such as the id of its trace: 1–128 visible ASCII characters."
        " It is kept with what the request did, in the ledger's history; it decides nothing.",
    ),
]


def parse_request_id(header: str | None) -> str | None:
    """Return the id that the header gives. Raises MalformedError for other characters, and for more of them."""
    if header is not None and not _REQUEST_ID.fullmatch(header):
        raise MalformedError(
            f"/header/{REQUEST_ID_HEADER}", f"this must be 1 to {REQUEST_ID_LENGTH_MAX} visible ASCII characters"
        )
    return header
