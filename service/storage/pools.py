"""The service's pools of database connections: one for each kind of work, so that no kind can take another's."""

import asyncio
from typing import Self

from msgspec import Struct, structs

from service.settings import Settings
from service.storage.database import Database

ACCESS_CONNECTIONS = 5
"""One for look-ups of tokens, one for look-ups of ledgers, two for probes, one for the position of the primary."""
OVERVIEW_CONNECTIONS = 6
"""An overview reads on this many connections at the same time."""
VERIFICATION_STATEMENT_MILLISECONDS_MAX = 60_000
"""For what is asked of a whole ledger; what is asked of a slice takes milliseconds."""
_REPLICA_WATCH_CONNECTIONS = 1


class ReplicaPools(Struct, frozen=True):
    """Connections to the replica: for checking it, for single rows, for lists, for overviews."""

    watch: Database
    look_ups: Database
    reads: Database
    overviews: Database


class Pools(Struct, frozen=True, kw_only=True):
    """Connections to the primary, one pool for each kind of work, which no other work uses.

    ``batches`` is for group commit. ``access`` looks up tokens and ledgers, and tells whether the service is ready.
    ``administration`` opens accounts and ledgers, revises accounts and looks for expired holds. ``look_ups`` reads
    single rows, ``reads`` reads lists and whatever else a client can make long, ``dry_runs`` is for dry runs,
    ``verification`` for the verifier, which lets statements take longer, ``sealing`` for the sealer,
    ``witnessing`` for asking witnesses, if there are any. One worker process opens at most the sum of all pools
    (decision 0041 has the sum).
    """

    batches: Database
    access: Database
    administration: Database
    look_ups: Database
    reads: Database
    dry_runs: Database
    sealing: Database
    witnessing: Database
    overviews: Database
    verification: Database
    replica: ReplicaPools | None

    @classmethod
    def connect(cls, url: str, settings: Settings) -> Self:
        """Make the pools for ``url`` and for the replica of ``settings``. Nothing is sent before a first statement."""
        replica = None
        if settings.read_database_url is not None:
            replica = ReplicaPools(
                watch=Database.connect_few(settings.read_database_url, settings, _REPLICA_WATCH_CONNECTIONS),
                look_ups=Database.connect_few(settings.read_database_url, settings, settings.look_up_pool_size),
                reads=Database.connect(settings.read_database_url, settings),
                overviews=_for_overviews(settings.read_database_url, settings),
            )
        return cls(
            batches=Database.connect_batches(url, settings),
            access=Database.connect_few(url, settings, ACCESS_CONNECTIONS),
            administration=Database.connect_few(url, settings, settings.administration_pool_size),
            look_ups=Database.connect_few(url, settings, settings.look_up_pool_size),
            reads=Database.connect(url, settings),
            dry_runs=Database.connect_dry_runs(url, settings),
            sealing=Database.connect_few(url, settings, 1),
            witnessing=Database.connect_few(url, settings, 1),
            overviews=_for_overviews(url, settings),
            verification=Database.connect_verification(
                url, structs.replace(settings, statement_timeout_ms=VERIFICATION_STATEMENT_MILLISECONDS_MAX)
            ),
            replica=replica,
        )

    def named(self) -> list[tuple[str, Database]]:
        """Return every pool with its name; those to the replica are called so."""
        own = structs.asdict(self).items()
        replica = {} if self.replica is None else structs.asdict(self.replica)
        nearby = ((f"replica_{name}", pool) for name, pool in replica.items())
        return [(name, pool) for name, pool in (*own, *nearby) if isinstance(pool, Database)]

    async def close(self) -> None:
        """Close all pools at the same time."""
        pools = [pool for _, pool in self.named()]
        # Every pool is closed even if another one fails: an open pool would keep connections of a stopped service.
        ends = await asyncio.gather(*(pool.close() for pool in pools), return_exceptions=True)
        for failed in filter(None, ends):
            raise failed


def _for_overviews(url: str, settings: Settings) -> Database:
    return Database.connect_few(url, settings, 1, more_at_need=OVERVIEW_CONNECTIONS - 1)
