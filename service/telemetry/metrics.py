"""Every metric of the service, but those of HTTP requests, whose labels only the application knows.

This module knows the domain alone, so that whatever counts can import it. docs/telemetry.md says what each one means.
"""

from service.domain.commands import AnyCommand, ExpireHold
from service.domain.operations import Operation
from service.domain.rejections import InternalError
from service.domain.rules import RULES
from service.telemetry.instruments import Counter, Gauge, Histogram

APPLIED, FENCED = "applied", "fenced"
COMMANDS: tuple[Operation, ...] = (
    "post_transfer",
    "open_hold",
    "capture_hold",
    "void_hold",
    "reverse_transfer",
    "fence_key",
)
_EXPIRE_HOLD = "expire_hold"
PHASES = ("queue", "lock", "load", "decide", "write", "commit")
NO_SQLSTATE = "none"
"""Of what has none: time-outs, connections that are refused or lost."""
SQLSTATES = ("40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "53300", "08003", "08006", "25006", "42501")
"""Those of failures that may pass and are likely."""
POOLS = (
    "batches",
    "access",
    "administration",
    "look_ups",
    "reads",
    "dry_runs",
    "sealing",
    "witnessing",
    "overviews",
    "verification",
    "replica_watch",
    "replica_look_ups",
    "replica_reads",
    "replica_overviews",
)
ATTENDING = ("log-sealer", "hold-sweeper", "integrity-watch", "head-watcher", "log-witness")
"""What attends to all ledgers, where these lie on nodes."""
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_COMMANDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


def operation_of(command: type[AnyCommand]) -> str:
    """Return what a command asks for, by name."""
    return _EXPIRE_HOLD if issubclass(command, ExpireHold) else command.operation


decisions = Counter(
    "funds_decisions_total",
    "Commands decided and committed, by operation and what was decided: applied, fenced, or the code of the rejection.",
    ("operation", "code"),
    [
        *((name, code) for name in COMMANDS for code in (APPLIED, FENCED, *dict.fromkeys(r.code for r in RULES[name]))),
        *((name, InternalError.code) for name in COMMANDS),
        (_EXPIRE_HOLD, APPLIED),
    ],
)
replays = Counter(
    "funds_replays_total",
    "Commands answered from the decision that stood under their key, by operation.",
    ("operation",),
    [(name,) for name in COMMANDS],
)
batch_commands = Histogram("funds_batch_commands", "Commands in a committed batch.", _COMMANDS)
batch_phases = Histogram(
    "funds_batch_phase_duration_seconds",
    "Time that a committed batch spent in each phase; in the queue, that of its oldest command.",
    _SECONDS,
    ("phase",),
    [(phase,) for phase in PHASES],
)
queue_commands = Gauge("funds_queue_commands", "Commands that wait to be committed.")
queue_age = Gauge("funds_queue_age_seconds", "How long the oldest of them has waited.", over="max")
retries = Counter(
    "funds_retries_total",
    "Attempts of transactions that failed and were followed by another one, by SQLSTATE.",
    ("sqlstate",),
    [(state,) for state in (*SQLSTATES, NO_SQLSTATE)],
)
pool_connections = Gauge(
    "funds_pool_connections",
    "Database connections, by pool and whether something uses them.",
    ("pool", "state"),
    [(pool, state) for pool in POOLS for state in ("used", "idle")],
)
pool_connections_max = Gauge(
    "funds_pool_connections_max", "How many a pool may have.", ("pool",), [(pool,) for pool in POOLS]
)
holds_overdue = Gauge(
    "funds_holds_overdue",
    "Expired holds that the sweeper found and did not free, when it last looked.",
    over="max",
)
sealer_lag = Gauge("funds_sealer_lag_seconds", "How long not everything has been sealed in the logs.", over="min")
sealer_damaged = Gauge(
    "funds_sealer_damaged_ledgers", "Ledgers whose history is not what was sealed in their log.", over="max"
)
witness_lag = Gauge(
    "funds_witness_lag_seconds",
    "How long not every log has been cosigned, by the witness that is furthest behind of those that are asked here.",
    over="max",
)
verifier_lag = Gauge(
    "funds_verifier_lag_seconds", "How long ago the ledger was verified that has waited for longest.", over="max"
)
verifier_damaged = Gauge("funds_verifier_damaged_ledgers", "Ledgers in which damage was found.", over="max")
verifier_unverified = Gauge("funds_verifier_unverified_ledgers", "Ledgers that were never verified whole.", over="max")
replica_usable = Gauge("funds_replica_usable", "Whether reads use the replica: 1, or 0.", over="min")
replica_lag = Gauge("funds_replica_lag_seconds", "How old what the replica shows is at most.", over="max")
nodes_away = Gauge(
    "funds_nodes_away",
    "Nodes of a distributed database that did not answer what attends to all ledgers when they were last asked.",
    ("worker",),
    [(worker,) for worker in ATTENDING],
    over="max",
)
issuer_keys_age = Gauge(
    "funds_issuer_keys_age_seconds",
    "How long ago the keys of the issuer of tokens were read, by the process where that is longest.",
    over="max",
)
unknown_outcomes = Counter(
    "funds_unknown_outcomes_total", "Problems answered that leave open whether the request was applied."
)
files_cut = Counter("funds_files_cut_total", "Files that were cut because they took longer than they may.")
active_requests = Gauge("http_server_active_requests", "HTTP requests that are being answered.")
worker_processes = Gauge("funds_worker_processes", "Worker processes that serve.")
embedded_restarts = Counter(
    "funds_embedded_postgres_restarts_total", "How often the embedded PostgreSQL was found ended, to be started again."
)
