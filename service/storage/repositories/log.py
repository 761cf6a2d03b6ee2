"""The log of a ledger as it is stored: full tiles of its Merkle tree, and checkpoints. Nothing of it ever changes.

A tile is 256 leaves (level 0: their hashes, and the identifiers of their entries) or 256 tiles of the level below;
its root is the root of all the leaves under it. That is what C2SP's tlog-tiles calls full tiles; the hashes of a tile
of a higher level are the roots of the tiles below it, and are not stored again.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, cast
from uuid import UUID

from msgspec import Struct
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    Table,
    any_,
    bindparam,
    func,
    insert,
    literal,
    or_,
    select,
    text,
)

from service.domain.history import LoggedLedger
from service.domain.identifiers import first_identifier
from service.domain.ledgers import NO_LEDGER
from service.proofs.tiles import TILE_HASHES
from service.proofs.tree import HASH_BYTES
from service.storage.database import Session
from service.storage.repositories.of_ledgers import OfLedgers, rows_of_ledgers
from service.storage.rows import SCHEMA, UUIDS, LedgerHeadRow, LedgerRow, LogCheckpointRow, LogTileRow

_SEALER = 0x6C6F67  # "log": the first key of advisory locks, the second is the ledger
_CHECKPOINTS = LogCheckpointRow.__table__.c
_TILES = LogTileRow.__table__.c


class Checkpoint(NamedTuple):
    """What the ledger's log was at some moment: how many entries, their root, the last one of them, and the signed note
    that says so.
    """

    size: int
    root: bytes
    last_entry_id: UUID
    note: str
    created_at: datetime


class Heads(NamedTuple):
    """Where the history of every ledger ends, by its id; and the ids of heads whose ledger is not there."""

    last_at: dict[int, datetime]
    of_no_ledger: frozenset[int]


class LeafTile(Struct, frozen=True):
    """A full tile of level 0."""

    index: int
    root: bytes
    entry_ids: list[UUID]
    hashes: bytes


class LogRepository:
    """Reads and adds to the logs of ledgers on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def try_lock(self, ledger_id: int) -> bool:
        """Whether this transaction is the only one that seals the ledger's log, until it ends. False without a head:
        the lock is taken where that is, which is one place also where tables are distributed.
        """
        lock = select(func.pg_try_advisory_xact_lock(_SEALER, LedgerHeadRow.ledger_id))
        return bool(await self._session.scalar(lock.where(LedgerHeadRow.ledger_id == ledger_id)))

    async def heads(self, ledger_ids: Sequence[int] | None = None) -> Heads:
        """Return where the history of every ledger ends, and the installation's, in one statement; or of those of
        ``ledger_ids``.
        """
        is_there = or_(LedgerHeadRow.ledger_id == NO_LEDGER, LedgerRow.id.is_not(None))
        query = select(LedgerHeadRow.ledger_id, LedgerHeadRow.last_at, is_there).outerjoin(
            LedgerRow, LedgerRow.id == LedgerHeadRow.ledger_id
        )
        if ledger_ids is not None:
            query = query.where(LedgerHeadRow.ledger_id == any_(literal(list(ledger_ids), ARRAY(Integer))))
        rows = (await self._session.execute(query)).all()
        return Heads(
            {ledger_id: last_at for ledger_id, last_at, there in rows if there},
            frozenset(ledger_id for ledger_id, _, there in rows if not there),
        )

    async def unsealed(self, ledger_ids: Sequence[int]) -> list[LoggedLedger]:
        """Return which of the histories of ``ledger_ids`` may go on behind their latest checkpoints."""
        return [
            LoggedLedger(ledger_id, name)
            async for ledger_id, name, last_at, last_entry_id in rows_of_ledgers(self._session, _ENDS, ledger_ids)
            if last_entry_id is None or last_entry_id < first_identifier(last_at)
        ]

    async def names(self, ledger_ids: Sequence[int]) -> dict[int, str]:
        """Return the names of ledgers."""
        rows = await self._session.execute(
            select(LedgerRow.id, LedgerRow.name).where(LedgerRow.id == any_(literal(list(ledger_ids), ARRAY(Integer))))
        )
        return {ledger_id: name for ledger_id, name in rows}  # noqa: C416

    async def checkpoint(self, ledger_id: int, *, size: int | None = None) -> Checkpoint | None:
        """Return the checkpoint of ``size``; without one the latest."""
        query = select(*_checkpoint_columns).where(_CHECKPOINTS.ledger_id == ledger_id)
        if size is not None:
            query = query.where(_CHECKPOINTS.size == size)
        row = (await self._session.execute(query.order_by(_CHECKPOINTS.size.desc()).limit(1))).one_or_none()
        return None if row is None else Checkpoint(*row)

    async def checkpoints(self, ledger_id: int, *, above: int, to: int) -> Sequence[Checkpoint]:
        """Return the checkpoints of more than ``above`` entries, up to those of ``to``, the smallest first."""
        rows = await self._session.execute(
            select(*_checkpoint_columns)
            .where(_CHECKPOINTS.ledger_id == ledger_id, _CHECKPOINTS.size > above, _CHECKPOINTS.size <= to)
            .order_by(_CHECKPOINTS.size)
        )
        return [Checkpoint(*row) for row in rows]

    async def last_tile(self, ledger_id: int) -> tuple[int, UUID] | None:
        """Return the index of the last full tile of level 0, and the identifier of its last entry."""
        row = (
            await self._session.execute(
                select(_TILES.index, _TILES.entry_ids[TILE_HASHES])
                .where(_TILES.ledger_id == ledger_id, _TILES.level == 0)
                .order_by(_TILES.index.desc())
                .limit(1)
            )
        ).one_or_none()
        return None if row is None else (row[0], row[1])

    async def tile_of_entry(self, ledger_id: int, entry_id: UUID) -> tuple[int, list[UUID]] | None:
        """Return the index and the identifiers of the full tile of level 0 that holds the entry, if one can."""
        row = (
            await self._session.execute(
                select(_TILES.index, _TILES.entry_ids)
                .where(_TILES.ledger_id == ledger_id, _TILES.level == literal(0), _TILES.first_entry_id <= entry_id)
                .order_by(_TILES.first_entry_id.desc())
                .limit(1)
            )
        ).one_or_none()
        return None if row is None else (row[0], row[1])

    async def leaf_indexes(self, ledger_id: int, entry_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Return which leaves those of ``entry_ids`` are that stand in full tiles."""
        rows = await self._session.execute(_LEAF_INDEXES, {"ledger_id": ledger_id, "ids": list(entry_ids)})
        return {row.id: row.leaf for row in rows if row.leaf is not None}

    async def leaf_tiles(self, ledger_id: int, first: int, *, limit: int) -> Sequence[LeafTile]:
        """Return up to ``limit`` full tiles of level 0 from index ``first`` on."""
        rows = await self._session.execute(
            select(_TILES.index, _TILES.root, _TILES.entry_ids, _TILES.hashes)
            .where(_TILES.ledger_id == ledger_id, _TILES.level == 0, _TILES.index >= first)
            .order_by(_TILES.index)
            .limit(limit)
        )
        return [LeafTile(*row) for row in rows]

    async def surplus_tile(self, ledger_id: int, size: int) -> tuple[int, int] | None:
        """Return the level and the index of a tile above level 0 that a log of ``size`` entries does not fill, if there
        is one.
        """
        row = (await self._session.execute(_SURPLUS_TILE, {"ledger_id": ledger_id, "size": size})).one_or_none()
        return None if row is None else (row[0], row[1])

    async def leaf_hashes(self, ledger_id: int, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the hashes of leaves in full tiles, for each of ``places``: the first leaf and how many, which lie in
        one tile. The hashes of one place follow each other without separators.
        """
        firsts, counts = ([place[n] for place in places] for n in range(2))
        parameters = {"ledger_id": ledger_id, "firsts": firsts, "counts": counts}
        return list(await self._session.scalars(_LEAF_HASHES, parameters))

    async def roots(self, ledger_id: int, places: Sequence[tuple[int, int, int]]) -> list[list[bytes]]:
        """Return the roots of tiles, for each of ``places``: their level, the first and how many."""
        levels, firsts, counts = ([place[n] for place in places] for n in range(3))
        parameters = {"ledger_id": ledger_id, "levels": levels, "firsts": firsts, "counts": counts}
        return list(await self._session.scalars(_ROOTS, parameters))

    async def add_tile(
        self,
        ledger_id: int,
        level: int,
        index: int,
        root: bytes,
        *,
        entry_ids: Sequence[UUID] | None = None,
        hashes: bytes | None = None,
    ) -> None:
        """Add a full tile; one of level 0 with its entries and their hashes."""
        tile = {
            "ledger_id": ledger_id,
            "level": level,
            "index": index,
            "root": root,
            "first_entry_id": None if entry_ids is None else entry_ids[0],
            "entry_ids": None if entry_ids is None else list(entry_ids),
            "hashes": hashes,
        }
        await self._session.execute(_ADD_TILE, tile)

    async def add_checkpoint(self, ledger_id: int, *, size: int, root: bytes, last_entry_id: UUID, note: str) -> None:
        """Add a checkpoint. Raises the driver's violation of PK_LOG_CHECKPOINTS where another one has its size."""
        await self._session.execute(
            insert(LogCheckpointRow).values(
                ledger_id=ledger_id, size=size, root=root, last_entry_id=last_entry_id, note=note
            )
        )


_checkpoint_columns = [_CHECKPOINTS[name] for name in Checkpoint._fields]

# Into the table and not the mapped class: a statement costs Python a third less without the ORM.
_ADD_TILE = insert(cast("Table", LogTileRow.__table__))

_ENDS = OfLedgers(
    f"""
    SELECT head.ledger_id, coalesce(ledger.name, ''), head.last_at, (
        SELECT checkpoint.last_entry_id FROM {SCHEMA}.log_checkpoints AS checkpoint
        WHERE checkpoint.ledger_id = head.ledger_id {{checkpoint}} ORDER BY checkpoint.size DESC LIMIT 1
    )
    FROM {SCHEMA}.ledger_heads AS head
    LEFT JOIN {SCHEMA}.ledgers AS ledger ON ledger.id = head.ledger_id
    WHERE head.ledger_id = ANY(:ledger_ids) AND (ledger.id IS NOT NULL OR head.ledger_id = 0)
    """,  # noqa: S608 - names are this module's own
    ("checkpoint",),
)

_SURPLUS_TILE = text(
    f"""
    SELECT level, index FROM {SCHEMA}.log_tiles
    WHERE ledger_id = :ledger_id AND (level < 0 OR (level > 0 AND (
        index < 0 OR (index + 1)::numeric * {TILE_HASHES}::numeric ^ (level + 1) > :size
    )))
    ORDER BY level, index
    LIMIT 1
    """  # noqa: S608
).bindparams(bindparam("ledger_id", type_=Integer), bindparam("size", type_=BigInteger))

_LEAF_INDEXES = text(
    f"""
    SELECT wanted.id, tile.index * {TILE_HASHES} + array_position(tile.entry_ids, wanted.id) - 1 AS leaf
    FROM unnest(:ids) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT index, entry_ids
        FROM {SCHEMA}.log_tiles
        WHERE ledger_id = :ledger_id AND level = 0 AND first_entry_id <= wanted.id
        ORDER BY first_entry_id DESC
        LIMIT 1
    ) AS tile
    """  # noqa: S608
).bindparams(bindparam("ledger_id", type_=Integer), bindparam("ids", type_=UUIDS))

_LEAF_HASHES = text(
    f"""
    SELECT substring(tile.hashes FROM (place.first % {TILE_HASHES})::integer * {HASH_BYTES} + 1
                     FOR place.count * {HASH_BYTES})
    FROM unnest(:firsts, :counts) WITH ORDINALITY AS place (first, count, number)
    JOIN {SCHEMA}.log_tiles AS tile
      ON tile.ledger_id = :ledger_id AND tile.level = 0 AND tile.index = place.first / {TILE_HASHES}
    ORDER BY place.number
    """  # noqa: S608 - names are this module's own
).bindparams(
    bindparam("ledger_id", type_=Integer),
    bindparam("firsts", type_=ARRAY(BigInteger)),
    bindparam("counts", type_=ARRAY(Integer)),
)

_ROOTS = text(
    f"""
    SELECT array_agg(tile.root ORDER BY tile.index)
    FROM unnest(:levels, :firsts, :counts) WITH ORDINALITY AS place (level, first, count, number)
    JOIN {SCHEMA}.log_tiles AS tile
      ON tile.ledger_id = :ledger_id AND tile.level = place.level
     AND tile.index >= place.first AND tile.index < place.first + place.count
    GROUP BY place.number
    ORDER BY place.number
    """  # noqa: S608
).bindparams(
    bindparam("ledger_id", type_=Integer),
    bindparam("levels", type_=ARRAY(Integer)),
    bindparam("firsts", type_=ARRAY(BigInteger)),
    bindparam("counts", type_=ARRAY(Integer)),
)
