"""Two who start at about the same time: now one is ahead, now the other."""

import asyncio
import math
from collections.abc import Awaitable
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

RACES = 24
LEADS_SECONDS = [-math.inf, *((number - RACES / 2) / 250 for number in range(1, RACES - 1)), math.inf]
"""How long one starts before the other, or after it: those in the middle meet, and either side wins some."""


async def with_lead(lead_seconds: float, one: Awaitable[A], other: Awaitable[B]) -> tuple[A, B]:
    """Start ``one`` that long before ``other``, or after it if negative; infinitely long is until it has ended."""
    if lead_seconds < 0:
        there, here = await with_lead(-lead_seconds, other, one)
        return here, there
    started = asyncio.ensure_future(one)
    await asyncio.wait([started], timeout=None if math.isinf(lead_seconds) else lead_seconds)
    return await asyncio.gather(started, other)
