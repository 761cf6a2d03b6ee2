"""What reads: on the primary, or on the replica first where there is one."""

from collections.abc import Callable
from uuid import UUID

from msgspec.structs import replace

from service.settings import Settings
from service.storage.coalescing import CoalescedReads, Query, R, Rows
from service.storage.database import Database
from service.storage.pools import Pools, ReplicaPools
from service.storage.replica import Replica
from service.storage.slots import Slots
from service.storage.transactions import Mode, Reader, Transactions

ACCESS_SECONDS_MAX = 2.0
"""How long the look-up of a token or of a ledger may take: every request waits for them first."""


class Readers:
    """Makes the readers, each on pools of its own; ``replica`` knows whether the replica may be read."""

    def __init__(self, settings: Settings, pools: Pools, replica: Replica | None) -> None:
        self._settings = settings
        self._pools = pools
        self._replica = replica
        self._look_up = Reader(self.transactions(pools.look_ups, Mode.SINGLE_STATEMENT))
        self.look_up_nearest = self._nearest(lambda pools: pools.look_ups, Mode.SINGLE_STATEMENT)

    def transactions(self, database: Database, mode: Mode = Mode.READ_ONLY) -> Transactions:
        """Return transactions with the limits of reads."""
        return Transactions(database, self._settings.read_limits, mode)

    def access(self) -> Reader:
        """Return what looks up tokens and ledgers, within ACCESS_SECONDS_MAX."""
        deadline_seconds = min(ACCESS_SECONDS_MAX, self._settings.read_deadline_seconds)
        limits = replace(self._settings.read_limits, deadline_seconds=deadline_seconds)
        return Reader(Transactions(self._pools.access, limits, Mode.READ_ONLY))

    def primary(self) -> Reader:
        """Return what never reads on the replica."""
        return Reader(self.transactions(self._pools.look_ups))

    def lists(self) -> Reader:
        """Return what reads lists and whatever else a client can make long."""
        slots = Slots(self._settings.pool_size + self._settings.pool_max_overflow)
        return self._nearest(lambda pools: pools.reads, slots=slots)

    def overviews(self) -> Reader:
        """Return what reads overviews, one at a time."""
        return self._nearest(lambda pools: pools.overviews, Mode.SNAPSHOT, slots=Slots(1))

    def rows(self, query: Query[UUID, R]) -> Rows[UUID, R]:
        """Return what looks up single rows by ``query``, which look-ups at the same time share."""
        primary = CoalescedReads(self._look_up, query)
        return Rows(primary if self._replica is None else CoalescedReads(self.look_up_nearest, query), primary)

    def _nearest(
        self,
        pool: Callable[[Pools | ReplicaPools], Database],
        mode: Mode = Mode.READ_ONLY,
        *,
        slots: Slots | None = None,
    ) -> Reader:
        """Return what reads on this pool of the replica first, where there is one, and then on that of the primary."""
        nearby = self._pools.replica
        on_replica = None if nearby is None else self.transactions(pool(nearby), mode)
        primary = self.transactions(pool(self._pools), mode)
        return Reader(primary, slots=slots, replica=self._replica, on_replica=on_replica)
