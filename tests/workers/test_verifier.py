"""The verifier finds damage while transfers go on, says so, and stops a ledger only where it is told to."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import httpx
import pytest

from service.audit.log_integrity import ENTRIES_STAND
from service.audit.log_signer import LogSigner
from service.domain.integrity import Verification
from service.posting.damage import DamagedLedgers
from service.proofs.keys import SignerKey
from service.settings import Settings
from service.storage.database import Database
from service.storage.repositories import Repositories
from service.storage.transactions import Mode, Transactions
from service.workers import verifier as module
from service.workers.sealer import Sealer
from service.workers.verifier import IntegrityWatch, LedgerVerifier
from tests.support.application import serving
from tests.support.http_ledger import LedgerClient, answer, keyed, problem
from tests.support.invariants import assert_ledger_is_sound
from tests.support.ledger_at_work import LedgerAtWork, fill_ledger
from tests.support.log import ORIGIN
from tests.support.rows import MAIN, add_created_ledger
from tests.support.servers import TestDatabase

SETTINGS = Settings()
EDIT = "UPDATE funds.transfers SET amount = amount + $1 WHERE id = $2"


class Process:
    """What a process of the service has of verification."""

    def __init__(self, verification: Database, others: Database) -> None:
        self.damaged = DamagedLedgers(stop=True)
        self.keeping = Transactions(others, SETTINGS.commit_limits)
        slices = Transactions(verification, SETTINGS.read_limits, Mode.SNAPSHOT)
        self.verifier = LedgerVerifier(slices, self.keeping, self.damaged, SETTINGS)
        self.watch = IntegrityWatch(self.keeping, self.damaged)

    async def round(self) -> int:
        """Verify every ledger; return in how many slices."""
        slices = 0
        while await self.verifier.verify_next():
            slices += 1
        return slices

    async def known(self) -> Verification:
        return await self.keeping.run(lambda session: Repositories(session).verifications.of(MAIN))


@asynccontextmanager
async def process(test_database: TestDatabase) -> AsyncIterator[Process]:
    async with AsyncExitStack() as stack:
        url = test_database.service_url
        pools = [Database.connect_verification(url, SETTINGS), Database.connect(url, SETTINGS)]
        for pool in pools:
            stack.push_async_callback(pool.close)
        yield Process(*pools)


@pytest.fixture
async def facts(test_database: TestDatabase) -> LedgerAtWork:
    return await fill_ledger(test_database)


@pytest.fixture
async def owner(test_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(test_database.owner_url)
    yield connection
    await connection.close()


@pytest.mark.usefixtures("facts")
async def test_a_round_verifies_every_ledger_and_keeps_what_it_found(
    test_database: TestDatabase, owner: asyncpg.Connection
) -> None:
    await add_created_ledger(owner, "other")
    async with process(test_database) as one:
        await one.watch.look()
        assert one.watch.freshness is not None
        assert (one.watch.freshness.unverified, one.watch.freshness.oldest_at) == (3, None), "with the installation"
        await one.round()
        known = await one.known()
        assert known.complete is not None
        assert known.running is None
        assert (known.complete.finding_count, known.complete.unasked) == (0, [])
        rows = await owner.fetchval(
            "SELECT (SELECT count(*) FROM funds.accounts) + (SELECT count(*) FROM funds.transfers)"
            " + (SELECT count(*) FROM funds.holds) + (SELECT count(*) FROM funds.decisions)"
            " + (SELECT count(*) FROM funds.history WHERE ledger_id = 1)"
        )
        assert known.complete.row_count == rows
        await one.watch.look()
        assert (one.watch.freshness.unverified, one.watch.freshness.damaged) == (0, frozenset())
        assert one.watch.freshness.oldest_at is not None


async def test_damage_is_told_kept_and_forgotten_when_it_is_mended(
    test_database: TestDatabase, facts: LedgerAtWork, owner: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(test_database) as one, process(test_database) as other:
        await owner.execute(EDIT, 1, facts.transfer)
        await one.round()
        assert one.damaged.ids == {MAIN}, "at once, in the process that found it"
        await other.watch.look()
        assert other.damaged.ids == {MAIN}
        lines = [line for line in caplog.records if line.levelno == logging.ERROR]
        told = {(line.__dict__["ledger"], line.__dict__["table"], line.__dict__.get("row")) for line in lines}
        assert ("main", "transfers", str(facts.reversal)) in told or ("main", "transfers", str(facts.transfer)) in told
        assert {line.getMessage() for line in lines} == {"a ledger is damaged"}
        found = (await one.known()).findings
        assert {one.rule for one in found} >= {"running balances follow line by line"}
        await owner.execute(EDIT, -1, facts.transfer)
        await one.round()
        assert (await one.known()).findings == []
        for each in (one, other):
            await each.watch.look()
            assert each.damaged.ids == frozenset()


@pytest.mark.usefixtures("facts")
async def test_a_pass_compares_the_log_with_its_entries(
    test_database: TestDatabase, facts: LedgerAtWork, owner: asyncpg.Connection
) -> None:
    signer = LogSigner(SignerKey.generate(ORIGIN).secret_text(), ORIGIN)
    async with process(test_database) as one:
        sealer = Sealer(one.keeping, signer.sign_for)
        assert not await sealer.work()
        await one.round()
        known = (await one.known()).complete
        assert known is not None
        assert known.finding_count == 0
        assert known.entry_count == await owner.fetchval(
            "SELECT max(size) FROM funds.log_checkpoints WHERE ledger_id = 1"
        )
        await owner.execute("UPDATE funds.holds SET description = 'edited' WHERE id = $1", facts.open)
        await one.round()
        [finding] = (await one.known()).findings
        assert (finding.rule, finding.table) == (ENTRIES_STAND, "log_checkpoints")


@pytest.mark.usefixtures("facts")
async def test_one_process_verifies_and_another_goes_on_where_it_was(
    test_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEEP_SECONDS", 0.0)
    async with process(test_database) as other:
        async with process(test_database) as one:
            while (await one.known()).running is None:
                assert await one.verifier.verify_next()
            assert not await other.verifier.verify_next(), "one at a time"
        under_way = (await other.known()).running
        assert under_way is not None
        assert under_way.row_count > 0
        await until(other.verifier.verify_next)  # the server may notice a little later that the other one has gone
        await other.round()
        complete = (await other.known()).complete
        assert complete is not None
        assert complete.started_at == under_way.started_at
        assert complete.row_count > under_way.row_count


@pytest.mark.usefixtures("facts")
async def test_a_rule_that_takes_too_long_is_left_out_and_named(
    test_database: TestDatabase, owner: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Sums over a table that somebody has locked take too long; the other rules are asked all the same."""
    hasty = Database.connect_verification(test_database.service_url, Settings(statement_timeout_ms=200))
    others = Database.connect(test_database.service_url, SETTINGS)
    slow = "CREATE VIEW funds.reversed_transfers AS SELECT *, pg_sleep(1)::text FROM funds.slow_reversed_transfers"
    await owner.execute("ALTER TABLE funds.reversed_transfers RENAME TO slow_reversed_transfers")
    await owner.execute(slow)
    await owner.execute("GRANT SELECT ON funds.reversed_transfers TO funds_service")
    try:
        one = Process(hasty, others)
        await one.round()
        complete = (await one.known()).complete
        assert complete is not None
        [unasked] = complete.unasked
        assert unasked.startswith("what is reversed of a transfer is the sum")
        assert complete.finding_count == 0
        assert [line for line in caplog.records if line.getMessage() == "a rule takes too long to be asked"]
    finally:
        await hasty.close()
        await others.close()


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await true():  # noqa: ASYNC110 - what is waited for is in a database
            await asyncio.sleep(0.02)


async def test_damage_is_found_while_transfers_go_on(test_database: TestDatabase, owner: asyncpg.Connection) -> None:
    """The service as it runs, verifying all the time: it stops the damaged ledger, and no other."""
    async with (
        serving(test_database, verify_share=0.5, verify_interval_seconds=0.05, stop_on_damage=True) as running,
        running.client(running.settings.admin_token) as client,
    ):
        busy, idle = [await LedgerClient.open(client, name) for name in ("busy", "idle")]
        bank, customer = [await busy.account(normal_side=side) for side in ("debit", "credit")]
        first = await busy.move(bank, customer, 100)
        moved = 0

        async def post_until_refused() -> httpx.Response:
            nonlocal moved
            while (last := await busy.post(bank, customer)).status_code == 201:
                moved += 1
            return last

        async def verified() -> bool:
            told = answer(await client.get(f"{busy.path}/integrity"))
            assert told["findings"] == []
            return bool(told["sound"])

        async with asyncio.TaskGroup() as group:
            posting = [group.create_task(post_until_refused()) for _ in range(2)]
            await until(verified)
            assert not any(one.done() for one in posting)
            await owner.execute("UPDATE funds.transfers SET debit_balance_after = 99 WHERE id = $1", first["id"])
        for one in posting:
            refused = problem(one.result(), 503, "ledger_damaged")
            assert (refused["outcome"], refused["retryable"]) == ("not_applied", True)
        assert moved > 0
        problem(await busy.revise(bank, name="Cash"), 503, "ledger_damaged")
        opened = await client.post(busy.accounts, json={"currency": "USD"}, headers=keyed())
        problem(opened, 503, "ledger_damaged")
        assert answer(await client.get(f"{busy.path}/integrity"))["findings"][0]["id"] == first["id"]
        assert (await busy.read_account(bank))["id"] == bank["id"], "what is there can be read"
        await idle.account()

        async def degraded() -> bool:
            ready = answer(await client.get("/health/ready"))
            return (ready["status"], ready["checks"]["verifier"].get("reason")) == (
                "degraded",
                "found damage in 1 ledger",
            )

        await until(degraded)

        await owner.execute("UPDATE funds.transfers SET debit_balance_after = 100 WHERE id = $1", first["id"])

        async def moves() -> bool:
            return (await busy.post(bank, customer)).status_code == 201

        await until(moves)
        await assert_ledger_is_sound(test_database.service_url, accounts_were_opened=True)


async def test_nothing_stops_unless_the_settings_say_so(test_database: TestDatabase, owner: asyncpg.Connection) -> None:
    async with (
        serving(test_database, verify_share=0.5, verify_interval_seconds=0.05) as running,
        running.client(running.settings.admin_token) as client,
    ):
        ledger = await LedgerClient.open(client, "damaged")
        bank, customer = [await ledger.account() for _ in range(2)]
        first = await ledger.move(bank, customer, 100)
        await owner.execute("UPDATE funds.transfers SET debit_balance_after = 99 WHERE id = $1", first["id"])

        async def found() -> bool:
            ready = answer(await client.get("/health/ready"))
            return ready["checks"]["verifier"]["ready"] is False

        await until(found)
        await ledger.move(bank, customer)
