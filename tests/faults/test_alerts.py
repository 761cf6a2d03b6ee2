"""Every alert of ``deploy/monitoring`` once: what it is about happens to a real service, and Prometheus' own tool fires
it when given what the service said meanwhile, as a time lapse.
"""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest

from service.embedded.postgres import EmbeddedPostgres
from service.proofs.keys import SignerKey
from service.settings import Settings
from tests.faults.standby import Standby
from tests.faults.time_lapse import ALERTS, PROMTOOL, TimeLapse, evaluate
from tests.support.commit_proxy import CommitProxy, Fault, commit_proxy
from tests.support.database_faults import execute, gone, locked
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, unique
from tests.support.issuer import AUDIENCE, ISSUER, KeySetServer, SigningKey, key_set
from tests.support.killing import workers
from tests.support.log import ORIGIN, latest_checkpoint
from tests.support.other_session import expire_now, holding_head, wait_until
from tests.support.servers import ROOT, RunningService, TestDatabase, TestPostgres, free_port, random_token
from tests.support.service_process import launch
from tests.support.witness import Witness

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")

AT_ONCE = 30
"""Requests between two scrapes."""
MINUTE, TWO_MINUTES, FIVE_MINUTES = 6, 9, 24
"""How many scrapes it takes for an alert that waits so long, or some more."""


@dataclass(frozen=True)
class Watched:
    """A service, its database, and a ledger with two accounts."""

    service: RunningService
    port: int
    database: TestDatabase
    proxy: CommitProxy
    ledger: LedgerClient
    debit: JSON
    credit: JSON

    async def post(self) -> list[int]:
        """Send transfers, AT_ONCE at a time, and return the statuses of their answers."""
        answers = await asyncio.gather(*(self.ledger.post(self.debit, self.credit) for _ in range(AT_ONCE)))
        return [one.status_code for one in answers]

    async def open_accounts(self) -> None:
        """Ask for accounts, some at a time: a transaction each."""
        body = {"currency": "USD"}
        asked = (self.ledger.client.post(self.ledger.accounts, json=body, headers=keyed()) for _ in range(AT_ONCE // 2))
        await asyncio.gather(*asked)

    async def ready(self) -> int:
        return (await self.ledger.client.get(f"http://127.0.0.1:{self.port}/health/ready")).status_code

    async def ledger_id(self) -> int:
        connection = await asyncpg.connect(self.database.superuser_url)
        try:
            found: int = await connection.fetchval("SELECT id FROM funds.ledgers WHERE name = $1", self.ledger.name)
        finally:
            await connection.close()
        return found

    async def begin(self) -> TimeLapse:
        """Return a time lapse that has begun while all is well."""
        lapse = TimeLapse(self.port)
        assert set(await self.post()) == {201}
        await lapse.watch(4)
        lapse.quiet()
        return lapse


@pytest.fixture(scope="module")
async def watched(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """A service that gives up after two attempts, so that a fault shows soon; its verifier never begins."""
    key, port = SignerKey.generate(ORIGIN), free_port()
    async with AsyncExitStack() as stack:
        witness = await stack.enter_async_context(Witness().listening())
        issuer = await stack.enter_async_context(KeySetServer(key_set([SigningKey("first")])).listening())
        database = await stack.enter_async_context(postgres.fresh_database())
        proxy = await stack.enter_async_context(commit_proxy(database.service_url))
        service = launch(
            proxy.url,
            tmp_path_factory.mktemp("watched") / "serve.log",
            FUNDS_METRICS="true",
            FUNDS_OPERATIONS_PORT=str(port),
            FUNDS_LOG_KEY=key.secret_text(),
            FUNDS_LOG_ORIGIN=ORIGIN,
            FUNDS_LOG_SEAL_INTERVAL_SECONDS="0.1",
            FUNDS_LOG_WITNESSES=witness.setting,
            FUNDS_LOG_WITNESS_INTERVAL_SECONDS="0.1",
            FUNDS_OIDC_ISSUER=ISSUER,
            FUNDS_OIDC_AUDIENCES=AUDIENCE,
            FUNDS_OIDC_KEYS_ENDPOINT=issuer.url,
            FUNDS_VERIFY_INTERVAL_SECONDS="86400",
            FUNDS_COMMIT_ATTEMPTS_MAX="2",
            FUNDS_READ_ATTEMPTS_MAX="2",
            FUNDS_QUEUE_COMMANDS_MAX=str(AT_ONCE),
        )
        stack.callback(service.stop)
        await asyncio.to_thread(service.wait_until_ready)
        client = httpx.AsyncClient(base_url=service.url, headers=service.headers, timeout=30)
        await stack.enter_async_context(client)
        ledger = await LedgerClient.open(client, unique("ledger"))
        yield Watched(service, port, database, proxy, ledger, await ledger.account(), await ledger.account())


async def test_wrong_tokens(watched: Watched, tmp_path: Path) -> None:
    lapse = await watched.begin()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {random_token()}"}) as client:
        await lapse.watch(
            20,
            lambda: asyncio.gather(*(client.get(f"{watched.service.url}/v1/ledgers") for _ in range(AT_ONCE))),
        )
    lapse.check(tmp_path / "test.json", "FundsTokensRefused")


async def test_a_database_that_is_away(watched: Watched, tmp_path: Path) -> None:
    lapse = await watched.begin()

    async with gone(watched.database):
        await lapse.watch(
            FIVE_MINUTES, lambda: asyncio.gather(watched.post(), watched.open_accounts(), watched.ready())
        )
    await lapse.watch(TWO_MINUTES)  # the rate is that of the last five minutes
    lapse.check(
        tmp_path / "test.json", "FundsDatabaseUnavailable", "FundsNotReady", "FundsRetries", "FundsServerErrors"
    )

    async def recovered() -> bool:
        return set(await watched.post()) == {201}

    await wait_until(recovered)


async def test_somebody_holds_the_head_of_the_ledger(watched: Watched, tmp_path: Path) -> None:
    """Commands wait, and more are turned away."""
    lapse = await watched.begin()
    over = asyncio.Event()

    async def insist() -> None:
        while not over.is_set():
            await watched.ledger.post(watched.debit, watched.credit)
            await asyncio.sleep(0.02)

    ledger_id = await watched.ledger_id()
    async with asyncio.TaskGroup() as group, holding_head(watched.database.superuser_url, ledger_id):
        for _ in range(2 * AT_ONCE):
            group.create_task(insist())
        await lapse.watch_while("funds_queue_age_seconds", lambda age: age is not None and age > 1, MINUTE)
        await lapse.watch(FIVE_MINUTES)
        over.set()
    lapse.check(tmp_path / "test.json", "FundsQueueOld", "FundsOverloaded")


async def test_posting_is_slow(watched: Watched, tmp_path: Path) -> None:
    lapse = await watched.begin()
    ledger_id = await watched.ledger_id()
    for _ in range(3):
        async with holding_head(watched.database.superuser_url, ledger_id):
            posting = asyncio.create_task(watched.post())
            await asyncio.sleep(0.7)
        assert 201 in await posting
        await lapse.watch(FIVE_MINUTES // 3)
    lapse.check(tmp_path / "test.json", "FundsPostingSlow")


async def test_new_accounts_use_up_their_pool(watched: Watched, tmp_path: Path) -> None:
    lapse = await watched.begin()
    async with asyncio.TaskGroup() as group, locked(watched.database, "accounts"):
        group.create_task(watched.open_accounts())
        used = 'funds_pool_connections{pool="administration",state="used"'
        await lapse.watch_while(used, lambda count: count == Settings().administration_pool_size, MINUTE)
    lapse.check(tmp_path / "test.json", "FundsPoolExhausted")


async def test_the_answer_to_commit_is_lost(watched: Watched, tmp_path: Path) -> None:
    lapse = await watched.begin()
    watched.proxy.break_commits(Fault.ANSWER_LOST, count=100)
    try:
        posted = await watched.ledger.post(watched.debit, watched.credit)
    finally:
        watched.proxy.break_nothing()
    assert (posted.status_code, answer(posted)["outcome"]) == (503, "unknown")
    await lapse.watch(2)
    lapse.check(tmp_path / "test.json", "FundsOutcomesUnknown")


async def test_the_schema_is_not_what_the_service_knows(watched: Watched, tmp_path: Path) -> None:
    lapse = await watched.begin()
    await execute(watched.database, "ALTER TABLE funds.transfers RENAME COLUMN description TO other")
    try:
        listed = await watched.ledger.client.get(watched.ledger.transfers)
        await lapse.watch(2)
    finally:
        await execute(watched.database, "ALTER TABLE funds.transfers RENAME COLUMN other TO description")
    assert listed.status_code == 500
    lapse.check(tmp_path / "test.json", "FundsFaultsOfOurs")


async def test_nothing_is_sealed(watched: Watched, tmp_path: Path) -> None:
    """It rises second by second; that it goes on for minutes is not waited for."""
    lapse = await watched.begin()
    async with locked(watched.database, "log_checkpoints"):
        await watched.post()
        await lapse.watch_while("funds_sealer_lag_seconds", lambda lag: lag is not None and lag > 1.5, 1)
        lapse.go_on(12, rising="funds_sealer_lag_seconds")
    lapse.check(tmp_path / "test.json", "FundsSealerBehind")


@pytest.mark.parametrize(
    ("metric", "count", "alert"),
    [
        ("funds_witness_lag_seconds", 50, "FundsWitnessesBehind"),
        ("funds_issuer_keys_age_seconds", 300, "FundsIssuerKeysOld"),
    ],
)
async def test_what_others_leave_undone(watched: Watched, tmp_path: Path, metric: str, count: int, alert: str) -> None:
    """The witness trusts none of the logs here and cosigns nothing; the issuer is not asked. Nobody waits for hours."""
    lapse = await watched.begin()
    await lapse.watch_while(metric, lambda seconds: seconds is not None and seconds > 1.5, 1)
    lapse.go_on(count, rising=metric)
    lapse.check(tmp_path / "test.json", alert)


async def test_a_ledger_was_verified_long_ago_and_another_never(watched: Watched, tmp_path: Path) -> None:
    lapse = await watched.begin()
    await execute(
        watched.database,
        "INSERT INTO funds.verifications (ledger_id, damaged, completed_at)"
        f" VALUES ({await watched.ledger_id()}, false, now() - interval '8 days')",
    )
    await lapse.watch_while("funds_verifier_lag_seconds", lambda lag: lag is not None, 1)
    lapse.go_on(50, rising="funds_verifier_lag_seconds")
    lapse.check(tmp_path / "test.json", "FundsVerifierBehind")
    unverified = 'funds_verifier_unverified_ledgers{job="funds"}'
    days = {"series": unverified, "values": "1x50"}  # made up: two days are not waited for
    fired = [{"labels": '{alertname="FundsLedgersUnverified"}', "value": 1}]
    firing = 'group by (alertname) (ALERTS{alertname="FundsLedgersUnverified", alertstate="firing"})'
    evaluate(
        tmp_path / "days.json",
        [days],
        [
            {"expr": firing, "eval_time": "47h", "exp_samples": []},
            {"expr": firing, "eval_time": "48h", "exp_samples": fired},
        ],
        interval_seconds=3_600,
    )


async def test_a_ledger_lies_ahead_of_the_clock(watched: Watched, tmp_path: Path) -> None:
    """What writes to it is rejected for now, and so is the expiry of its holds."""
    other = await LedgerClient.open(watched.ledger.client, unique("ledger"))
    debit, credit = await other.account(), await other.account()
    body = {"debit_account_id": debit["id"], "credit_account_id": credit["id"], "amount": 1, "currency": "USD"}
    held = await other.client.post(f"{other.path}/holds", json=body, headers=keyed())
    assert held.status_code == 201, held.text
    lapse = await watched.begin()
    await execute(
        watched.database,
        "UPDATE funds.ledger_heads SET last_at = clock_timestamp() + interval '1 day'"
        f" WHERE ledger_id = (SELECT id FROM funds.ledgers WHERE name = '{other.name}')",
    )
    await expire_now(watched.database.superuser_url, [answer(held)["id"]])
    await lapse.watch_while("funds_holds_overdue", lambda count: count == 1, FIVE_MINUTES)
    lapse.check(tmp_path / "test.json", "FundsHoldsOverdue")


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[tuple[RunningService, int]]:
    """A service of two workers with the embedded PostgreSQL, which verifies all the time, and its operations port."""
    port = free_port()
    environment = {
        "FUNDS_ADMIN_TOKEN": random_token(),
        "FUNDS_DATA_DIR": str(tmp_path / "data"),
        "FUNDS_LOG_KEY": SignerKey.generate(ORIGIN).secret_text(),
        "FUNDS_LOG_LEVEL": "warning",
        "FUNDS_LOG_ORIGIN": ORIGIN,
        "FUNDS_METRICS": "true",
        "FUNDS_OPERATIONS_PORT": str(port),
        "FUNDS_PORT": str(free_port()),
        "FUNDS_VERIFY_INTERVAL_SECONDS": "0.2",
        "FUNDS_VERIFY_SHARE": "1",
        "FUNDS_WORKERS": "2",
    }
    service = RunningService(environment, tmp_path / "serve.log")
    try:
        await asyncio.to_thread(service.wait_until_ready)
        yield service, port
    finally:
        await asyncio.to_thread(service.stop)


async def test_rows_are_changed_and_processes_end(embedded: tuple[RunningService, int], tmp_path: Path) -> None:
    service, port = embedded
    lapse = TimeLapse(port)
    server = EmbeddedPostgres(tmp_path / "data")
    server.attach()
    async with httpx.AsyncClient(base_url=service.url, headers=service.headers, timeout=30) as client:
        ledger = await LedgerClient.open(client, unique("ledger"))
        debit, credit = await ledger.account(), await ledger.account()
        moved = await ledger.move(debit, credit)
        await lapse.watch_while("funds_worker_processes", lambda count: count == 2, 2)
        await latest_checkpoint(ledger, size=4)
        await lapse.watch(2)
        lapse.quiet()
        connection = await asyncpg.connect(server.superuser_url)
        await connection.execute("UPDATE funds.transfers SET amount = 2 WHERE id = $1::text::uuid", moved["id"])
        await connection.close()
        await ledger.move(debit, credit)
    await lapse.watch_while("funds_verifier_damaged_ledgers", bool, 2)
    await lapse.watch_while("funds_sealer_damaged_ledgers", bool, 2)

    kept = workers(service)[0]

    async def end_others() -> None:
        for pid in workers(service):
            if pid != kept:
                os.kill(pid, signal.SIGKILL)

    await lapse.watch_while("funds_worker_processes", lambda count: count == 1, TWO_MINUTES, end_others)

    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await lapse.watch_while("funds_embedded_postgres_restarts_total", bool, 2)

    await asyncio.to_thread(service.stop)
    await lapse.watch(MINUTE)
    lapse.check(
        tmp_path / "test.json",
        "FundsDown",
        "FundsEmbeddedPostgresRestarted",
        "FundsLedgerDamaged",
        "FundsLogDamaged",
        "FundsWorkersMissing",
    )


@asynccontextmanager
async def paused(standby: Standby) -> AsyncIterator[None]:
    """Within, the replica replays nothing."""
    await standby.execute("SELECT pg_wal_replay_pause()")
    yield
    await standby.execute("SELECT pg_wal_replay_resume()")


async def test_the_replica_lags_and_stops(primary: EmbeddedPostgres, standby: Standby, tmp_path: Path) -> None:
    """Its lag rises second by second; that it goes on for minutes is not waited for."""
    port = free_port()
    service = launch(
        primary.service_url,
        tmp_path / "serve.log",
        FUNDS_METRICS="true",
        FUNDS_OPERATIONS_PORT=str(port),
        FUNDS_READ_DATABASE_URL=standby.url("funds_service"),
    )
    try:
        await asyncio.to_thread(service.wait_until_ready)
        for alert in ("FundsReplicaBehind", "FundsReplicaUnusable"):
            lapse = TimeLapse(port)
            await lapse.watch_while("funds_replica_usable", lambda usable: usable == 1, 2)
            lapse.quiet()
            if alert == "FundsReplicaBehind":
                async with paused(standby):
                    await lapse.watch_while("funds_replica_lag_seconds", lambda lag: lag is not None and lag > 1.5, 1)
                lapse.go_on(20, rising="funds_replica_lag_seconds")
            else:
                await asyncio.to_thread(standby.stop)
                await lapse.watch_while("funds_replica_usable", lambda usable: usable == 0, TWO_MINUTES)
            lapse.check(tmp_path / "test.json", alert)
    finally:
        await asyncio.to_thread(service.stop)
        await asyncio.to_thread(standby.start)


def test_nothing_is_watched(tmp_path: Path) -> None:
    absent = [{"labels": '{alertname="FundsAbsent"}', "value": 1}]
    firing = 'group by (alertname) (ALERTS{alertstate="firing"})'
    there = [{"series": 'up{job="funds",instance="here"}', "values": "1x8 stale"}]
    expectations: list[dict[str, object]] = [
        {"expr": firing, "eval_time": "6m", "exp_samples": []},
        {"expr": firing, "eval_time": "8m", "exp_samples": absent},
    ]
    evaluate(tmp_path / "test.json", there, expectations)


async def test_what_the_runbook_asks_of_the_database_can_be_asked(test_database: TestDatabase) -> None:
    asked = re.findall(r"(?s)```sql\n(.*?)```", (ROOT / "service" / "docs" / "runbook.md").read_text())
    assert asked
    await execute(test_database, *asked)


def test_every_alert_is_caused() -> None:
    text = Path(__file__).read_text()
    lines = ALERTS.read_text().splitlines()
    alerts = [line.partition("alert: ")[2] for line in lines if "alert: " in line]
    assert [alert for alert in alerts if f'"{alert}"' not in text] == []
