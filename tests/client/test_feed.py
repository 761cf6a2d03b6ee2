"""Following a feed: over outages and restarts, each event once where its place is kept with it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
import pytest

from funds_client import FeedEvent, FundsClient, OtherEvent
from funds_client.errors import UnauthenticatedError
from funds_client.exchange import Answer
from funds_client.feed import read_feed_page
from funds_client.wire.events import TransferPostedEvent
from tests.client.conftest import EACH_KIND, Accounts, MakeShell
from tests.client.http_faults import Fault, FaultyNetwork
from tests.client.shells import Shell


class EnoughError(Exception):
    """The consumer has seen what it waited for."""


class CrashError(Exception):
    """The consumer's process ends."""


@dataclass
class BlockingAdder:
    """Adds up transfers until they come to ``enough``. Crashes once before it keeps its place, where it ``crashes``."""

    enough: int
    crashes: bool = False
    place: UUID | None = None
    amounts: list[int] = field(default_factory=list)

    def load(self) -> UUID | None:
        return self.place

    def handle(self, events: Sequence[FeedEvent]) -> None:
        self.amounts += [event.data.amount for event in events if isinstance(event, TransferPostedEvent)]

    def store(self, place: UUID) -> None:
        if self.crashes and self.amounts:
            self.crashes = False
            raise CrashError
        self.place = place
        if sum(self.amounts) >= self.enough:
            raise EnoughError


class Adder(BlockingAdder):
    """The same for asyncio."""

    async def load(self) -> UUID | None:  # type: ignore[override]
        return super().load()

    async def handle(self, events: Sequence[FeedEvent]) -> None:  # type: ignore[override]
        super().handle(events)

    async def store(self, place: UUID) -> None:  # type: ignore[override]
        super().store(place)


def adder(shell: Shell, **more: Any) -> BlockingAdder:
    return (Adder if isinstance(shell.client, FundsClient) else BlockingAdder)(**more)


async def post(shell: Shell, accounts: Accounts, amounts: Sequence[int]) -> None:
    for amount in amounts:
        await shell.call("transfer", debit=accounts.bank, credit=accounts.customer, amount=amount, currency="USD")


@EACH_KIND
async def test_a_follower_sees_everything_once_whatever_fails(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts
) -> None:
    shell = make_shell()
    await post(shell, accounts, range(1, 6))
    network.meets = lambda seen: "/events" in seen.path
    network.faults.extend([Fault.LOST, Fault.BODY_CUT, Fault.OVERLOADED, Fault.BAD_GATEWAY, Fault.ANSWER_LOST])
    consumer = adder(shell, enough=21)
    following = asyncio.create_task(shell.call("follow", consumer, limit=2, wait_seconds=2))
    await post(make_shell(), accounts, [6])
    with pytest.raises(EnoughError):
        await following
    assert consumer.amounts == [1, 2, 3, 4, 5, 6]


@EACH_KIND
async def test_who_crashes_before_keeping_the_place_is_given_the_events_again(
    make_shell: MakeShell, accounts: Accounts
) -> None:
    shell = make_shell()
    await post(shell, accounts, [1, 2, 3])
    consumer = adder(shell, enough=12, crashes=True)
    with pytest.raises(CrashError):
        await shell.call("follow", consumer, limit=3)
    assert consumer.amounts == [1, 2, 3]
    with pytest.raises(EnoughError):
        await shell.call("follow", consumer, limit=3)
    assert consumer.amounts == [1, 2, 3, 1, 2, 3]


async def test_what_does_not_pass_ends_a_follower(make_shell: MakeShell, network: FaultyNetwork) -> None:
    network.meets, network.then = lambda seen: "/events" in seen.path, Fault.REVOKED
    with pytest.raises(UnauthenticatedError):
        await make_shell().call("follow", Adder(enough=1))


def test_an_event_of_a_new_type_is_shown_as_it_is() -> None:
    event = {"id": str(UUID(int=3)), "time": "2026-11-28T00:00:00Z", "type": "funds.moon.risen", "data": {"phase": 1}}
    body = msgspec.json.encode({"items": [event], "last_id": event["id"]})
    [shown] = read_feed_page(Answer(status=200, body=body)).items
    assert isinstance(shown, OtherEvent)
    assert (shown.type, shown.document) == ("funds.moon.risen", event)
