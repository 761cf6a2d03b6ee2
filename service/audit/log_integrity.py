"""Verifying a log: it is compared with the entries that it is of, from the first tile to the latest checkpoint.

Each entry is hashed again and compared with its leaf in a tile; the leaves, as they were sealed, make the roots that
tiles and checkpoints must have. So each damage is found where it is: in an entry, in a tile or in a checkpoint. Behind
the last full tile no leaf is stored: there, the entries make the roots, and what is wrong lies between two checkpoints.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from uuid import UUID

import msgspec
from msgspec import Struct, structs

from service.audit.log_keys import LogKeys
from service.domain.history import LoggedLedger
from service.domain.integrity import Finding
from service.proofs.tiles import TILE_HASHES as TILE
from service.proofs.tree import HASH_BYTES, SIZE_MAX, Frontier, leaf_hash, root_of
from service.storage.database import Session
from service.storage.repositories import Repositories
from service.storage.repositories.history import Document
from service.storage.repositories.log import Checkpoint, LeafTile

TILES_AT_ONCE = 4
FINDINGS_MAX = 100
"""How many findings of one slice are returned."""

ENTRIES_STAND = "every entry is what was sealed, where it was sealed"
TILES_STAND = "the tiles of the log are those of its leaves"
COSIGNATURES_STAND = "every cosignature is of its checkpoint, by the witness that it names"
CHECKPOINTS_STAND = "every checkpoint is of the beginning of the log, and says so"

_TABLES = {"funds.transfer.posted": "transfers", "funds.hold.opened": "holds"}


class LogStep(Struct, frozen=True):
    """What a slice of a log gave: how many entries were compared, what is wrong, where to go on (None: it was the last
    one), and witnesses whose cosignatures could not be verified, for they are not known.
    """

    entry_count: int
    findings: list[Finding]
    next: tuple[str, ...] | None = None
    unknown_witnesses: frozenset[str] = frozenset()


class _Place(Struct, frozen=True):
    """Before the tile ``index`` and behind the entry ``last_id``, with the tree up to there, and whether the last
    checkpoint before contradicts that tree.
    """

    index: int
    last_id: UUID
    contradicted: bool
    hashes: tuple[bytes, ...]

    @classmethod
    def read(cls, after: tuple[str, ...]) -> "_Place":
        index, last_id, contradicted, *hashes = after
        return cls(int(index), UUID(last_id), bool(contradicted), tuple(map(bytes.fromhex, hashes)))

    def written(self) -> tuple[str, ...]:
        contradicted = "contradicted" if self.contradicted else ""
        return (str(self.index), str(self.last_id), contradicted, *(one.hex() for one in self.hashes))

    @property
    def size(self) -> int:
        return self.index * TILE

    def tree(self) -> Frontier:
        return Frontier(self.size, self.hashes)


async def verify_tiles(session: Session, ledger_id: int, after: tuple[str, ...], keys: LogKeys) -> LogStep:
    """Verify the next TILES_AT_ONCE tiles of a ledger's log, or the edge behind the last, in the transaction of
    ``session``, which must see one snapshot. ``after`` says where, as an earlier step's ``next`` does.
    """
    names = await Repositories(session).log.names([ledger_id])
    ledger = LoggedLedger(ledger_id, names.get(ledger_id, ""))
    slice_ = _LogSlice(session, ledger, _Place.read(after), keys)
    step = await slice_.verify()
    return structs.replace(step, findings=step.findings[:FINDINGS_MAX], unknown_witnesses=slice_.unknown_witnesses)


class _LogSlice:
    """A slice of a log, from ``place`` on."""

    def __init__(self, session: Session, ledger: LoggedLedger, place: _Place, keys: LogKeys) -> None:
        self._ledger = ledger
        self._place = place
        self._keys = keys
        self.unknown_witnesses = frozenset[str]()
        self._tree = place.tree()
        self._contradicted = place.contradicted
        repositories = Repositories(session)
        self._log = repositories.log
        self._history = repositories.history
        self._cosignatures = repositories.cosignatures

    async def verify(self) -> LogStep:
        tiles = await self._tiles()
        latest = await self._log.checkpoint(self._ledger.id)
        size = 0 if latest is None else latest.size
        if tiles:
            return await self._verify_full(tiles, size)
        findings = []
        if size >= self._place.size + TILE:
            findings.append(_tile(self._place.index, f"it is missing or not full, and {size} entries were sealed"))
        last = await self._log.last_tile(self._ledger.id)
        if last is not None and last[0] >= self._place.index:
            findings.append(_tile(last[0], f"it is there, and not the one of index {self._place.index}"))
        if (surplus := await self._log.surplus_tile(self._ledger.id, self._place.size)) is not None:
            level, index = surplus
            findings.append(_tile(index, f"it is there, and only {self._place.size} entries are in full tiles", level))
        if latest is None or findings:
            return LogStep(0, findings)
        return await self._verify_edge(latest)

    async def _tiles(self) -> list[LeafTile]:
        """Return the next tiles, up to the first that is missing or not full."""
        found = await self._log.leaf_tiles(self._ledger.id, self._place.index, limit=TILES_AT_ONCE)
        indexes = iter(range(self._place.index, self._place.index + TILES_AT_ONCE))
        return list(takewhile(lambda tile: tile.index == next(indexes) and _is_full(tile), found))

    async def _verify_full(self, tiles: Sequence[LeafTile], sealed: int) -> LogStep:
        index, last_id = tiles[-1].index + 1, max(tiles[-1].entry_ids)
        entries = await self._entries(last_id, TILE * len(tiles))
        ids: list[UUID] = []
        findings: list[Finding] = []
        leaves: list[bytes] = []
        for tile in tiles:
            bounds = ids[-1] if ids else self._place.last_id, tile.entry_ids[-1]
            own = [entry for entry in entries if bounds[0] < entry.id <= bounds[1]]
            found, hashes = _compare(tile, own)
            findings += found
            leaves += hashes
            ids += tile.entry_ids
        checkpoints = await self._log.checkpoints(self._ledger.id, above=self._place.size, to=index * TILE)
        if index * TILE > sealed:
            findings.append(_tile(tiles[-1].index, f"it is there, and only {sealed} entries have a checkpoint"))
        findings += await self._verify_checkpoints(checkpoints, leaves, ids)
        findings += await self._verify_cosignatures(checkpoints, to=index * TILE)
        for tile in tiles:
            findings += await self._verify_above(tile.index)
        place = _Place(index, ids[-1], self._contradicted, self._tree.hashes)
        return LogStep(len(leaves), findings, place.written())

    async def _entries(self, last_id: UUID, count: int) -> list[Document]:
        """Return the entries up to ``last_id``: the ``count`` that were sealed, and up to a tile of others."""
        found = await self._history.entries(
            self._ledger.id, self._ledger.source, after=self._place.last_id, limit=count + TILE
        )
        return [entry for entry in found if entry.id <= last_id]

    async def _verify_checkpoints(
        self, checkpoints: Sequence[Checkpoint], leaves: Iterable[bytes], ids: Sequence[UUID]
    ) -> list[Finding]:
        """Let the tree grow by ``leaves``, and compare it with each of ``checkpoints`` where it has its size."""
        wrong: list[Finding] = []
        left = iter(leaves)
        for checkpoint in checkpoints:
            while self._tree.size < checkpoint.size:
                self._tree.append(next(left))
            why = self._wrong(checkpoint, ids[checkpoint.size - self._place.size - 1])
            if why is not None:
                wrong.append(_checkpoint(checkpoint, why))
            await asyncio.sleep(0)  # a signature takes a tenth of a millisecond
        for leaf in left:
            self._tree.append(leaf)
        return wrong

    def _wrong(self, checkpoint: Checkpoint, last_id: UUID) -> str | None:
        """Return what is wrong with ``checkpoint``, now that the tree has its size and the entry ``last_id`` is the
        last one in it.
        """
        self._contradicted = checkpoint.root != self._tree.root()
        if self._contradicted:
            return "its root is not that of the log's first entries"
        if checkpoint.last_entry_id != last_id:
            return f"its last entry is not {checkpoint.last_entry_id}, but {last_id}"
        return self._keys.fault_of(checkpoint, self._ledger.name)

    async def _verify_cosignatures(self, checkpoints: Sequence[Checkpoint], *, to: int) -> list[Finding]:
        """Verify what is stored as cosignatures of ``checkpoints``, which are all of those up to the size ``to``."""
        of_size = {checkpoint.size: checkpoint for checkpoint in checkpoints}
        findings: list[Finding] = []
        for line in await self._cosignatures.between(self._ledger.id, above=self._place.size, to=to):
            checkpoint = of_size.get(line.size)
            cosigned = False if checkpoint is None else self._keys.cosigned(checkpoint, line)
            if cosigned is None:
                self.unknown_witnesses |= {line.witness}
            elif not cosigned:
                what = "there is no such checkpoint" if checkpoint is None else "it is none of the checkpoint"
                findings.append(Finding(COSIGNATURES_STAND, "log_cosignatures", f"{line.size} {line.witness}", what))
            await asyncio.sleep(0)  # a signature takes a tenth of a millisecond
        return findings

    async def _verify_above(self, index: int) -> list[Finding]:
        """Compare the tiles that are full with the leaf tile of ``index`` with the roots below them."""
        findings: list[Finding] = []
        level = 0
        while (index + 1) % TILE == 0:
            below = await self._log.roots(self._ledger.id, [(level, index + 1 - TILE, TILE)])
            level, index = level + 1, index // TILE
            stored = await self._log.roots(self._ledger.id, [(level, index, 1)])
            if not stored:
                findings.append(_tile(index, "it is missing", level))
            elif [root_of(roots) for roots in below] != stored[0]:
                findings.append(_tile(index, "its root is not that of the tiles below it", level))
        return findings

    async def _verify_edge(self, latest: Checkpoint) -> LogStep:
        """Compare the entries behind the last full tile with the checkpoints there, up to the first that differs."""
        size = self._place.size
        if latest.size < size:
            return LogStep(0, [_checkpoint(latest, f"it is the last one, and {size} entries are in full tiles")])
        if self._contradicted:
            return LogStep(0, [_checkpoint(latest, "it follows one that is not of the log, and was not compared")])
        checkpoints = await self._log.checkpoints(self._ledger.id, above=size, to=latest.size)
        entries = await self._entries(latest.last_entry_id, latest.size - size)
        findings = await self._verify_cosignatures(checkpoints, to=SIZE_MAX)
        after, done = self._place.last_id, 0
        for checkpoint in checkpoints:
            span = [entry for entry in entries if after < entry.id <= checkpoint.last_entry_id]
            expected = checkpoint.size - size - done
            why = None if len(span) == expected else f"of {expected} entries, {len(span)} are there"
            if why is None:
                for entry in span:
                    self._tree.append(leaf_hash(entry.text.encode()))
                if checkpoint.root != self._tree.root():
                    why = "not what was sealed"
            if why is not None:
                return LogStep(done, [*findings, _span(checkpoint, after, span, why)])
            if (why := self._wrong(checkpoint, span[-1].id)) is not None:
                findings.append(_checkpoint(checkpoint, why))
            after, done = span[-1].id, done + len(span)
        return LogStep(done, findings)


def _is_full(tile: LeafTile) -> bool:
    return len(tile.entry_ids) == TILE and len(tile.hashes) == TILE * HASH_BYTES


def _compare(tile: LeafTile, entries: Sequence[Document]) -> tuple[list[Finding], list[bytes]]:
    """Compare ``tile`` with the entries that are there in its place; return what is wrong, and its leaves as they were
    sealed.

    When the entries make the tile's root, they are right, and its hashes are not; otherwise what differs from them is
    wrong.
    """
    leaves = _each(tile.hashes)
    hashes = [leaf_hash(entry.text.encode()) for entry in entries]
    if root_of(hashes) == tile.root:
        if hashes == leaves and tile.entry_ids == [entry.id for entry in entries]:
            return [], leaves
        return [_tile(tile.index, "its hashes or its list of entries are not those of its root")], hashes
    findings = list(_differences(tile, leaves, entries, hashes))
    if root_of(leaves) != tile.root:
        findings.append(_tile(tile.index, "its root is not that of its hashes"))
    return findings, leaves


def _differences(
    tile: LeafTile, leaves: Sequence[bytes], entries: Sequence[Document], hashes: Sequence[bytes]
) -> Iterator[Finding]:
    """Yield which entries are missing, are not what they were, or were put in between."""
    there = {entry.id: (entry, hash_) for entry, hash_ in zip(entries, hashes, strict=True)}
    if tile.entry_ids != sorted(set(tile.entry_ids)):
        yield _tile(tile.index, "its entries are not in their order")
    for number, (entry_id, leaf) in enumerate(zip(tile.entry_ids, leaves, strict=True), tile.index * TILE):
        if entry_id not in there:
            yield Finding(ENTRIES_STAND, "log_tiles", str(entry_id), f"it was sealed as entry {number}, and is missing")
        elif there[entry_id][1] != leaf:
            yield _entry(there[entry_id][0], f"it was sealed as entry {number}, and is not what it was then")
    for entry_id in sorted(there.keys() - set(tile.entry_ids)):
        yield _entry(there[entry_id][0], f"it was put in between the entries that tile {tile.index} was made of")


def _span(checkpoint: Checkpoint, after: UUID, span: Sequence[Document], why: str) -> Finding:
    """Return what is wrong with the entries that were sealed with ``checkpoint``; of a single one, with the entry."""
    if len(span) == 1 and why == "not what was sealed":
        return _entry(span[0], f"it was sealed as entry {checkpoint.size - 1}, and is not what it was then")
    return Finding(
        ENTRIES_STAND,
        "log_checkpoints",
        str(checkpoint.size),
        f"what was sealed with it, behind entry {after} and up to entry {checkpoint.last_entry_id}: {why}",
    )


def _entry(entry: Document, wrong: str) -> Finding:
    table = _TABLES.get(msgspec.json.decode(entry.text)["type"], "history")
    return Finding(ENTRIES_STAND, table, str(entry.id), wrong)


def _tile(index: int, wrong: str, level: int = 0) -> Finding:
    return Finding(TILES_STAND, "log_tiles", f"{level} {index}", wrong)


def _checkpoint(checkpoint: Checkpoint, wrong: str) -> Finding:
    return Finding(CHECKPOINTS_STAND, "log_checkpoints", str(checkpoint.size), wrong)


def _each(hashes: bytes) -> list[bytes]:
    return [hashes[begin : begin + HASH_BYTES] for begin in range(0, len(hashes), HASH_BYTES)]
