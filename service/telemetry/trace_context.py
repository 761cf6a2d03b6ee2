"""W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context-1/): the header ``traceparent``, read strictly."""

import re

TRACEPARENT_HEADER = "traceparent"

# Lower case alone; no version ff; no identifier of zeros alone. Only later versions may have more behind the flags.
_TRACEPARENT = re.compile(
    rb"(?!ff)(?P<version>[0-9a-f]{2})-(?P<ids>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    rb"(?P<more>-[ -~]*)?"
)
_SAMPLED = 1


def read_traceparent(header: bytes) -> str | None:
    """Return ``header`` in version 00, with no flag but that of sampling; None where it is not valid.

    Of a later version that is read which level 1 knows, as the specification asks for.
    """
    match = _TRACEPARENT.fullmatch(header)
    if match is None or (match["version"] == b"00" and match["more"] is not None):
        return None
    return f"00-{match['ids'].decode()}-{int(match['flags'], 16) & _SAMPLED:02x}"


def traceparent_of(trace_id: int, span_id: int) -> str:
    """Return the header of a span that is sampled."""
    return f"00-{trace_id:032x}-{span_id:016x}-{_SAMPLED:02x}"


def trace_id_of(traceparent: str) -> str:
    """Return the identifier of the trace: 32 hexadecimal digits."""
    return traceparent[3:35]


def span_id_of(traceparent: str) -> str:
    """Return the identifier of the span: 16 hexadecimal digits."""
    return traceparent[36:52]


def is_sampled(traceparent: str) -> bool:
    """Whether whoever sent it may have recorded its trace."""
    return bool(int(traceparent[53:55], 16) & _SAMPLED)
