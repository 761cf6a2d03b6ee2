"""schemathesis over the service's own document: each operation by itself, then sequences of them along their links.

The service is a process on a database of its own. In the end every rule is asked of every ledger that was made.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import httpx

from service.embedded.postgres import EmbeddedPostgres
from tests.fuzz.drawing import say
from tests.support.http_ledger import LedgerClient, keyed
from tests.support.invariants import assert_ledger_is_sound
from tests.support.servers import RunningService, TestDatabase, TestPostgres, random_token
from tests.support.service_process import launch

CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
SEQUENCES, DOCUMENT = "sequences.toml", "linked.json"
# That a hold is captured under its identifier is not inferred, for a capture answers with a transfer.
CAPTURE = {
    "operationId": "captureHold",
    "parameters": {"ledger_name": "$request.path.ledger_name", "hold_id": "$response.body#/id"},
}
ACCOUNTS = 6
FAULTS_SHOWN_MAX = 20
END_SECONDS_MAX = 120
"""How much longer than its bound a run may take: a sequence that has begun is finished, and failures are made small."""

# What only a link can reach, for nobody guesses an identifier: by operation, how often it must be applied in sequences.
REACHED = """
    SELECT operation, count(*) FROM funds.decisions
    WHERE outcome = 'applied' AND operation IN ('capture_hold', 'void_hold', 'reverse_transfer')
    GROUP BY operation
"""
IN_SEQUENCES = (
    *("openHold", "getHold", "captureHold", "voidHold", "postTransfer", "getTransfer", "reverseTransfer"),
    "getIdempotencyKey",
)
"""What moves money, and what leads there: of everything, few sequences in a time would get as far."""
SEQUENCES_MAX = 3
"""How often sequences are drawn, from one seed after the other, until they have reached what must be reached."""
MUST_BE_REACHED = ("capture_hold", "reverse_transfer")
DECIDED = """
    SELECT operation, coalesce(problem ->> 'code', outcome), count(*) FROM funds.decisions GROUP BY 1, 2 ORDER BY 1, 2
"""


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[tuple[RunningService, TestDatabase]]:
    """The service on a database of its own, in ``directory``."""
    # Not in the same directory: for root, the server runs as another user.
    with (
        TemporaryDirectory(prefix="funds-fuzz-postgres-") as data,
        EmbeddedPostgres(Path(data), options={"fsync": "off"}) as embedded,
    ):
        postgres = TestPostgres.embedded(embedded)
        await postgres.make_template()
        async with postgres.fresh_database() as database:
            service = launch(database.service_url, directory / "serve.log", token=random_token())
            try:
                service.wait_until_ready()
                yield service, database
            finally:
                service.stop()


async def fuzz_api(directory: Path, *, seed: int, alone_seconds: int, sequences_seconds: int) -> bool:
    """Ask every operation by itself, then sequences, for about as long; return whether everything held."""
    async with served(directory) as (service, database):
        await _prepare(service, directory)
        sound = _run(service, directory, "examples,coverage,fuzzing", seed, alone_seconds)
        connection = await asyncpg.connect(database.superuser_url)
        before = dict(await connection.fetch(REACHED))
        only = [f"--include-operation-id={name}" for name in IN_SEQUENCES]
        for one in range(seed, seed + SEQUENCES_MAX):
            sound &= _run(service, directory, "stateful", one, sequences_seconds, *only)
            reached = {name: count - before.get(name, 0) for name, count in await connection.fetch(REACHED)}
            if all(map(reached.get, MUST_BE_REACHED)):
                break
        decisions = ", ".join(f"{row[0]} {row[1]} {row[2]}" for row in await connection.fetch(DECIDED))
        say(f"decisions: {decisions}")
        await connection.close()
        say(f"applied in sequences: {', '.join(f'{name} {count}' for name, count in sorted(reached.items()))}")
        for name in MUST_BE_REACHED:
            if not reached.get(name):
                say(f"FAILED: no sequence reached {name}")
                sound = False
        await assert_ledger_is_sound(database.superuser_url)
        say("every ledger is sound")
        return _assert_no_fault(service) and sound


async def _prepare(service: RunningService, directory: Path) -> None:
    """Open accounts, and write down what schemathesis takes identifiers from."""
    async with httpx.AsyncClient(base_url=service.url, headers=service.headers) as client:
        ledger = LedgerClient(client, "main")
        source, *others = [await ledger.account(code=f"1000:{number}") for number in range(ACCOUNTS + 1)]
        for account in others:
            await ledger.move(source, account, 1_000_000)
        response = await client.post(
            f"{ledger.path}/holds",
            json={
                "debit_account_id": source["id"],
                "credit_account_id": others[0]["id"],
                "amount": 5,
                "currency": "USD",
            },
            headers=keyed(),
        )
        assert response.status_code == 201, response.text
        document = (await client.get("/openapi.json")).json()
    opened = document["paths"]["/v1/ledgers/{ledger_name}/holds"]["post"]["responses"]["201"]
    opened["links"] = {"capture": CAPTURE}
    (directory / DOCUMENT).write_text(json.dumps(document))
    half = ACCOUNTS // 2
    for name, accounts in (("payers", others[:half]), ("payees", others[half:])):
        (directory / f"{name}.dict").write_text("".join(f'"{account["id"]}"\n' for account in accounts))
    (directory / "times.dict").write_text(f'"{(datetime.now(UTC) + timedelta(hours=1)).isoformat()}"\n')
    shutil.copy(CONFIGURATION, directory)
    # What a dry run answers names nothing: no sequence would go on from there.
    alone = CONFIGURATION.read_text()
    (directory / SEQUENCES).write_text(alone.replace("[parameters]\n", '[parameters]\n"query.dry_run" = "false"\n'))


def _run(service: RunningService, directory: Path, phases: str, seed: int, seconds: int, *more: str) -> bool:
    """Run schemathesis, and return whether every check held."""
    say(f"schemathesis, {phases}: {seconds} s from seed {seed}")
    in_sequences = phases == "stateful"
    configuration = SEQUENCES if in_sequences else CONFIGURATION.name
    document = [DOCUMENT, "--url", service.url] if in_sequences else [f"{service.url}/openapi.json"]
    arguments: Sequence[str] = [
        *("--config-file", configuration, "run", *document, "--phases", phases),
        *("--seed", str(seed), "--max-time", str(seconds), "--generation-database", "none", "--warnings", "off"),
        *("--no-color", "--output-truncate", "false", *more),
    ]
    command = [sys.executable, "-m", "schemathesis.cli", *arguments]
    environment = os.environ | {"FUNDS_FUZZ_TOKEN": service.admin_token, "PYTHONWARNINGS": "ignore"}
    ended = subprocess.run(command, cwd=directory, env=environment, timeout=seconds + END_SECONDS_MAX, check=False)
    return ended.returncode == 0


def _assert_no_fault(service: RunningService) -> bool:
    """Return whether the service still runs, and its log tells of no fault of ours."""
    faults = [line for line in service.log.read_text().splitlines() if '"level":"error"' in line.replace(" ", "")]
    if faults:
        say("\n".join(faults[:FAULTS_SHOWN_MAX]))
    return service.process.poll() is None and not faults
