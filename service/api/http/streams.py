"""Answers that are streams."""

from collections.abc import AsyncGenerator
from contextlib import aclosing


async def prefixed(beginning: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield ``beginning``, which was taken from ``rest`` before the answer began, and then ``rest``."""
    yield beginning
    async with aclosing(rest):
        async for chunk in rest:
            yield chunk
