"""The service's pools of connections: one for each kind of work, so that no kind can take what another one needs."""

import asyncio
from typing import Self

from msgspec import Struct, structs

from service.settings import Settings
from service.storage.database import Database

ACCESS_CONNECTIONS = 5
"""Tokens and ledgers are looked up by one query at a time each; probes take two; one looks how far the primary is."""
OVERVIEW_CONNECTIONS = 6
"""An overview reads by this many at the same time."""
_REPLICA_WATCH_CONNECTIONS = 1


class ReplicaPools(Struct, frozen=True):
    """Connections to the replica: for what looks at it, for single rows, for lists, for overviews."""

    watch: Database
    look_ups: Database
    reads: Database
    overviews: Database


class Pools(Struct, frozen=True, kw_only=True):
    """Connections to the primary, by the work that has them to itself.

    ``batches`` is group commit's. ``access`` decides who may do what, where, and whether the service is ready.
    ``administration`` opens accounts and ledgers, revises accounts and looks for expired holds. ``look_ups`` reads
    single rows, ``reads`` lists and whatever else a client can make long, ``rehearsals`` is for dry runs. All together
    are what one worker may open at most (decision 0041 has the sum).
    """

    batches: Database
    access: Database
    administration: Database
    look_ups: Database
    reads: Database
    rehearsals: Database
    overviews: Database
    replica: ReplicaPools | None

    @classmethod
    def connect(cls, url: str, settings: Settings) -> Self:
        """Make the pools for ``url`` and for the replica of ``settings``; nothing is sent before a first statement."""
        replica = None
        if settings.read_database_url is not None:
            replica = ReplicaPools(
                watch=Database.connect_few(settings.read_database_url, settings, _REPLICA_WATCH_CONNECTIONS),
                look_ups=Database.connect_few(settings.read_database_url, settings, settings.look_up_pool_size),
                reads=Database.connect(settings.read_database_url, settings),
                overviews=_for_overviews(settings.read_database_url, settings),
            )
        return cls(
            batches=Database.connect_engine(url, settings),
            access=Database.connect_few(url, settings, ACCESS_CONNECTIONS),
            administration=Database.connect_few(url, settings, settings.administration_pool_size),
            look_ups=Database.connect_few(url, settings, settings.look_up_pool_size),
            reads=Database.connect(url, settings),
            rehearsals=Database.connect_rehearsals(url, settings),
            overviews=_for_overviews(url, settings),
            replica=replica,
        )

    async def close(self) -> None:
        """Close all of them at once."""
        replica = () if self.replica is None else structs.astuple(self.replica)
        pools = [pool for pool in (*structs.astuple(self), *replica) if isinstance(pool, Database)]
        await asyncio.gather(*(pool.close() for pool in pools))


def _for_overviews(url: str, settings: Settings) -> Database:
    return Database.connect_few(url, settings, 1, for_a_time=OVERVIEW_CONNECTIONS - 1)
