"""What is true now, as metrics: looked at again and again in every process, for a scrape reaches one of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.posting.committer import Committer
from service.storage.pools import Pools
from service.storage.replica import Replica
from service.telemetry import metrics
from service.telemetry.requests import RequestTelemetry
from service.workers.sealer import Sealer
from service.workers.verifier import IntegrityWatch

if TYPE_CHECKING:
    from service.access.key_sets import KeySet
    from service.workers.witnessing import Witnessing

LOOK_INTERVAL_SECONDS = 1.0


class Gauges:
    """Looks at the parts of a process; of ``sealer``, ``replica`` and ``issuer_keys`` those that there are."""

    def __init__(
        self,
        requests: RequestTelemetry,
        committer: Committer,
        pools: Pools,
        watch: IntegrityWatch,
        sealer: Sealer | None,
        witnesses: "Sequence[Witnessing]",
        replica: Replica | None,
        issuer_keys: "KeySet | None",
    ) -> None:
        self._requests = requests
        self._committer = committer
        self._pools = pools
        self._watch = watch
        self._sealer = sealer
        self._witnesses = witnesses
        self._replica = replica
        self._issuer_keys = issuer_keys

    async def look(self) -> None:
        """Say what is true now."""
        metrics.worker_processes.set(1)
        metrics.active_requests.set(self._requests.active)
        metrics.queue_commands.set(self._committer.command_count)
        metrics.queue_age.set(self._committer.queue_age_seconds)
        for name, database in self._pools.named():
            usage = database.usage
            metrics.pool_connections.set(usage.used, name, "used")
            metrics.pool_connections.set(usage.idle, name, "idle")
            metrics.pool_connections_max.set(usage.connections_max, name)
        self._look_at_ledgers()
        if self._replica is not None:
            metrics.replica_usable.set(self._replica.usable)
            metrics.replica_lag.set(self._replica.lag_seconds)
        if self._issuer_keys is not None:
            metrics.issuer_keys_age.set(self._issuer_keys.age_seconds)

    def _look_at_ledgers(self) -> None:
        if self._sealer is not None:
            metrics.sealer_lag.set(self._sealer.behind_seconds)
            metrics.sealer_damaged.set(self._sealer.damaged_count)
        behind = [one.behind_seconds for one in self._witnesses if one.behind_seconds is not None]
        metrics.witness_lag.set(max(behind, default=None))
        known = self._watch.freshness
        if known is not None:
            oldest = known.oldest_at
            metrics.verifier_lag.set(None if oldest is None else (known.as_of - oldest).total_seconds())
            metrics.verifier_damaged.set(len(known.damaged))
            metrics.verifier_unverified.set(known.unverified)
