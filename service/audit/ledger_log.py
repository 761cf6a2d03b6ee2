"""The log of a ledger: its history as a Merkle tree (``service.proofs.tree``), sealed behind the head, and its proofs.

The leaves are the entries of the history in order. Full tiles of them are stored; the leaves behind the last full tile,
the edge, are hashed again from the entries whenever they are needed, fewer than TILE of them.
"""

from collections.abc import Collection, Sequence
from enum import Enum, auto
from uuid import UUID

from msgspec import Struct

from service.audit.log_keys import LogKeys
from service.audit.log_signer import Sign
from service.domain.history import LoggedLedger
from service.domain.identifiers import first_identifier
from service.domain.order import STEP
from service.errors import LogDamagedError
from service.proofs.tiles import TILE_HASHES as TILE
from service.proofs.tiles import slice_of
from service.proofs.tree import (
    HASH_BYTES,
    Node,
    Nodes,
    combine,
    consistency_nodes,
    inclusion_nodes,
    leaf_hash,
    proof_hashes,
    root_nodes,
    root_of,
    verify_inclusion,
)
from service.storage.database import Session
from service.storage.repositories import Repositories
from service.storage.repositories.cosignatures import Cosignature
from service.storage.repositories.history import ALL, Document
from service.storage.repositories.log import Checkpoint

ENTRIES_AT_ONCE = 4096
"""How many entries a transaction of the sealer hashes at most."""

NO_KEYS = LogKeys()


class Sealing(Enum):
    """How far a log is: everything is sealed that there was, or there is more, or another transaction is at it."""

    COMPLETE = auto()
    UNFINISHED = auto()
    ELSEWHERE = auto()


class Edge(Struct, frozen=True):
    """The leaves behind the last full tile: the index of the first, and the entries and hashes of all."""

    first: int
    entry_ids: list[UUID]
    hashes: list[bytes]

    @property
    def size(self) -> int:
        """The size of the log with these leaves."""
        return self.first + len(self.hashes)


class Cosigned(Struct, frozen=True):
    """A checkpoint, and the lines by which witnesses cosigned it that the installation knows."""

    checkpoint: Checkpoint
    lines: Sequence[str]

    @property
    def note(self) -> str:
        """The note of the checkpoint with these lines."""
        return self.checkpoint.note + "".join(self.lines)


class Sealed(Struct, frozen=True):
    """Where an entry is in the log of a checkpoint, and the path from its leaf to the root."""

    index: int
    path: list[bytes]
    cosigned: Cosigned


class ProvenEntry(Struct, frozen=True):
    """An entry and the proof that it is in the log; None when it is not sealed yet."""

    entry: Document
    sealed: Sealed | None


class LedgerLog:
    """The log of ``ledger`` on the session of one unit of work, as it is verified by ``keys``."""

    def __init__(self, session: Session, ledger: LoggedLedger, keys: LogKeys = NO_KEYS) -> None:
        self._ledger = ledger
        self._keys = keys
        repositories = Repositories(session)
        self._log = repositories.log
        self._history = repositories.history
        self._cosignatures = repositories.cosignatures
        self._heads = repositories.heads

    async def seal(self, sign: Sign) -> Sealing:
        """Append the next entries of the history to the log, ENTRIES_AT_ONCE and those behind its last full tile at
        most, with a checkpoint; nothing where there are none.

        Raises LogDamagedError, and appends nothing, when the log no longer has the root that was signed last, when that
        was not signed by a key of the log, and when an entry lies behind the ledger's head: all that comes would be put
        before it.
        """
        if not await self._log.try_lock(self._ledger.id):
            return Sealing.ELSEWHERE
        last = await self._log.checkpoint(self._ledger.id)
        edge = await self._edge(TILE + ENTRIES_AT_ONCE)
        await self._check(last, edge)
        if edge.size == (0 if last is None else last.size):
            return Sealing.COMPLETE
        await self._check_end(edge.entry_ids[-1])
        for begin in range(0, len(edge.hashes) - TILE + 1, TILE):
            await self._add_leaf_tile(edge, begin)
        root = await self._root(edge.size, edge)  # of the tiles too that were just added
        note = sign(edge.size, root)
        await self._log.add_checkpoint(
            self._ledger.id, size=edge.size, root=root, last_entry_id=edge.entry_ids[-1], note=note
        )
        return Sealing.UNFINISHED if len(edge.hashes) == TILE + ENTRIES_AT_ONCE else Sealing.COMPLETE

    async def prove(self, entry_id: UUID) -> ProvenEntry | None:
        """Return the entry, and the proof that it is in the log; None when there is no such entry. The proof is at the
        newest checkpoint that witnesses cosigned, where the entry is in it, and else at the latest.

        Raises LogDamagedError when what is stored of the entry is not what was sealed.
        """
        found = await self._history.entries(self._ledger.id, self._ledger.source, after=_before(entry_id), limit=1)
        checkpoint = await self._log.checkpoint(self._ledger.id)
        if not found or found[0].id != entry_id:
            return None
        [entry] = found
        if checkpoint is None or entry_id > checkpoint.last_entry_id:
            return ProvenEntry(entry, None)
        cosigned = await self.cosigned()
        if cosigned is None or entry_id > cosigned.checkpoint.last_entry_id:
            cosigned = await self._with_lines(checkpoint)
        checkpoint = cosigned.checkpoint
        edge = await self._edge(TILE)
        index = await self._index(entry_id, edge)
        needed = inclusion_nodes(index, checkpoint.size)
        path = await self._path(needed, edge)
        if not verify_inclusion(index, checkpoint.size, leaf_hash(entry.text.encode()), path, checkpoint.root):
            raise LogDamagedError(f"entry {entry_id} is not what was sealed")
        return ProvenEntry(entry, Sealed(index, path, cosigned))

    async def indexes(self, entry_ids: Sequence[UUID], checkpoint: Checkpoint | None) -> dict[UUID, int]:
        """Return which leaves of the log those of ``entry_ids`` are that are sealed; ``checkpoint`` is its latest."""
        if checkpoint is None or not entry_ids:
            return {}
        found = await self._log.leaf_indexes(self._ledger.id, entry_ids)
        at_the_edge = {one for one in entry_ids if one not in found and one <= checkpoint.last_entry_id}
        if at_the_edge:
            edge = await self._edge(TILE)
            found |= {one: leaf for leaf, one in enumerate(edge.entry_ids, edge.first) if one in at_the_edge}
        return found

    async def prove_consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """Return the proof that the log of ``old_size`` entries is the beginning of the log of ``new_size`` entries,
        which are sealed.
        """
        return await self._path(consistency_nodes(old_size, new_size), await self._edge(TILE))

    async def beginning(self, size: int) -> tuple[int, bytes]:
        """Return the size and the root of the first ``size`` entries of the history, sealed or not; of all of them
        where there are fewer.
        """
        edge = await self._edge(size)
        size = min(size, edge.size)
        return size, await self._root(size, edge)

    async def entries(self, first: int, count: int) -> Sequence[Document]:
        """Return ``count`` sealed entries from the index ``first`` on, fewer where the log ends."""
        checkpoint = await self._log.checkpoint(self._ledger.id)
        if checkpoint is None or first >= checkpoint.size:
            return []
        count = min(count, checkpoint.size - first)
        edge = await self._edge(TILE)
        if first >= edge.first:
            entry_id = edge.entry_ids[first - edge.first]
        else:
            [tile] = await self._log.leaf_tiles(self._ledger.id, first // TILE, limit=1)
            entry_id = tile.entry_ids[first % TILE]
        return await self._history.entries(self._ledger.id, self._ledger.source, after=_before(entry_id), limit=count)

    async def checkpoint(self, size: int | None = None) -> Cosigned | None:
        """Return the checkpoint of ``size``, without one the latest, with what witnesses cosigned of it."""
        found = await self._log.checkpoint(self._ledger.id, size=size)
        return None if found is None else await self._with_lines(found)

    async def cosigned(self) -> Cosigned | None:
        """Return the newest checkpoint among those that most witnesses cosigned lately; None where none has been."""
        best = None
        for size in await self._cosignatures.cosigned_sizes(self._ledger.id, self._keys.witness_names):
            found = await self._log.checkpoint(self._ledger.id, size=size)
            if found is None:
                continue
            stored = await self._stored_lines(found)
            lines = self._verified(found, stored)
            if len(lines) > (0 if best is None else len(best.lines)):
                best = Cosigned(found, lines)
            if len(lines) == len(stored):
                break  # those that follow have no more
        return best

    async def _with_lines(self, checkpoint: Checkpoint) -> Cosigned:
        return Cosigned(checkpoint, self._verified(checkpoint, await self._stored_lines(checkpoint)))

    async def _stored_lines(self, checkpoint: Checkpoint) -> Sequence[Cosignature]:
        """Return what is stored as cosignatures by known witnesses."""
        size, known = checkpoint.size, self._keys.witness_names
        stored = await self._cosignatures.between(self._ledger.id, above=size - 1, to=size)
        return [line for line in stored if line.witness in known]

    def _verified(self, checkpoint: Checkpoint, lines: Sequence[Cosignature]) -> Sequence[str]:
        """Return what readers are shown: a line that is none would make them throw the checkpoint away."""
        return [line.signature for line in lines if self._keys.cosigned(checkpoint, line)]

    async def _edge(self, limit: int) -> Edge:
        last = await self._log.last_tile(self._ledger.id)
        first, after = (0, ALL) if last is None else ((last[0] + 1) * TILE, last[1])
        leaves = await self._history.leaves(self._ledger.id, self._ledger.source, after=after, limit=limit)
        return Edge(first, *leaves)

    async def _check(self, last: Checkpoint | None, edge: Edge) -> None:
        if last is None:
            return
        if edge.size < last.size or await self._root(last.size, edge) != last.root:
            raise LogDamagedError(f"the history of ledger {self._ledger.id} is not what was sealed up to {last.size}")
        if (fault := self._keys.fault_of(last, self._ledger.name)) is not None:
            raise LogDamagedError(f"the checkpoint of {last.size} entries of ledger {self._ledger.id}: {fault}")

    async def _check_end(self, entry_id: UUID) -> None:
        """Raise LogDamagedError for an entry that is not of a place up to the head, which is read after it was."""
        if entry_id >= first_identifier(await self._heads.read(self._ledger.id) + STEP):
            raise LogDamagedError(f"entry {entry_id} lies behind the head of ledger {self._ledger.id}")

    async def _add_leaf_tile(self, edge: Edge, begin: int) -> None:
        """Add the full tile of the leaves of ``edge`` from ``begin`` on, and those above it that are full with it."""
        hashes = edge.hashes[begin : begin + TILE]
        level, index, root = 0, (edge.first + begin) // TILE, root_of(hashes)
        await self._log.add_tile(
            self._ledger.id,
            level,
            index,
            root,
            entry_ids=edge.entry_ids[begin : begin + TILE],
            hashes=b"".join(hashes),
        )
        while (index + 1) % TILE == 0:
            [roots] = await self._log.roots(self._ledger.id, [(level, index + 1 - TILE, TILE)])
            level, index, root = level + 1, index // TILE, root_of(roots)
            await self._log.add_tile(self._ledger.id, level, index, root)

    async def _root(self, size: int, edge: Edge) -> bytes:
        nodes = root_nodes(size)
        hashes = await self._hashes(nodes, edge)
        return combine([hashes[node] for node in nodes])

    async def _path(self, needed: Sequence[Nodes], edge: Edge) -> list[bytes]:
        hashes = await self._hashes({node for nodes in needed for node in nodes}, edge)
        return proof_hashes(needed, hashes.__getitem__)

    async def _hashes(self, nodes: Collection[Node], edge: Edge) -> dict[Node, bytes]:
        """Return the hashes of complete subtrees, in two queries however many they are."""
        slices = {node: slice_of(node) for node in nodes}
        firsts = {node: one.index * TILE + one.start for node, one in slices.items()}
        in_tiles = [node for node, one in slices.items() if one.level == 0 and firsts[node] < edge.first]
        above = [node for node, one in slices.items() if one.level > 0]
        hashes = {
            node: root_of(edge.hashes[firsts[node] - edge.first :][: one.count])
            for node, one in slices.items()
            if one.level == 0 and firsts[node] >= edge.first
        }
        leaves = await self._log.leaf_hashes(self._ledger.id, [(firsts[node], slices[node].count) for node in in_tiles])
        hashes |= {node: root_of(_each(found)) for node, found in zip(in_tiles, leaves, strict=True)}
        # A hash of a tile above level 0 is the root of a tile below it.
        places = [(slices[node].level - 1, firsts[node], slices[node].count) for node in above]
        roots = await self._log.roots(self._ledger.id, places)
        return hashes | {node: root_of(found) for node, found in zip(above, roots, strict=True)}

    async def _index(self, entry_id: UUID, edge: Edge) -> int:
        """Return which leaf the entry is. Raises LogDamagedError when it is none."""
        if entry_id in edge.entry_ids:
            return edge.first + edge.entry_ids.index(entry_id)
        tile = await self._log.tile_of_entry(self._ledger.id, entry_id)
        if tile is None or entry_id not in tile[1]:
            raise LogDamagedError(f"entry {entry_id} was not sealed where it stands")
        return tile[0] * TILE + tile[1].index(entry_id)


def _before(entry_id: UUID) -> UUID:
    return UUID(int=max(entry_id.int - 1, 0))


def _each(hashes: bytes) -> list[bytes]:
    return [hashes[begin : begin + HASH_BYTES] for begin in range(0, len(hashes), HASH_BYTES)]
