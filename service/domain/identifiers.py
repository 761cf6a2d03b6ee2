"""UUIDv7 identifiers derived from the database's time (RFC 9562, section 5.7 and method 3 of section 6.2).

Layout, most significant bit first: 48 bits of Unix milliseconds; version 7; 12 bits that hold the fraction of the
millisecond, in 1/4096 parts; variant 2; 16 bits of position inside the batch; 46 random bits. Identifiers therefore
sort by time, then by the order in which a batch applied them, and a time bound is a bound on identifiers.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Self
from uuid import UUID

from service.domain.order import STEP

POSITIONS = 1 << 16
ENTROPY_BITS = 46

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


def time_of(named: UUID) -> datetime:
    """Return the time of the fact called ``named``: the inverse of ``first_identifier``."""
    milliseconds, fraction = named.int >> 80, named.int >> 64 & 0xFFF
    return _EPOCH + timedelta(milliseconds=milliseconds, microseconds=-(-fraction * 1000 // 4096))


class Identifiers:
    """Names what is made at one place in the order: identifiers that rise. When its positions are used up, those of
    the next places go on.

    ``place`` is that of the latest identifier. ``entropy`` returns a random integer of ENTROPY_BITS bits.
    """

    def __init__(self, place: datetime, entropy: Callable[[], int]) -> None:
        self.place = place
        self._entropy = entropy
        self._position = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> UUID:
        """Return the next identifier."""
        if self._position == POSITIONS:
            self.place += STEP
            self._position = 0
        position = self._position
        self._position += 1
        return identifier(self.place, position, self._entropy())


@lru_cache(maxsize=4)  # the facts of one batch share their moment
def _time_bits(at: datetime) -> int:
    milliseconds, microseconds = divmod((at - _EPOCH) // _MICROSECOND, 1000)
    return milliseconds << 80 | _VERSION | (microseconds * 4096 // 1000) << 64 | _VARIANT
