"""Which bytes are drawn, and how many: what is right with some changes, for bytes at random are refused at the first.

``make test`` draws the same few every time. ``make fuzz`` draws others, from a seed that it prints.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CHANGES_MAX = 6
LARGE_BYTES = 24 * 1024
_CUT_BYTES_MAX = 12
_EITHER: dict[str, Any] = {
    "database": None,
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
}
FUZZ = "fuzz"
settings.register_profile(FUZZ, max_examples=150, print_blob=True, **_EITHER)  # and again, as long as there is time

# What means something to more than one of the decoders.
TOKENS = (
    *(
        b"\x00",
        b"\xff",
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\x1f",
        b"\x7f",
        b"\r",
        b"\n",
        b"\r\n",
        b"\t",
        b" ",
    ),
    *(b'"', b"'", b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b";", b"/", b"%", b"%00", b"%2f"),
    *(
        b"0",
        b"-0",
        b"-1",
        b"1e400",
        b"1.5",
        b"9223372036854775807",
        b"9223372036854775808",
        b"9" * 400,
        b"NaN",
        b"null",
    ),
    *(b"true", b"[" * 40, b'{"a":' * 40, b"A" * 300, "é".encode(), "\u2028".encode(), "\U0001f3e6".encode()),
)


class Target(NamedTuple):
    """What reads bytes of others: ``read`` returns, or raises one of ``told``. ``samples`` are right, ``tokens`` mean
    something to it. Nothing longer than ``bytes_max`` is tried.
    """

    name: str
    read: Callable[[bytes], object]
    told: tuple[type[Exception], ...]
    samples: Sequence[bytes]
    tokens: Sequence[bytes] = ()
    bytes_max: int = LARGE_BYTES


def say(sentence: str) -> None:
    """Tell whoever runs this, at once."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def as_text(data: bytes) -> str:
    """Return ``data`` as Python has what comes on a command line: any byte can be in it."""
    return data.decode(errors="surrogateescape")


def fuzzed(examples: int = 40) -> settings:
    """Return the settings that were asked for on the command line; ``examples`` of them in ``make test``."""
    if settings.get_current_profile_name() == FUZZ:
        return settings.get_profile(FUZZ)
    return settings(max_examples=examples, derandomize=True, **_EITHER)


@st.composite
def changed(draw: st.DrawFn, samples: Sequence[bytes], tokens: Sequence[bytes] = ()) -> bytes:
    """Draw one of ``samples`` with up to CHANGES_MAX changes: something cut out, put in, or repeated."""
    data = bytearray(draw(st.sampled_from(samples)))
    pieces = st.sampled_from((*tokens, *TOKENS)) | st.binary(max_size=4)
    for _ in range(draw(st.integers(0, CHANGES_MAX))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, _CUT_BYTES_MAX)))
        kept = bytes(data[begin:end])
        data[begin:end] = draw(st.one_of(pieces, st.just(b""), st.just(kept * 3)))
    return bytes(data)
