"""The benchmark: ``python -m tests.benchmarks quick``, ``full``, ``publish``, ``audits``, ``framework``, ``growth``,
``console``, ``verifying``, ``telemetry``, ``metrics``, ``request-lines``, ``traces``.

README.md explains it, and docs/growth.md what grows.
"""

import argparse
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import comparing, console, framework, growth
from tests.benchmarks import results as results_module
from tests.benchmarks.databases import new_server, new_system_server
from tests.benchmarks.floors import floors
from tests.benchmarks.plots import write_plots
from tests.benchmarks.report import page, publish
from tests.benchmarks.results import Results
from tests.benchmarks.suite import Plan, Suite
from tests.support.servers import ROOT

HERE = Path(__file__).parent
_MODES = ("quick", "full", "publish", "audits", "framework", "growth", "console")
BUILD = ROOT / "build" / "benchmarks"


def run(mode: str, plan: Plan, legs: Callable[[Suite], None] = Suite.run, *, on_system: bool = False) -> Results:
    """Run ``legs``, write JSON, print the tables. ``on_system``: on the PostgreSQL of the system's packages."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for log in BUILD.glob("*.log"):
        log.unlink()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)  # noqa: T201

    with new_system_server() if on_system else new_server(BUILD / "data") as server:
        results = Results(mode=mode, postgres=server.settings())
        legs(Suite(server, plan, results, BUILD, say))
    results.minutes = (time.monotonic() - began) / 60
    path = BUILD / (f"{mode}-system.json" if on_system else f"{mode}.json")
    results.write(path, floors=[floor.as_dict() for floor in floors(results)])
    print(f"\n{page(results, floors(results))}\n\nWritten to {path.relative_to(ROOT)}")  # noqa: T201
    return results


def main() -> None:
    """Read the command line and run."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the servers, as Ctrl-C does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=[*_MODES, *comparing.COMPARED])
    parser.add_argument("--workers", type=int, default=1, help="workers of the service")
    parser.add_argument("--growth", action="store_true", help="quick: with 1 and 10 million stored, too (half an hour)")
    parser.add_argument(
        "--of", choices=["quick", "full"], default="full", help="publish: the run whose results to show"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="quick: how long a leg lasts (1)")
    parser.add_argument(
        "--transfers",
        type=int,
        help="growth: how many in batches (2 million); how many are stored: audits, console (1 million), comparisons"
        " (200,000)",
    )
    parser.add_argument("--minutes", type=float, default=3.0, help="growth: how long transfers come one by one (3)")
    parser.add_argument("--parts", type=int, default=12, help="growth: of a partitioned table of transfers (12)")
    parser.add_argument(
        "--turns",
        type=int,
        default=40,
        help="of a comparison: with and without, each; of the console: of each page (40)",
    )
    parser.add_argument(
        "--system", action="store_true", help="quick, full: on the PostgreSQL of the system's packages (Debian's is 15)"
    )
    arguments = parser.parse_args()
    if arguments.mode == "framework":
        framework.run()
        return
    if arguments.mode == "console":
        BUILD.mkdir(parents=True, exist_ok=True)
        with new_server(BUILD / "console") as server:
            console.run(server, BUILD, transfers=arguments.transfers or 1_000_000, turns=arguments.turns)
        return
    if arguments.mode == "growth":
        BUILD.mkdir(parents=True, exist_ok=True)
        with new_server(BUILD / "growth") as server:
            seconds = 60 * arguments.minutes
            growth.run(
                server, BUILD, transfers=arguments.transfers or 2_000_000, seconds=seconds, parts=arguments.parts
            )
        return
    if arguments.mode in comparing.COMPARED:
        BUILD.mkdir(parents=True, exist_ok=True)
        with new_server(BUILD / "compared") as server:
            stored = arguments.transfers or 200_000
            comparing.run(server, BUILD, arguments.mode, transfers=stored, turns=arguments.turns, seconds=3.0)
        return
    plans = {
        "quick": Plan(
            rounds=3,
            seconds=arguments.seconds,
            hand_seconds=max(2, int(arguments.seconds)),
            warmup_seconds=0.3 * arguments.seconds,
            workers=arguments.workers,
            textbook_workers=2,
            thorough=False,
            growth=arguments.growth,
        ),
        "full": Plan(
            rounds=3,
            seconds=5.0,
            hand_seconds=5,
            warmup_seconds=1.0,
            workers=arguments.workers,
            textbook_workers=2,
            thorough=True,
            growth=True,
        ),
    }
    if arguments.mode == "audits":
        run("audits", plans["quick"], lambda suite: suite.run_audits(arguments.transfers or 1_000_000))
        return
    if arguments.mode in plans:
        results = run(arguments.mode, plans[arguments.mode], on_system=arguments.system)
        write_plots(results, BUILD)
        return
    path = BUILD / f"{arguments.of}.json"
    results = results_module.read(path)
    (HERE / "results.json").write_text(path.read_text())
    publish(page(results, floors(results)), write_plots(results, HERE), HERE / "README.md")


if __name__ == "__main__":
    main()
