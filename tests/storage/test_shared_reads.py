"""Reads that all who wait for the same thing share: each gets what a read of its own, begun at its call, would give."""

import asyncio

import pytest

from service.storage.coalescing import SharedReads


class Source:
    """What is read: a number that tests change. A read waits until it may answer, and answers what it saw at first."""

    def __init__(self) -> None:
        self.number = 0
        self.read_keys: list[str] = []
        self.begun = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.failing = False
        self.reads = SharedReads(self._read)

    async def _read(self, key: str) -> int:
        self.read_keys.append(key)
        seen = self.number
        self.begun.set()
        await self.may_answer.wait()
        if self.failing:
            raise ValueError(key)
        return seen

    def get(self, key: str = "a") -> asyncio.Task[int]:
        return asyncio.create_task(self.reads.get(key))

    async def under_way(self, key: str = "a") -> asyncio.Task[int]:
        """Start a read and return when it has seen what it answers."""
        read = self.get(key)
        await self.begun.wait()
        return read


async def test_those_who_want_the_same_share_a_read() -> None:
    source = Source()
    source.may_answer.set()
    assert await asyncio.gather(*(source.get() for _ in range(50))) == [0] * 50
    assert source.read_keys == ["a"]


async def test_who_comes_during_a_read_shares_the_next_one() -> None:
    source = Source()
    first = await source.under_way()
    source.number = 1
    later = []
    for _ in range(10):
        later.append(source.get())
        await asyncio.sleep(0)
    source.may_answer.set()
    assert await first == 0
    assert await asyncio.gather(*later) == [1] * 10
    assert source.read_keys == ["a", "a"]


async def test_other_things_are_read_at_the_same_time() -> None:
    source = Source()
    first = await source.under_way("a")
    source.begun.clear()
    other = await source.under_way("b")
    source.may_answer.set()
    assert (await first, await other) == (0, 0)


async def test_a_failure_is_told_to_all_and_ends_with_the_read() -> None:
    source = Source()
    source.failing = True
    source.may_answer.set()
    told = await asyncio.gather(*(source.get() for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in told] == [ValueError] * 3
    source.failing = False
    assert await source.get() == 0


@pytest.mark.parametrize("failing", [False, True])
async def test_who_goes_away_takes_the_answer_from_nobody(*, failing: bool) -> None:
    source = Source()
    first = await source.under_way()
    next_one, another = source.get(), source.get()
    await asyncio.sleep(0)
    first.cancel()
    next_one.cancel()
    await asyncio.wait([first, next_one])
    source.may_answer.set()
    assert await another == 0
    source.failing = failing
    source.may_answer.clear()
    source.begun.clear()
    alone = await source.under_way()
    alone.cancel()
    source.may_answer.set()
    await asyncio.wait([alone])
    source.failing = False
    assert await source.get() == 0
