"""Every fault of the schedules, by name."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from tests.faults.schedules import network, processes, servers, storage
from tests.faults.schedules.stage import BALANCED, STEADY, STRUCK, Stage
from tests.support.commit_proxy import Fault as CommitFault

BEGINNING, END = "its beginning", "its end"


@dataclass(frozen=True)
class FaultKind:
    """``strike`` is the fault as a context, ``hits`` who is called while it lasts, ``since`` what recovery counts from.
    ``slow``: it takes seconds to set up or to mend.
    """

    strike: Callable[[Stage, float], AbstractAsyncContextManager[float]]
    hits: tuple[str, ...]
    since: str = END
    slow: bool = False


_BOTH = (STEADY, STRUCK)
_PROXIED = (STEADY,)

FAULTS: dict[str, FaultKind] = {
    "a worker is killed": FaultKind(processes.worker_killed, (STRUCK,), BEGINNING),
    "a worker stands still": FaultKind(processes.worker_stopped, (STRUCK,)),
    "the service is killed": FaultKind(processes.service_killed, (STRUCK,), "its new start"),
    "the service stands still": FaultKind(processes.service_stopped, (STRUCK,)),
    "the service is restarted": FaultKind(processes.service_restarted, (STRUCK,), "its new start"),
    "a rolling restart": FaultKind(processes.rolling_restart, (BALANCED,), BEGINNING, slow=True),
    "backends are terminated": FaultKind(servers.backends_terminated, _BOTH),
    "a backend is killed": FaultKind(servers.backend_killed, _BOTH, BEGINNING),
    "a backend stands still": FaultKind(servers.backend_stopped, _BOTH),
    "no more connections": FaultKind(servers.connections_limited, _BOTH),
    "PostgreSQL is killed": FaultKind(servers.server_killed, _BOTH, "its new start"),
    "PostgreSQL stands still": FaultKind(servers.server_stopped, _BOTH),
    "the standby is lost": FaultKind(servers.standby_lost, _BOTH, slow=True),
    "the standby lags": FaultKind(servers.standby_lagged, _BOTH),
    "the primary is killed": FaultKind(servers.failover, _BOTH, "the promotion", slow=True),
    "the primary falls silent": FaultKind(servers.failover_from_silence, _BOTH, "the promotion", slow=True),
    "COMMIT does not arrive": FaultKind(network.commits(CommitFault.REQUEST_LOST), _PROXIED, BEGINNING),
    "COMMIT is cut off": FaultKind(network.commits(CommitFault.ANSWER_RACED), _PROXIED, BEGINNING),
    "COMMIT's answer is lost": FaultKind(network.commits(CommitFault.ANSWER_LOST), _PROXIED, BEGINNING),
    "COMMIT's answer never comes": FaultKind(network.commits(CommitFault.SILENCE), _PROXIED, BEGINNING),
    "cut after COMMIT": FaultKind(network.commits(CommitFault.CUT_AFTER), _PROXIED, BEGINNING),
    "connections are forgotten": FaultKind(network.forgotten, _PROXIED, BEGINNING),
    "a black hole": FaultKind(network.black_hole, _PROXIED),
    "messages are delayed": FaultKind(network.delayed, _PROXIED),
    "connections are reset": FaultKind(network.reset, _PROXIED, BEGINNING),
    "heads are locked": FaultKind(network.heads_locked, _BOTH),
    "accounts are locked": FaultKind(network.accounts_locked, _BOTH),
    "the disk is full": FaultKind(storage.disk_full, _BOTH, slow=True),
    "a migration": FaultKind(storage.migrated, _BOTH, BEGINNING, slow=True),
}


def lacking(stage: Stage) -> dict[str, str]:
    """Return which faults cannot happen on ``stage``, each with the reason."""
    reasons = {
        "a rolling restart": "" if stage.balanced else "there is no HAProxy in front (Debian: haproxy)",
        "the disk is full": storage.lacks_a_small_disk(),
        "a migration": "the next migrations have run" if stage.migrated else "",
    }
    return {fault: reason for fault, reason in reasons.items() if reason}
