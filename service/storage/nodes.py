"""Attending to all ledgers, also where they lie on nodes (Citus): while one of these is away, its ledgers wait, and no
others.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct
from sqlalchemy import ARRAY, Integer, bindparam, select, text

from service.domain.ledgers import NO_LEDGER
from service.errors import Failure, StorageError
from service.storage.database import Session
from service.storage.errors import classify, reason
from service.storage.group_commit.pipeline import is_distributed
from service.storage.rows import LedgerRow
from service.telemetry import metrics

logger = logging.getLogger(__name__)

T = TypeVar("T")

NODE_SECONDS_MAX = 2.0
"""How long a node has to say what there is to do for its ledgers, while one is away."""
REST_SECONDS = 10.0
"""How long a node is left alone that was away; then it is also looked again which ledgers each node has."""


class Part(Struct, frozen=True):
    """Ledgers that are attended to together: those of ``ledger_ids``, which are on one node; None is all there are."""

    node: str | None = None
    ledger_ids: Sequence[int] | None = None

    @property
    def seconds_max(self) -> float | None:
        """How long it may take to find what there is to do; None is as long as any transaction."""
        return None if self.node is None else NODE_SECONDS_MAX


EVERY_LEDGER = Part()

# OFFSET parts the query: the function is asked once for each ledger, and not for each with each placement.
_NODES = text(
    """
    SELECT node.nodename || ':' || node.nodeport, array_agg(ledger_id)
    FROM (
        SELECT ledger_id, get_shard_id_for_distribution_column('funds.ledger_heads', ledger_id) AS shardid
        FROM unnest(:ledger_ids) AS ledger_id OFFSET 0
    ) AS located
    JOIN pg_dist_placement AS placement USING (shardid)
    JOIN pg_dist_node AS node ON node.groupid = placement.groupid AND node.noderole = 'primary'
    GROUP BY 1 ORDER BY 1
    """
).bindparams(bindparam("ledger_ids", type_=ARRAY(Integer)))


class Run(Protocol):
    """Runs a unit of work, as ``Transactions.run`` does."""

    async def __call__(self, work: Callable[[Session], Awaitable[T]], /) -> T:
        """Return what ``work`` returns."""
        raise NotImplementedError


class AllLedgers:
    """All ledgers, as the worker called ``worker`` attends to them.

    It is one piece of work as long as every node answers, and always on an ordinary database. When it fails because a
    node is away, it is done node by node, for those that answer. Which do not is logged, a line a minute, and in
    ``funds_nodes_away``; they are asked again after REST_SECONDS. Once all answer, it is one piece of work again.
    """

    def __init__(self, worker: str, run: Run) -> None:
        self._worker = worker
        self._run = run
        self._is_distributed: bool | None = None
        self._parts: Sequence[Part] = ()
        self._away: dict[str, Part] = {}
        self._again_at = 0.0

    @property
    def waiting(self) -> frozenset[int]:
        """The ledgers of nodes that were away when they were last asked."""
        return frozenset(ledger_id for part in self._away.values() for ledger_id in part.ledger_ids or ())

    async def attend(self, work: Callable[[Part], Awaitable[T]]) -> list[T]:
        """Return what ``work`` returns for all ledgers together; where a node is away, for those of each other one.

        Raises what ``work`` raises, but for the failures of nodes.
        """
        if self._is_distributed is None:
            self._is_distributed = await self._run(is_distributed)
        if not self._parts:
            try:
                return [await work(EVERY_LEDGER)]
            except Exception as error:
                if not self._is_distributed or not is_unavailable(error):
                    raise
        return await self._attend_apart(work)

    async def _attend_apart(self, work: Callable[[Part], Awaitable[T]]) -> list[T]:
        if time.monotonic() >= self._again_at or not self._parts:
            self._parts = await self._run(_parts)
            self._away.clear()
            self._again_at = time.monotonic() + REST_SECONDS
        done = []
        for part in self._parts:
            if part.node not in self._away:
                try:
                    done.append(await work(part))
                except Exception as error:
                    if not is_unavailable(error):
                        raise
                    self._note_away(part, error)
        metrics.nodes_away.set(len(self._away), self._worker)
        if not self._away:
            self._parts = ()
        return done

    def _note_away(self, part: Part, error: Exception) -> None:
        assert part.node is not None, "all together have no part in this"
        self._away[part.node] = part
        told = f"{self._worker}, {part.node}: {reason(error)}"
        logger.warning("a node is away", extra={"worker": self._worker, "node": part.node, "reason": told})


def is_unavailable(error: Exception) -> bool:
    """Return whether ``error`` says that a database does not answer, after all tries or after one."""
    return (error.failure if isinstance(error, StorageError) else classify(error)) is Failure.UNAVAILABLE


async def is_of_a_node(run: Run, error: Exception) -> bool:
    """Return whether ``error`` says that a node does not answer, while the server that knows the nodes does. Raises
    what ``run`` raises where that one does not either.
    """
    return is_unavailable(error) and await run(is_distributed)


async def _parts(session: Session) -> Sequence[Part]:
    """Return the ledgers of each node, the installation's own history among them."""
    ledger_ids = [NO_LEDGER, *await session.scalars(select(LedgerRow.id))]
    return [Part(node, found) for node, found in await session.execute(_NODES, {"ledger_ids": ledger_ids})]
