"""If-Match: reading the header (RFC 9110, section 13.1.1)."""

import re
from typing import Annotated

from litestar.params import HeaderParameter

from service.errors import ProblemError
from service.wire.errors import MalformedError
from service.wire.reasons import PreconditionRequired

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_OPAQUE = re.compile(r'"([\x21\x23-\x7e\x80-\xff]*)"')
# Of two parts that match the same text a hostile header could make every split be tried; these have none.
_LIST = re.compile(rf"[ \t]*(?:,[ \t]*)*{_TAG}[ \t]*(?:,[ \t]*(?:{_TAG}[ \t]*)?)*")

IF_MATCH_PATTERN = rf"^(?:\*|{_TAG}(?: *, *{_TAG})*)$"

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        description="The ETag of the state to change as it came, or several of them, or `*` for any state.",
    ),
]


def expected_tags(if_match: str | None) -> frozenset[str] | None:
    """Return what stands in the tags that If-Match lists; None for `*`.

    A tag that a proxy has made weak (`W/"…"`) counts like the tag itself: what it names differs in every change that
    PATCH makes, whatever the bytes of the answer were. Raises ProblemError (precondition_required) or MalformedError.
    """
    if if_match is None:
        raise ProblemError(PreconditionRequired())
    if if_match.strip(" \t") == "*":
        return None
    if not _LIST.fullmatch(if_match):
        raise MalformedError(
            "/header/If-Match",
            "this is no list of entity tags, which stand in double quotes; send the ETag as it came, such as"
            ' "0f5c9b1e", or * for any state',
        )
    return frozenset(_OPAQUE.findall(if_match))
