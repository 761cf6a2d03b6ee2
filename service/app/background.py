"""What runs by itself: a function for each kind of worker makes it, and starts nothing."""

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from service.access import uses
from service.access.uses import TokenUses
from service.audit.log_keys import LogKeys
from service.audit.witnesses import witnesses_of
from service.posting.committer import Committer
from service.posting.damage import DamagedLedgers
from service.settings import Settings
from service.storage.pools import Pools
from service.storage.transactions import Mode, Transactions
from service.workers.periodic import PeriodicWorker
from service.workers.sealer import Sealer
from service.workers.sweeper import HoldSweeper
from service.workers.verifier import LedgerVerifier

if TYPE_CHECKING:
    from service.access.key_sets import KeySet
    from service.workers.witnessing import Witnessing

_AT_ONCE_SECONDS = 0.05
"""The pause of a worker that waits by itself until there is something to do."""


def hold_sweeper(settings: Settings, pools: Pools, committer: Committer) -> PeriodicWorker:
    """Return what frees expired holds."""
    sweeper = HoldSweeper(committer, Transactions(pools.administration, settings.read_limits), settings)
    return PeriodicWorker(
        "hold-sweeper",
        sweeper.work,
        interval_seconds=settings.hold_sweep_interval_seconds,
        stop_seconds_max=settings.drain_timeout_seconds,
    )


def ledger_verifier(settings: Settings, pools: Pools, damaged: DamagedLedgers, log_keys: LogKeys) -> PeriodicWorker:
    """Return what asks the rules of every ledger, and stops those that are ``damaged``."""
    verifier = LedgerVerifier(
        Transactions(pools.verification, settings.read_limits, Mode.SNAPSHOT),
        Transactions(pools.administration, settings.commit_limits),
        damaged,
        settings,
        keys=log_keys,
    )
    return PeriodicWorker(
        "verifier", verifier.work, interval_seconds=settings.verify_interval_seconds, stop_seconds_max=0
    )


def log_sealer(settings: Settings, sealer: Sealer) -> PeriodicWorker:
    """Return what has ``sealer`` append to the logs."""
    return PeriodicWorker(
        "log-sealer",
        sealer.work,
        interval_seconds=settings.log_seal_interval_seconds,
        stop_seconds_max=settings.drain_timeout_seconds,
    )


def log_witnesses(settings: Settings, pools: Pools) -> "Iterator[tuple[PeriodicWorker, Witnessing]]":
    """Yield what asks each witness, so that none waits for another one, with its worker."""
    witnesses = witnesses_of(settings)
    if not witnesses:
        return
    # httpx takes long to load
    from service.workers.witness_client import WitnessClient  # noqa: PLC0415
    from service.workers.witnessing import Witnessing  # noqa: PLC0415

    for witness in witnesses:
        client = WitnessClient(witness.url, seconds_max=settings.log_witness_timeout_seconds)
        witnessing = Witnessing(Transactions(pools.witnessing, settings.read_limits), witness, client)
        worker = PeriodicWorker(
            f"log-witness {witness.name}",
            witnessing.work,
            interval_seconds=settings.log_witness_interval_seconds,
            stop_seconds_max=0,
        )
        yield worker, witnessing


def issuer_keys(settings: Settings) -> "tuple[PeriodicWorker, KeySet] | None":
    """Return what reads the keys of the issuer of tokens, with the keys; None where there is no issuer."""
    if settings.oidc_issuer is None:
        return None
    from service.access import key_sets  # noqa: PLC0415 - an extra

    interval_seconds = settings.oidc_keys_interval_seconds
    if settings.oidc_keys_endpoint is not None:
        from service.workers.key_set_client import KeySetClient  # noqa: PLC0415 - httpx takes long to load

        client = KeySetClient(settings.oidc_keys_endpoint, bytes_max=key_sets.SET_BYTES_MAX)
        fetch: key_sets.Fetch = client.fetch
    else:
        assert settings.oidc_keys_file is not None, "checked by the settings"
        fetch = key_sets.reader_of(settings.oidc_keys_file)
        interval_seconds = min(interval_seconds, key_sets.FILE_INTERVAL_SECONDS)
    keys = key_sets.KeySet(fetch, settings.oidc_algorithm_names, interval_seconds=interval_seconds)
    return watch("issuer-keys", keys.work, _AT_ONCE_SECONDS), keys


def token_use_writer(token_uses: TokenUses) -> PeriodicWorker:
    """Return what writes down how tokens were used, the last time at its stop."""
    return PeriodicWorker(
        "token-uses",
        token_uses.write,
        interval_seconds=uses.WRITE_INTERVAL_SECONDS,
        stop_seconds_max=uses.STOP_SECONDS_MAX,
        at_stop=True,
    )


def watch(name: str, look: Callable[[], Awaitable[bool | None]], interval_seconds: float) -> PeriodicWorker:
    """Return what looks again and again, and has nothing to finish when it is stopped."""
    return PeriodicWorker(name, look, interval_seconds=interval_seconds, stop_seconds_max=0)
