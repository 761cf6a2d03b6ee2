"""What witnesses cosigned: lines that are added to checkpoints of logs, and never change."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct
from sqlalchemy import BigInteger, Text, any_, bindparam, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert

from service.storage.database import Session
from service.storage.repositories.log import Checkpoint
from service.storage.repositories.of_ledgers import OfLedgers, rows_of_ledgers
from service.storage.rows import SCHEMA, LogCosignatureRow

_WITNESSES = 0x7769746E << 32  # "witn": locks are this and the ID of the witness's key
_COSIGNATURES = LogCosignatureRow.__table__.c
_NEWEST = 64


class LatestCheckpoint(Struct, frozen=True):
    """The latest checkpoint of a ledger's log, where the ledger's head is, and whether a witness cosigned it."""

    ledger_id: int
    ledger: str
    last_at: datetime
    checkpoint: Checkpoint
    cosigned: bool


class Cosignature(NamedTuple):
    """The line by which a witness, named with its key's ID, cosigned the checkpoint of that size."""

    size: int
    witness: str
    signature: str


class CosignatureRepository:
    """Reads and adds cosignatures on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def claim(self, key_id: bytes) -> bool:
        """Return whether this connection is the one that asks the witness with this key, which it stays until it is
        closed: of all instances of the service, one asks a witness at a time.
        """
        lock = _WITNESSES | int.from_bytes(key_id)
        return bool(await self._session.scalar(select(func.pg_try_advisory_lock(bindparam(None, lock, BigInteger)))))

    async def latest(self, ledger_ids: Sequence[int], witness: str) -> list[LatestCheckpoint]:
        """Return the latest checkpoints of ledgers, of those that have one, in the order of the ledgers' ids."""
        rows = rows_of_ledgers(self._session, _LATEST, sorted(ledger_ids), witness=witness)
        return [
            LatestCheckpoint(ledger_id, ledger, last_at, Checkpoint(*checkpoint), cosigned)
            async for ledger_id, ledger, last_at, cosigned, *checkpoint in rows
        ]

    async def add(self, ledger_id: int, *, size: int, witness: str, signature: str) -> None:
        """Add the line by which ``witness`` cosigned the checkpoint of ``size``; one that is there stays."""
        line = insert(LogCosignatureRow).values(ledger_id=ledger_id, size=size, witness=witness, signature=signature)
        await self._session.execute(line.on_conflict_do_nothing())

    async def between(self, ledger_id: int, *, above: int, to: int) -> Sequence[Cosignature]:
        """Return the cosignatures of checkpoints of more than ``above`` entries, up to those of ``to``, the smallest
        first.
        """
        rows = await self._session.execute(
            select(*(_COSIGNATURES[name] for name in Cosignature._fields))
            .where(_COSIGNATURES.ledger_id == ledger_id, _COSIGNATURES.size > above, _COSIGNATURES.size <= to)
            .order_by(_COSIGNATURES.size, _COSIGNATURES.witness)
        )
        return [Cosignature(*row) for row in rows]

    async def cosigned_sizes(self, ledger_id: int, witnesses: Sequence[str]) -> Sequence[int]:
        """Return the sizes of checkpoints that were cosigned lately: first those that most of ``witnesses`` cosigned,
        and of these the newest.
        """
        newest = (
            select(_COSIGNATURES.size, _COSIGNATURES.witness)
            .where(_COSIGNATURES.ledger_id == ledger_id)
            .order_by(_COSIGNATURES.size.desc())
            .limit(_NEWEST)
            .subquery()
        )
        query = (
            select(newest.c.size)
            .where(newest.c.witness == any_(literal(list(witnesses), ARRAY(Text))))
            .group_by(newest.c.size)
            .order_by(func.count().desc(), newest.c.size.desc())
        )
        return list(await self._session.scalars(query))


_LATEST = OfLedgers(
    f"""
    SELECT head.ledger_id, coalesce(ledger.name, ''), head.last_at,
           EXISTS (SELECT FROM {SCHEMA}.log_cosignatures AS line
                   WHERE line.ledger_id = head.ledger_id {{line}}
                     AND line.size = latest.size AND line.witness = :witness),
           {", ".join(f"latest.{name}" for name in Checkpoint._fields)}
    FROM {SCHEMA}.ledger_heads AS head
    LEFT JOIN {SCHEMA}.ledgers AS ledger ON ledger.id = head.ledger_id
    CROSS JOIN LATERAL (
        SELECT * FROM {SCHEMA}.log_checkpoints AS checkpoint
        WHERE checkpoint.ledger_id = head.ledger_id {{checkpoint}} ORDER BY checkpoint.size DESC LIMIT 1
    ) AS latest
    WHERE head.ledger_id = ANY(:ledger_ids)
    ORDER BY head.ledger_id
    """,  # noqa: S608 - names are this module's own
    ("checkpoint", "line"),
)
