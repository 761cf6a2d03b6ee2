"""UUIDv7 identifiers derived from the database's time (RFC 9562, section 5.7 and method 3 of section 6.2).

Layout, most significant bit first: 48 bits of Unix milliseconds; version 7; 12 bits that hold the fraction of the
millisecond, in 1/4096 parts; variant 2; 14 bits of position inside the batch; 48 random bits. Identifiers therefore
sort by time, then by the order in which a batch applied them, and a time bound is a bound on identifiers.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

POSITIONS = 1 << 14
ENTROPY_BITS = 48

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_VERSION = 7 << 76
_VARIANT = 2 << 62


def identifier(at: datetime, position: int, entropy: int) -> UUID:
    """Return the identifier of what happens at ``at`` as number ``position`` of its batch.

    ``position`` lies in [0, POSITIONS); ``entropy`` is a random integer of ENTROPY_BITS bits.
    """
    return UUID(int=_time_bits(at) | position << ENTROPY_BITS | entropy)


def first_identifier(at: datetime) -> UUID:
    """Return the smallest identifier that a fact of time ``at`` can have: facts before ``at`` sort below it."""
    return UUID(int=_time_bits(max(at, _EPOCH)))


@lru_cache(maxsize=4)  # the facts of one batch share their moment
def _time_bits(at: datetime) -> int:
    milliseconds, microseconds = divmod((at - _EPOCH) // _MICROSECOND, 1000)
    return milliseconds << 80 | _VERSION | (microseconds * 4096 // 1000) << 64 | _VARIANT
