"""How much of everything one HTTP server accepts, and how long it waits."""

from msgspec import Struct

HEADERS_MAX = 100
"""Header fields of one request."""


class Limits(Struct, frozen=True, kw_only=True):
    """The limits of one HTTP server in one process. Times are in seconds, sizes in bytes.

    A peer that sends a body or reads an answer must keep up ``rate_bytes_per_second_min``, and may pause for
    ``body_seconds_max`` or ``write_seconds_max`` at most. ``bodies_bytes_max`` bounds all bodies together that are
    being received or worked on in the process, ``unsent_bytes_max`` all answers that peers have not read yet.
    """

    connections_max: int = 10_000
    idle_seconds_max: float = 75.0
    head_seconds_max: float = 10.0
    head_bytes_max: int = 32 * 1024
    body_seconds_max: float = 10.0
    write_seconds_max: float = 10.0
    rate_bytes_per_second_min: int = 16 * 1024
    bodies_bytes_max: int = 96 * 1024 * 1024
    unsent_bytes_max: int = 64 * 1024 * 1024
    unread_bytes_max: int = 32 * 1024 * 1024
    unread_seconds_max: float = 5.0
    drain_seconds_max: float = 20.0
