"""What something that can be turned off costs transfers: ``python -m tests.benchmarks verifying``, ``telemetry``.

Two services on databases that were filled alike, one without it and one with it. They take turns, and whoever has not
its turn is stopped (SIGSTOP), so that its workers cost nobody anything. Each turn sends transfers as fast as they are
answered, and counts the CPU of service and PostgreSQL together. Turns are short and many, and each is compared with its
neighbour: what else uses the machine changes slower than that.
"""

import os
import random
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from service.proofs.keys import SignerKey
from tests.benchmarks import telemetry_parts, traffic
from tests.benchmarks.databases import BenchmarkDatabase, Server
from tests.benchmarks.load import LoadGenerator
from tests.benchmarks.serving import Endpoint, service
from tests.support.collector import collecting
from tests.support.process_costs import cpu_seconds, process_ids

_SILENT = {"FUNDS_LOG_REQUESTS": "false"}
_LINES = {"FUNDS_LOG_LEVEL": "info"}
_METRICS = {"FUNDS_METRICS": "true", "FUNDS_OPERATIONS_PORT": "0"}
COMPARED = {
    # The verifier begins a round so long after the last one; the first one, too.
    "verifying": ({"FUNDS_VERIFY_INTERVAL_SECONDS": "86400"}, {"FUNDS_VERIFY_INTERVAL_SECONDS": "0.01"}),
    "telemetry": (_SILENT, _LINES | _METRICS),
    "metrics": (_SILENT, _SILENT | _METRICS),
    "request-lines": (_SILENT, _LINES),
    "traces": (_SILENT, _SILENT),
    "nothing": (_SILENT, _SILENT),  # the control: what differs is chance
}
"""The settings without what is compared, and those with it; traces are also told their collector."""

_OF_BOTH = {"FUNDS_IDLE_TIMEOUT_SECONDS": "3600"}  # connections idle while the other side is filled
_CONNECTIONS = 64
_BATCH_ITEMS = 1_000
_FILL_SECONDS = 5
_ALONE_SECONDS, _ALONE_TURNS = 10, 4
"""The least of these turns counts: what the load before has left to do (sealing, a checkpoint) comes and goes."""


class Turn(Struct, frozen=True):
    """What a turn gave: microseconds of CPU a transfer, transfers a second, milliseconds until the answer."""

    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float


class Side(Struct):
    """A service on a database of its own, and its turns."""

    database: BenchmarkDatabase
    endpoint: Endpoint
    requests: Iterator[bytes]
    generator: LoadGenerator
    turns: list[Turn]


def run(server: Server, build: Path, compared: str, *, transfers: int, turns: int, seconds: float) -> None:
    """Fill both databases with ``transfers``, let each side have ``turns`` turns of ``seconds``, and print what it
    costs that is ``compared``.
    """
    with ExitStack() as stack:
        without, with_it = COMPARED[compared]
        if compared == "traces":
            with_it = with_it | {"FUNDS_TRACES_ENDPOINT": stack.enter_context(collecting()).url}
        sides = [
            _side(stack, server, build, name, settings, transfers)
            for name, settings in (("without", without), ("with", with_it))
        ]
        for number in range(turns + 1):
            for side in random.Random(number).sample(sides, k=len(sides)):
                turn = _turn(server, side, seconds)
                if number:  # the first one warms up
                    side.turns.append(turn)
        _print(*(side.turns for side in sides))
        alone = [[_cpu_alone(server, side) for side in sides] for _ in range(_ALONE_TURNS)]
        _print_alone(*map(min, zip(*alone, strict=True)), turns=sides[0].turns)
        if compared == "telemetry":
            cpu_us = statistics.median(turn.cpu_us for turn in sides[0].turns)
            telemetry_parts.run(build / "request_lines.log", transfer_cpu_us=cpu_us)
        if compared == "verifying":
            verified = sides[1].database.fetch_column(
                "SELECT count(*) FROM funds.verifications WHERE completed_at > now() - interval '1 hour'"
            )
            assert verified != ["0"], "the verifier was at work"


def _side(stack: ExitStack, server: Server, build: Path, name: str, settings: dict[str, str], transfers: int) -> Side:
    database = stack.enter_context(server.database(f"compared_{name}"))
    settings = settings | _OF_BOTH | {"FUNDS_LOG_KEY": SignerKey.generate("benchmark.test/funds").secret_text()}
    endpoint = stack.enter_context(service(database.url, build / f"compared_{name}.log", workers=1, settings=settings))
    endpoint.wait_until_ready()
    batches = traffic.batch_requests("uniform", endpoint.token, _BATCH_ITEMS)
    with LoadGenerator(endpoint.port, 4, status=201) as filler:
        done = 0
        while done < transfers:
            done += filler.run(batches, _FILL_SECONDS).completed * _BATCH_ITEMS
    database.execute("VACUUM (ANALYZE)")
    generator = stack.enter_context(LoadGenerator(endpoint.port, _CONNECTIONS, status=201))
    _signal(endpoint, signal.SIGSTOP)
    stack.callback(_signal, endpoint, signal.SIGCONT)
    return Side(database, endpoint, traffic.single_requests("uniform", endpoint.token), generator, [])


def _turn(server: Server, side: Side, seconds: float) -> Turn:
    with _going_on(side.endpoint):
        before = cpu_seconds(side.endpoint.pid) + cpu_seconds(server.pid)
        sample = side.generator.run(side.requests, seconds)
        cpu = cpu_seconds(side.endpoint.pid) + cpu_seconds(server.pid) - before
    rate = sample.completed / sample.seconds
    return Turn(cpu / sample.completed * 1e6, rate, sample.percentile_ms(50), sample.percentile_ms(99))


def _cpu_alone(server: Server, side: Side) -> float:
    """Return the seconds of CPU that ``side`` uses in a second in which nobody asks it for anything."""
    with _going_on(side.endpoint):
        before = cpu_seconds(side.endpoint.pid) + cpu_seconds(server.pid)
        time.sleep(_ALONE_SECONDS)
        return (cpu_seconds(side.endpoint.pid) + cpu_seconds(server.pid) - before) / _ALONE_SECONDS


@contextmanager
def _going_on(endpoint: Endpoint) -> Iterator[None]:
    """Let a service that is stopped go on meanwhile."""
    _signal(endpoint, signal.SIGCONT)
    try:
        yield
    finally:
        _signal(endpoint, signal.SIGSTOP)


def _signal(endpoint: Endpoint, number: signal.Signals) -> None:
    for process_id in process_ids(endpoint.pid):
        os.kill(process_id, number)


def _print(without: Sequence[Turn], with_it: Sequence[Turn]) -> None:
    """Print the medians of both sides, and how much more the turns with it cost than their neighbours."""
    for name in Turn.__struct_fields__:
        pairs = [(getattr(one, name), getattr(other, name)) for one, other in zip(without, with_it, strict=True)]
        changes = [100 * (other / one - 1) for one, other in pairs]
        medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
        mean, error = statistics.mean(changes), statistics.stdev(changes) / len(changes) ** 0.5
        print(  # noqa: T201
            f"{name:>10}: {medians[0]:10.2f} without, {medians[1]:10.2f} with: {mean:+.2f} % ± {2 * error:.2f}"
            f" (median {statistics.median(changes):+.2f} %, of {len(changes)} turns)",
            flush=True,
        )


def _print_alone(without: float, with_it: float, *, turns: Sequence[Turn]) -> None:
    """Print what it uses by itself, beside what transfers use."""
    busy = statistics.median(turn.cpu_us * turn.per_second / 1e6 for turn in turns)
    print(  # noqa: T201
        f"     alone: {without:.4f} s of CPU a second without, {with_it:.4f} s with, {busy:.2f} s under load:"
        f" it uses {100 * (with_it - without) / busy:.2f} % of what transfers use",
        flush=True,
    )
