"""The benchmark: ``python -m tests.benchmarks quick`` (or ``full``, or ``publish``). README.md explains it."""

import argparse
import signal
import time
from pathlib import Path

from tests.benchmarks import results as results_module
from tests.benchmarks.databases import new_server
from tests.benchmarks.floors import floors
from tests.benchmarks.plots import write_plots
from tests.benchmarks.report import page, publish
from tests.benchmarks.results import Results
from tests.benchmarks.suite import Plan, Suite
from tests.servers import ROOT

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "benchmarks"


def run(mode: str, plan: Plan) -> Path:
    """Run the legs, write JSON and plots, print the tables; return where the JSON is."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for log in BUILD.glob("*.log"):
        log.unlink()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)  # noqa: T201

    with new_server(BUILD / "data") as server:
        results = Results(mode=mode, postgres=server.settings())
        Suite(server, plan, results, BUILD, say).run()
    results.minutes = (time.monotonic() - began) / 60
    path = BUILD / f"{mode}.json"
    results.write(path, floors=[floor.as_dict() for floor in floors(results)])
    write_plots(results, BUILD)
    print(f"\n{page(results, floors(results))}\n\nWritten to {path.relative_to(ROOT)}")  # noqa: T201
    return path


def main() -> None:
    """Read the command line and run."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the servers, as Ctrl-C does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["quick", "full", "publish"])
    parser.add_argument("--workers", type=int, default=1, help="workers of the service")
    parser.add_argument("--growth", action="store_true", help="quick: with 1 and 5 million stored, too (15 minutes)")
    parser.add_argument(
        "--of", choices=["quick", "full"], default="full", help="publish: the run whose results to show"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="quick: how long a leg lasts (1)")
    arguments = parser.parse_args()
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
    if arguments.mode in plans:
        run(arguments.mode, plans[arguments.mode])
        return
    path = BUILD / f"{arguments.of}.json"
    results = results_module.read(path)
    (HERE / "results.json").write_text(path.read_text())
    publish(page(results, floors(results)), write_plots(results, HERE), HERE / "README.md")


if __name__ == "__main__":
    main()
