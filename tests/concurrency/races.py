"""Races between two tasks that start at about the same time, each of them first in some of the races."""

import asyncio
import math
from collections.abc import Awaitable
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

RACES = 24
LEADS_SECONDS = [-math.inf, *((number - RACES / 2) / 250 for number in range(1, RACES - 1)), math.inf]
"""How long one starts before the other, or after it. With those in the middle, each of the two wins some races."""


async def with_lead(lead_seconds: float, one: Awaitable[A], other: Awaitable[B]) -> tuple[A, B]:
    """Start ``one`` that long before ``other``, or after it if negative; infinitely long is until it has ended."""
    if lead_seconds < 0:
        there, here = await with_lead(-lead_seconds, other, one)
        return here, there
    started = asyncio.ensure_future(one)
    await asyncio.wait([started], timeout=None if math.isinf(lead_seconds) else lead_seconds)
    return await asyncio.gather(started, other)
