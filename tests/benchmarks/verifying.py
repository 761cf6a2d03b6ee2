"""What verifying all the time costs transfers: ``python -m tests.benchmarks verifying``.

Two services on databases that were filled alike: one verifies without end, as it does by default, the other never
begins. They take turns, and whoever has not its turn is stopped (SIGSTOP), so that its workers cost nobody anything.
Each turn sends transfers as fast as they are answered, and counts the CPU of service and PostgreSQL together. Turns are
short and many, and each is compared with its neighbour: what else uses the machine changes slower than that.

Then nobody sends anything, and the CPU that each side uses in a second is what it does by itself. The difference is the
verifier's, which has noise of hundredths of a percent. Under load it is less: the verifier pauses for so many times as
long as a slice took, and slices take longer then.
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
from tests.benchmarks import traffic
from tests.benchmarks.databases import BenchmarkDatabase, Server
from tests.benchmarks.load import LoadGenerator
from tests.benchmarks.serving import Endpoint, service
from tests.support.process_costs import cpu_seconds, process_ids

SETTINGS = {"never": {"FUNDS_VERIFY_INTERVAL_SECONDS": "86400"}, "always": {"FUNDS_VERIFY_INTERVAL_SECONDS": "0.01"}}
"""The verifier begins a round so long after the last one; the first one, too."""

_OF_BOTH = {"FUNDS_IDLE_TIMEOUT_SECONDS": "3600"}  # connections idle while the other side is filled
_CONNECTIONS = 64
_BATCH_ITEMS = 1_000
_FILL_SECONDS = 5
_ALONE_SECONDS, _ALONE_TURNS = 10, 3


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


def run(server: Server, build: Path, *, transfers: int, turns: int, seconds: float) -> None:
    """Fill both databases with ``transfers``, let each side have ``turns`` turns of ``seconds``, and print what
    verifying costs. The ledgers are proved at the end.
    """
    with ExitStack() as stack:
        sides = [_side(stack, server, build, name, transfers) for name in SETTINGS]
        for number in range(turns + 1):
            for side in random.Random(number).sample(sides, k=len(sides)):
                turn = _turn(server, side, seconds)
                if number:  # the first one warms up
                    side.turns.append(turn)
        _print(*(side.turns for side in sides))
        _print_alone(*(_cpu_alone(server, side) for side in sides), turns=sides[0].turns)
        verified = sides[1].database.fetch_column(
            "SELECT count(*) FROM funds.verifications WHERE completed_at > now() - interval '1 hour'"
        )
        assert verified != ["0"], "the verifier was at work"


def _side(stack: ExitStack, server: Server, build: Path, name: str, transfers: int) -> Side:
    database = stack.enter_context(server.database(f"verified_{name}"))
    settings = SETTINGS[name] | _OF_BOTH | {"FUNDS_LOG_KEY": SignerKey.generate("benchmark.test/funds").secret_text()}
    endpoint = stack.enter_context(service(database.url, build / f"verified_{name}.log", workers=1, settings=settings))
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
    seconds = []
    with _going_on(side.endpoint):
        for _ in range(_ALONE_TURNS):
            before = cpu_seconds(side.endpoint.pid) + cpu_seconds(server.pid)
            time.sleep(_ALONE_SECONDS)
            seconds.append(cpu_seconds(side.endpoint.pid) + cpu_seconds(server.pid) - before)
    return statistics.median(seconds) / _ALONE_SECONDS


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


def _print(never: Sequence[Turn], always: Sequence[Turn]) -> None:
    """Print the medians of both sides, and how much more the turns of ``always`` cost than their neighbours."""
    for name in Turn.__struct_fields__:
        pairs = [(getattr(one, name), getattr(other, name)) for one, other in zip(never, always, strict=True)]
        changes = [100 * (with_it / without - 1) for without, with_it in pairs]
        medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
        mean, error = statistics.mean(changes), statistics.stdev(changes) / len(changes) ** 0.5
        print(  # noqa: T201
            f"{name:>10}: {medians[0]:10.2f} without, {medians[1]:10.2f} with: {mean:+.2f} % ± {2 * error:.2f}"
            f" (median {statistics.median(changes):+.2f} %, of {len(changes)} turns)",
            flush=True,
        )


def _print_alone(never: float, always: float, *, turns: Sequence[Turn]) -> None:
    """Print what verifying uses by itself, beside what transfers use."""
    busy = statistics.median(turn.cpu_us * turn.per_second / 1e6 for turn in turns)
    print(  # noqa: T201
        f"     alone: {never:.4f} s of CPU a second without, {always:.4f} s with, {busy:.2f} s under load:"
        f" verifying uses {100 * (always - never) / busy:.2f} % of what transfers use",
        flush=True,
    )
