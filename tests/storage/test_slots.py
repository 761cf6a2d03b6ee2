"""Slots for expensive work: bounded, shared between clients, and given back whatever happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from service.errors import NoSlotError
from service.storage.slots import Slots

LIMITED = 0.05


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.storage.slots.WAIT_SECONDS_MAX", LIMITED)


@asynccontextmanager
async def _taken(slots: Slots, *clients: str) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for client in clients:
            await stack.enter_async_context(slots.taken(client))
        yield


async def test_one_client_has_half_of_the_slots() -> None:
    slots = Slots(8)
    async with _taken(slots, *["greedy"] * 4):
        with pytest.raises(NoSlotError) as caught:
            async with slots.taken("greedy"):
                pass
        assert caught.value.own_share
        async with _taken(slots, "modest", "modest"):
            pass


async def test_no_more_are_taken_than_there_are() -> None:
    slots = Slots(2)
    async with _taken(slots, "a", "b"):
        with pytest.raises(NoSlotError) as caught:
            async with slots.taken("c"):
                pass
        assert not caught.value.own_share
    async with _taken(slots, "c", "d"):
        pass


async def test_a_slot_that_becomes_free_while_a_caller_gives_up_goes_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The caller that gives up is still in the queue then: its task has not run since it was cancelled."""
    monkeypatch.setattr("service.storage.slots.WAIT_SECONDS_MAX", 5.0)
    slots = Slots(1)

    async def take() -> None:
        async with slots.taken("b"):
            pass

    async with slots.taken("a"):
        given_up, next_one = asyncio.create_task(take()), asyncio.create_task(take())
        await asyncio.sleep(0)
        given_up.cancel()
    await next_one
    assert given_up.cancelled()
    async with slots.taken("a"):
        pass


async def test_a_single_slot_can_be_taken() -> None:
    slots = Slots(1)
    async with slots.taken("a"):
        pass
    async with slots.taken("a"):
        pass


async def test_clients_that_wait_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.storage.slots.WAIT_SECONDS_MAX", 5.0)
    slots = Slots(1)
    served: list[str] = []

    async def work(client: str) -> None:
        async with slots.taken(client):
            served.append(client)

    async with slots.taken("first"):
        tasks = [asyncio.create_task(work(client)) for client in ("a", "a", "a", "b", "c", "b")]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert served == ["a", "b", "c", "a", "b", "a"]


async def test_a_client_at_its_share_does_not_delay_another_client() -> None:
    slots = Slots(4)
    served = asyncio.Event()

    async def work() -> None:
        async with slots.taken("modest"):
            served.set()

    async with _taken(slots, "greedy", "greedy"):
        waiting = asyncio.create_task(_wait_for_a_slot(slots, "greedy"))
        await asyncio.sleep(0)
        await work()
        assert served.is_set()
        with pytest.raises(NoSlotError):
            await waiting


async def _wait_for_a_slot(slots: Slots, client: str) -> None:
    async with slots.taken(client):
        pass


async def test_the_number_of_waiting_callers_is_bounded_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.storage.slots.WAITING_MAX", 4)
    monkeypatch.setattr("service.storage.slots.WAIT_SECONDS_MAX", 5.0)
    slots = Slots(1)
    async with slots.taken("first"):
        tasks = [asyncio.create_task(_wait_for_a_slot(slots, client)) for client in ("a", "a", "b", "b")]
        await asyncio.sleep(0)
        for client, own_share in (("c", False),):
            with pytest.raises(NoSlotError) as caught:
                await _wait_for_a_slot(slots, client)
            assert caught.value.own_share == own_share
        tasks.pop().cancel()
        await asyncio.sleep(0)
        with pytest.raises(NoSlotError) as caught:
            await _wait_for_a_slot(slots, "a")
        assert caught.value.own_share
    await asyncio.gather(*tasks)


async def test_a_cancelled_caller_gives_its_slot_back() -> None:
    """Cancelled while waiting, when a slot was just given to it, and while working: every slot is free in the end."""
    slots = Slots(2)
    for moment in ("waiting", "called", "working"):
        stack = AsyncExitStack()
        await stack.enter_async_context(_taken(slots, "a", "b"))
        task = asyncio.create_task(_work_for_ever(slots))
        await asyncio.sleep(0)
        if moment == "waiting":
            task.cancel()
            await asyncio.sleep(0)
            await stack.aclose()
        else:
            await stack.aclose()
            if moment == "working":
                await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with _taken(slots, "c", "d"):
            pass


async def _work_for_ever(slots: Slots) -> None:
    async with slots.taken("c"):
        await asyncio.Event().wait()


async def test_a_caller_that_waited_in_vain_leaves_every_slot_free() -> None:
    slots = Slots(2)
    for _ in range(3):
        async with _taken(slots, "a", "b"):
            with pytest.raises(NoSlotError):
                await _wait_for_a_slot(slots, "c")
    assert (slots._free, slots._waiting, slots._waiting_count) == (2, {}, 0)


async def test_where_nobody_waits_it_is_told_whose_slots_are_taken() -> None:
    slots = Slots(3, share=2, waiting_max=0)
    async with _taken(slots, "a", "a"):
        with pytest.raises(NoSlotError) as caught:
            async with slots.taken("a"):
                pass
        assert caught.value.own_share
        async with _taken(slots, "b"):
            with pytest.raises(NoSlotError) as caught:
                async with slots.taken("b"):
                    pass
            assert not caught.value.own_share
