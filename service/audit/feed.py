"""The feed of a ledger's history: its next entries for those who follow it, who wait where there are none yet."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from uuid import UUID

from msgspec import Struct, structs

from service.audit.watcher import HeadWatcher
from service.storage.coalescing import SharedReads
from service.storage.database import Session
from service.storage.repositories import Repositories
from service.storage.repositories.history import Document
from service.storage.slots import Slots
from service.storage.transactions import Reader

PAGE_BYTES_MAX = 1 << 20
"""About how many bytes of entries are read at a time; one that is larger alone is read alone."""


class Place(Struct, frozen=True):
    """Where a client follows a ledger: it wants up to ``limit`` entries after the entry ``after``.

    ``source`` is what the entries say where they happened. Of requests that were not applied, only those of the client
    ``not_applied_of`` are shown, if that is given. What is read must hold everything up to the place
    ``known_head`` in the order of the ledger, if that is given: a replica may not yet.
    """

    client: str
    ledger_id: int
    source: str
    after: UUID
    limit: int
    not_applied_of: str | None
    known_head: datetime | None = None


class Found(Struct, frozen=True):
    """The entries at a place, the head of the ledger just before they were read, and for an answer of the replica the
    time up to which it holds everything.
    """

    entries: Sequence[Document]
    head: datetime
    as_of: datetime | None


class Feed:
    """Reads what follows in the histories of ledgers. ``followers`` has a slot for everyone who waits or keeps a
    stream open.

    Those of one client who are at the same place share a read: whoever waits is at the end of the history, and when it
    grows they all want the same entries.
    """

    def __init__(self, reader: Reader, watcher: HeadWatcher, followers: Slots) -> None:
        self._reader = reader
        self._watcher = watcher
        self._followers = followers
        self._reads = SharedReads(self._read)

    async def next_page(self, place: Place, wait_seconds: float) -> Found:
        """Return the entries at ``place``; where there are none, those that come within ``wait_seconds``, if any.

        Raises NoSlotError when too many wait, and what a reader raises.
        """
        ends_at = asyncio.get_running_loop().time() + wait_seconds
        found = await self._reads.get(place)
        if found.entries or wait_seconds <= 0:
            return found
        async with self._followers.taken(place.client):
            return await self._await_entries(place, found, ends_at)

    async def pages(self, place: Place, *, seconds: float, pause_seconds_max: float) -> AsyncGenerator[Found, None]:
        """Yield the page at ``place`` at once, even without entries, and the next ones as they come, for ``seconds``;
        one without entries every ``pause_seconds_max`` while nothing happens. It ends earlier when the watcher stops.

        Raises NoSlotError before the first page when too many follow, and what a reader raises.
        """
        now = asyncio.get_running_loop().time
        ends_at = now() + seconds
        async with self._followers.taken(place.client):
            found = await self._reads.get(place)
            yield found
            while now() < ends_at and not self._watcher.stopped:
                if found.entries:
                    place = structs.replace(place, after=found.entries[-1].id)
                    found = await self._reads.get(place)
                found = await self._await_entries(place, found, min(ends_at, now() + pause_seconds_max))
                yield found

    async def _await_entries(self, place: Place, found: Found, ends_at: float) -> Found:
        """Return the entries at ``place`` as soon as there are any; ``found``, which has none, at the time ``ends_at``
        or when the watcher stops.
        """
        now = asyncio.get_running_loop().time
        while not found.entries and now() < ends_at:
            head = await self._watcher.wait_for_change(place.ledger_id, found.head, ends_at - now())
            if head == found.head:
                break
            found = await self._reads.get(structs.replace(place, known_head=head))
        return found

    async def _read(self, place: Place) -> Found:
        ages: list[datetime] = []
        head, entries = await self._reader.for_client(place.client, ages.append)(
            lambda session: _read(session, place),
            enough=lambda read: place.known_head is None or read[0] >= place.known_head,
        )
        return Found(entries, head, ages[-1] if ages else None)


async def _read(session: Session, place: Place) -> tuple[datetime, Sequence[Document]]:
    """Return the head and then the entries: what is committed after that moves the head further."""
    repositories = Repositories(session)
    head = await repositories.heads.read(place.ledger_id)
    entries: list[Document] = []
    size = 0
    pages = repositories.history.page(
        place.ledger_id, place.source, after=place.after, limit=place.limit, not_applied_of=place.not_applied_of
    )
    async with aclosing(pages) as slices:
        async for documents in slices:
            for document in documents:
                size += len(document.text)
                if entries and size > PAGE_BYTES_MAX:
                    return head, entries
                entries.append(document)
    return head, entries
