"""Places for expensive work: bounded, shared between clients, and given back whatever happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from service.storage import places
from service.storage.places import NoPlaceError, Places

LIMITED = 0.05


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WAIT_SECONDS_MAX", LIMITED)


@asynccontextmanager
async def _taken(some: Places, *clients: str) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for client in clients:
            await stack.enter_async_context(some.taken(client))
        yield


async def test_one_client_has_half_of_the_places() -> None:
    some = Places(8)
    async with _taken(some, *["greedy"] * 4):
        with pytest.raises(NoPlaceError) as caught:
            async with some.taken("greedy"):
                pass
        assert caught.value.own_share
        async with _taken(some, "modest", "modest"):
            pass


async def test_no_more_are_taken_than_there_are() -> None:
    some = Places(2)
    async with _taken(some, "a", "b"):
        with pytest.raises(NoPlaceError) as caught:
            async with some.taken("c"):
                pass
        assert not caught.value.own_share
    async with _taken(some, "c", "d"):
        pass


async def test_a_place_that_becomes_free_while_somebody_gives_up_goes_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever gives up is still in the queue then: its task has not had its turn."""
    monkeypatch.setattr(places, "WAIT_SECONDS_MAX", 5.0)
    some = Places(1)

    async def take() -> None:
        async with some.taken("b"):
            pass

    async with some.taken("a"):
        given_up, next_one = asyncio.create_task(take()), asyncio.create_task(take())
        await asyncio.sleep(0)
        given_up.cancel()
    await next_one
    assert given_up.cancelled()
    async with some.taken("a"):
        pass


async def test_a_single_place_can_be_taken() -> None:
    some = Places(1)
    async with some.taken("a"):
        pass
    async with some.taken("a"):
        pass


async def test_clients_that_wait_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WAIT_SECONDS_MAX", 5.0)
    some = Places(1)
    served: list[str] = []

    async def work(client: str) -> None:
        async with some.taken(client):
            served.append(client)

    async with some.taken("first"):
        tasks = [asyncio.create_task(work(client)) for client in ("a", "a", "a", "b", "c", "b")]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert served == ["a", "b", "c", "a", "b", "a"]


async def test_a_client_at_its_share_holds_nobody_up() -> None:
    some = Places(4)
    served = asyncio.Event()

    async def work() -> None:
        async with some.taken("modest"):
            served.set()

    async with _taken(some, "greedy", "greedy"):
        waiting = asyncio.create_task(_wait_for_a_place(some, "greedy"))
        await asyncio.sleep(0)
        await work()
        assert served.is_set()
        with pytest.raises(NoPlaceError):
            await waiting


async def _wait_for_a_place(some: Places, client: str) -> None:
    async with some.taken(client):
        pass


async def test_the_room_to_wait_is_bounded_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WAITING_MAX", 4)
    monkeypatch.setattr(places, "WAIT_SECONDS_MAX", 5.0)
    some = Places(1)
    async with some.taken("first"):
        tasks = [asyncio.create_task(_wait_for_a_place(some, client)) for client in ("a", "a", "b", "b")]
        await asyncio.sleep(0)
        for client, own_share in (("c", False),):
            with pytest.raises(NoPlaceError) as caught:
                await _wait_for_a_place(some, client)
            assert caught.value.own_share == own_share
        tasks.pop().cancel()
        await asyncio.sleep(0)
        with pytest.raises(NoPlaceError) as caught:
            await _wait_for_a_place(some, "a")
        assert caught.value.own_share
    await asyncio.gather(*tasks)


async def test_who_goes_away_leaves_no_gap() -> None:
    """Cancelled while waiting, while being called, and while working: every place is free in the end."""
    some = Places(2)
    for moment in ("waiting", "called", "working"):
        stack = AsyncExitStack()
        await stack.enter_async_context(_taken(some, "a", "b"))
        task = asyncio.create_task(_work_for_ever(some))
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
        async with _taken(some, "c", "d"):
            pass


async def _work_for_ever(some: Places) -> None:
    async with some.taken("c"):
        await asyncio.Event().wait()


async def test_who_waited_in_vain_leaves_no_gap() -> None:
    some = Places(2)
    for _ in range(3):
        async with _taken(some, "a", "b"):
            with pytest.raises(NoPlaceError):
                await _wait_for_a_place(some, "c")
    assert (some._free, some._waiting, some._waiting_count) == (2, {}, 0)
