"""The queue in front of the committer: bounded, in order of arrival, fair among ledgers."""

import asyncio
from collections.abc import Sequence

import pytest

from service.errors import OverloadedError
from service.posting.queue import Submission, SubmissionQueue
from tests.support.commands import fence

ANY_SIZE = 1_000_000


def submission(size: int = 1, ledger_id: int = 1) -> Submission:
    """Return a submission of one group of ``size`` commands."""
    return Submission(ledger_id, [[fence(str(number)) for number in range(size)]])


def filled(*submissions: Submission, commands_max: int = ANY_SIZE) -> SubmissionQueue:
    queue = SubmissionQueue(commands_max)
    for one in submissions:
        queue.put(one)
    return queue


async def take_and_finish(queue: SubmissionQueue, commands_max: int = ANY_SIZE) -> list[Submission]:
    """Return what a committer takes, and finish it at once."""
    taken = await asyncio.wait_for(queue.take(commands_max), 30)
    if taken:
        queue.release(taken[0].ledger_id)
    return taken


async def test_a_submission_counts_the_commands_of_all_its_groups() -> None:
    assert Submission(1, [[fence("a")], [fence("b"), fence("c")]]).command_count == 3


async def test_what_waits_for_a_ledger_is_taken_at_once_and_in_order() -> None:
    waiting = [submission() for _ in range(5)]
    assert await filled(*waiting).take(ANY_SIZE) == waiting


@pytest.mark.parametrize(
    ("sizes", "commands_max", "taken"),
    [
        ([1, 1, 1], 3, [3]),
        ([1, 1, 1], 2, [2, 1]),
        ([2, 2, 2], 3, [1, 1, 1]),
        ([2, 1, 1, 3], 4, [3, 1]),
        # Submissions keep their order: the small one behind the big one waits for it.
        ([2, 3, 1], 4, [1, 2]),
        # One that is bigger than a batch is a batch of its own.
        ([9], 4, [1]),
        ([1, 9, 1], 4, [1, 1, 1]),
    ],
)
async def test_a_batch_is_bounded_in_commands(sizes: list[int], commands_max: int, taken: list[int]) -> None:
    waiting = [submission(size) for size in sizes]
    queue = filled(*waiting)

    batches = [await take_and_finish(queue, commands_max) for _ in taken]

    assert [len(batch) for batch in batches] == taken
    assert [one for batch in batches for one in batch] == waiting


async def test_ledgers_take_turns() -> None:
    """A ledger with many submissions waits behind the others after each of its batches."""
    busy = [submission(2, ledger_id=1) for _ in range(3)]
    calm = [submission(2, ledger_id=ledger_id) for ledger_id in (2, 3)]
    queue = filled(*busy, *calm)

    turns = [(await take_and_finish(queue, 2))[0].ledger_id for _ in range(5)]

    assert turns == [1, 2, 3, 1, 1]


async def test_one_batch_of_a_ledger_is_out_at_a_time() -> None:
    """Submissions that arrive meanwhile are the next batch. Other ledgers do not wait for the first one."""
    first, second, third = submission(), submission(), submission()
    other = submission(ledger_id=2)
    queue = filled(first)
    assert await queue.take(ANY_SIZE) == [first]
    for one in (second, third, other):
        queue.put(one)

    assert await queue.take(ANY_SIZE) == [other]
    [waiting] = await _takers(queue, 1)
    assert not waiting.done()
    queue.release(1)

    assert await waiting == [second, third]


async def test_a_batch_grows_by_what_arrives_for_its_ledger() -> None:
    """In order of arrival, within its bound: what would not fit keeps everything behind it waiting."""
    first, *others = [submission(size) for size in (1, 2, 1, 3, 1)]
    queue = filled(first)
    assert await queue.take(5) == [first]
    for one in (*others, submission(ledger_id=2)):
        queue.put(one)

    assert queue.take_more(1, 4) == others[:2]
    assert queue.take_more(1, 1) == []
    queue.release(1)

    assert (await take_and_finish(queue))[0].ledger_id == 2
    assert await queue.take(ANY_SIZE) == others[2:]


async def test_what_a_batch_grows_by_makes_room() -> None:
    first, second = submission(), submission(2)
    queue = filled(first, commands_max=2)
    await queue.take(ANY_SIZE)
    queue.put(second)
    with pytest.raises(OverloadedError):
        queue.put(submission())

    assert queue.take_more(1, 2) == [second]

    queue.put(submission(2))


async def test_a_ledger_with_nothing_more_to_do_starts_anew() -> None:
    queue = filled(submission())
    await take_and_finish(queue)
    again = submission()
    queue.put(again)
    assert await queue.take(ANY_SIZE) == [again]


async def test_a_batch_holds_one_ledger_only() -> None:
    ones, twos = [[submission(ledger_id=ledger_id) for _ in range(3)] for ledger_id in (1, 2)]
    queue = filled(*(one for pair in zip(ones, twos, strict=True) for one in pair))

    assert [await queue.take(ANY_SIZE), await queue.take(ANY_SIZE)] == [ones, twos]


async def test_a_full_queue_refuses() -> None:
    """The bound counts the commands of all ledgers together, and taking a batch makes room."""
    queue = filled(submission(2, ledger_id=1), submission(1, ledger_id=2), commands_max=4)
    with pytest.raises(OverloadedError):
        queue.put(submission(2, ledger_id=3))
    queue.put(submission(1, ledger_id=3))
    with pytest.raises(OverloadedError):
        queue.put(submission(1, ledger_id=1))

    await queue.take(ANY_SIZE)

    queue.put(submission(2, ledger_id=1))


async def test_a_refused_submission_leaves_nothing_behind() -> None:
    first = submission(2)
    queue = filled(first, commands_max=2)
    with pytest.raises(OverloadedError):
        queue.put(submission(1, ledger_id=2))

    assert await queue.take(ANY_SIZE) == [first]
    queue.close()
    assert await queue.take(ANY_SIZE) == []


async def test_an_empty_queue_takes_any_size() -> None:
    """Otherwise a submission larger than the bound could never be accepted. The next one is refused."""
    big = submission(10)
    queue = filled(big, commands_max=4)
    with pytest.raises(OverloadedError):
        queue.put(submission(1))

    assert await queue.take(4) == [big]
    queue.put(submission(10))


async def _takers(queue: SubmissionQueue, count: int) -> list[asyncio.Task[Sequence[Submission]]]:
    """Tasks that wait in ``take``."""
    tasks: list[asyncio.Task[Sequence[Submission]]] = [
        asyncio.create_task(queue.take(ANY_SIZE), name=f"taker-{number}") for number in range(count)
    ]
    await asyncio.sleep(0)
    return tasks


async def test_waiting_committers_are_woken_by_new_submissions() -> None:
    queue = filled()
    takers = await _takers(queue, 2)
    first, second = submission(ledger_id=1), submission(ledger_id=2)
    queue.put(first)
    queue.put(second)
    assert await asyncio.gather(*takers) == [[first], [second]]


async def test_finishing_a_batch_wakes_a_committer_that_waits_for_the_next() -> None:
    """The second of two submissions for one ledger arrives after the first was taken: each committer gets one."""
    queue = filled()
    first, second = await _takers(queue, 2)
    waiting = [submission(), submission()]
    queue.put(waiting[0])
    assert await first == [waiting[0]]
    queue.put(waiting[1])
    await asyncio.sleep(0)
    assert not second.done()

    queue.release(1)

    assert await second == [waiting[1]]


async def test_a_waiting_task_that_was_cancelled_takes_no_batch() -> None:
    queue = filled()
    lost, waiting = await _takers(queue, 2)
    lost.cancel()
    only = submission()
    queue.put(only)
    assert await waiting == [only]
    assert lost.cancelled()


async def test_a_closed_queue_refuses_and_gives_away_what_it_has() -> None:
    waiting = [submission(ledger_id=1), submission(ledger_id=2)]
    queue = filled(*waiting)
    queue.close()
    with pytest.raises(OverloadedError):
        queue.put(submission())

    assert [await queue.take(ANY_SIZE) for _ in range(3)] == [[waiting[0]], [waiting[1]], []]


async def test_closing_releases_all_waiting_tasks() -> None:
    queue = filled()
    takers = await _takers(queue, 3)
    queue.close()
    assert await asyncio.gather(*takers) == [[], [], []]


async def test_draining_takes_what_is_left() -> None:
    waiting = [submission(ledger_id=ledger_id) for ledger_id in (1, 2, 1)]
    queue = filled(*waiting, commands_max=3)

    assert {*queue.drain()} == {*waiting}

    assert queue.drain() == []
    queue.put(submission(3))


async def test_draining_takes_what_waits_behind_a_batch_that_is_out() -> None:
    taken, left = submission(), submission()
    queue = filled(taken)
    await queue.take(ANY_SIZE)
    queue.put(left)

    assert queue.drain() == [left]

    queue.release(1)
    queue.close()
    assert await queue.take(ANY_SIZE) == []
