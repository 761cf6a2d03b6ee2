"""How long pages of the console take: ``python -m tests.benchmarks console``.

A ledger is filled with a million transfers through the service, its log sealed; then one browser asks for each page in
turn, as somebody looks at it. Half of them should be there within FLOOR_MS (docs/console.md).
"""

import json
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from statistics import median

import httpx

from service.proofs.keys import SignerKey
from tests.benchmarks import traffic
from tests.benchmarks.databases import Server
from tests.benchmarks.load import LoadGenerator
from tests.benchmarks.serving import Endpoint, service

FLOOR_MS = 50.0
_WARMING_UP = 5
_BATCH = 1_000
_CONNECTIONS = 4


def run(server: Server, logs: Path, *, transfers: int, turns: int) -> None:
    """Fill a ledger with ``transfers``, ask for each page ``turns`` times, and print the median and the 95th percentile
    of what each took.
    """
    with ExitStack() as stack:
        database = stack.enter_context(server.database("console"))
        key = {"FUNDS_LOG_KEY": SignerKey.generate("localhost/funds").secret_text()}
        endpoint = stack.enter_context(service(database.url, logs / "console.log", workers=1, settings=key))
        endpoint.wait_until_ready()
        database.add(_filled(endpoint, transfers))
        database.execute("VACUUM (ANALYZE)")
        origin = f"http://127.0.0.1:{endpoint.port}"
        browser = stack.enter_context(httpx.Client(base_url=origin, timeout=60))
        signed_in = browser.post(
            "/console/sign-in", data={"token": endpoint.token}, headers={"Sec-Fetch-Site": "same-origin"}
        )
        assert signed_in.status_code == 303, signed_in.text
        measured = {name: _times(browser, path, turns) for name, path in _pages(origin, endpoint).items()}
    _tell(measured)
    told = {name: [median(times), _late(times)] for name, times in measured.items()}
    (logs / "console.json").write_text(json.dumps(told, indent=1))


def _filled(endpoint: Endpoint, transfers: int) -> int:
    """Post ``transfers`` in batches; return how many were posted."""
    requests = traffic.batch_requests("uniform", endpoint.token, _BATCH)
    with LoadGenerator(endpoint.port, _CONNECTIONS, status=201) as generator:
        return generator.run(islice(requests, transfers // _BATCH), seconds=3_600).completed * _BATCH


def _pages(origin: str, endpoint: Endpoint) -> dict[str, str]:
    """Return the addresses of the screens, by what they show."""
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    with httpx.Client(base_url=f"{origin}/v1/ledgers/main", headers=headers) as api:
        transfer = api.get("/transfers?limit=1").json()["items"][0]
    ledger, account = "/console/ledgers/main", transfer["debit_account_id"]
    return {
        "ledgers": "/console",
        "overview": ledger,
        "find, a reference": f"{ledger}/find?q=rent",
        "accounts": f"{ledger}/accounts",
        "account": f"{ledger}/accounts/{account}",
        "account, as of a time": f"{ledger}/accounts/{account}?as_of=2100-01-01",
        "transfers": f"{ledger}/transfers",
        "transfer, with its receipt": f"{ledger}/transfers/{transfer['id']}",
        "holds": f"{ledger}/holds",
        "declined": f"{ledger}/declined",
        "trial balance": f"{ledger}/trial-balance",
        "history": f"{ledger}/history",
        "integrity": f"{ledger}/integrity",
        "tokens": "/console/tokens",
    }


def _tell(measured: dict[str, list[float]]) -> None:
    everything = [one for times in measured.values() for one in times]
    for name, times in [*measured.items(), ("all", everything)]:
        print(f"{name:28} {median(times):7.1f} ms  {_late(times):7.1f} ms")  # noqa: T201
    verdict = "pass" if median(everything) <= FLOOR_MS else "FAIL"
    print(f"half of all pages within {FLOOR_MS:.0f} ms: {verdict}")  # noqa: T201


def _times(browser: httpx.Client, path: str, turns: int) -> list[float]:
    """Return how long a page took, in milliseconds, each of ``turns`` times after some that warm up."""
    times = []
    for _ in range(_WARMING_UP + turns):
        began = time.perf_counter()
        answer = browser.get(path)
        times.append(1e3 * (time.perf_counter() - began))
        assert answer.status_code == 200, (path, answer.text)
    return times[_WARMING_UP:]


def _late(times: list[float]) -> float:
    return sorted(times)[int(0.95 * len(times))]
