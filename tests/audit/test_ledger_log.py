"""The log of a ledger as it is stored: of any size, by any number of sealers, its proofs held against a verifier that
shares nothing with it.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from service.audit import ledger_log
from service.audit.ledger_log import LedgerLog, Sealing
from service.audit.log_signer import LogSigner
from service.domain.history import LoggedLedger
from service.proofs.keys import SignerKey
from service.settings import RetryLimits, Settings
from service.storage.database import Database, Session
from service.storage.repositories import Repositories
from service.storage.repositories.history import Document
from service.storage.repositories.log import Checkpoint
from service.storage.transactions import Mode, Transactions
from tests.support.database_faults import superuser
from tests.support.log import ORIGIN
from tests.support.log_verifier import (
    ReferenceTree,
    check_checkpoint,
    check_consistency,
    hash_of_leaf,
    root_of_path,
)
from tests.support.rows import add_ledger
from tests.support.servers import TestDatabase

SETTINGS = Settings(statement_timeout_ms=60_000)
PATIENT = RetryLimits(3, 600.0)
LEDGER = "journal"
SIGNER = LogSigner(SignerKey.generate(ORIGIN).secret_text(), ORIGIN)
KEY = str(SIGNER.verifier_key(LEDGER))

# Entries that nothing else tells of, with the identifiers 1, 2, 3, …
_ADD = """
    INSERT INTO funds.history (ledger_id, id, type, client_id, data, created_at)
    SELECT $1, lpad(to_hex(number), 32, '0')::uuid, 'key.fenced', 'client ' || number, '{}', 'epoch'
    FROM generate_series($2::bigint, $3::bigint) AS number
"""


class Journal:
    """A ledger that has nothing but entries of its history, which the service's role adds, and its log."""

    def __init__(self, url: str, connection: asyncpg.Connection, ledger_id: int, pool: Database) -> None:
        self.url = url
        self.connection = connection
        self.ledger = LoggedLedger(ledger_id, LEDGER)
        self.size = 0
        self.pool = pool
        self._reader = Transactions(pool, PATIENT, Mode.SNAPSHOT)

    async def grow(self, size: int) -> None:
        await self.connection.execute(_ADD, self.ledger.id, self.size + 1, size)
        self.size = size

    async def seal(self) -> None:
        """Seal everything."""
        transactions = Transactions(self.pool, PATIENT)
        while await transactions.run(self.step) is Sealing.UNFINISHED:
            pass

    async def step(self, session: Session) -> Sealing:
        return await LedgerLog(session, self.ledger).seal(SIGNER.sign_for(LEDGER))

    async def entries(self) -> list[Document]:
        async def read(session: Session) -> list[Document]:
            history = Repositories(session).history
            return list(await history.entries(self.ledger.id, self.ledger.source, limit=self.size + 1))

        return await self._reader.run(read)

    async def checkpoints(self) -> list[Checkpoint]:
        rows = await self.connection.fetch(
            "SELECT size, root, last_entry_id, note, created_at FROM funds.log_checkpoints"
            " WHERE ledger_id = $1 ORDER BY size",
            self.ledger.id,
        )
        return [Checkpoint(*row) for row in rows]

    async def assert_sound(self, dice: random.Random, *, samples: int = 40) -> list[Checkpoint]:
        """Assert that the log has exactly the entries, that each checkpoint is signed and of its beginning, that some
        receipts and proofs of consistency prove what they should, and that its tiles are full and all there.
        """
        entries, checkpoints = await self.entries(), await self.checkpoints()
        assert len(entries) == self.size == checkpoints[-1].size
        tree = ReferenceTree([entry.text.encode() for entry in entries])
        for checkpoint in checkpoints:
            head, _ = check_checkpoint(checkpoint.note.encode(), KEY)
            assert (head.origin, head.size, head.root) == (f"{ORIGIN}/{LEDGER}", checkpoint.size, checkpoint.root)
            assert head.root == tree.root(head.size)
            assert entries[head.size - 1].id == checkpoint.last_entry_id
        ends = {0, self.size - 1, (self.size - 1) // 256 * 256, max(0, self.size // 256 * 256 - 1)}
        sample = ends | {dice.randrange(self.size) for _ in range(samples)}
        await self._reader.run(lambda session: self._check_receipts(session, entries, sorted(sample)))
        sizes = [checkpoint.size for checkpoint in checkpoints]
        pairs = [sorted(dice.choices(sizes, k=2)) for _ in range(samples)]
        pairs += [sorted((dice.randrange(1, self.size + 1), self.size)) for _ in range(samples)]
        await self._reader.run(lambda session: self._check_growth(session, tree, pairs))
        await self._check_tiles(entries)
        return checkpoints

    async def _check_receipts(self, session: Session, entries: list[Document], sample: list[int]) -> None:
        log = LedgerLog(session, self.ledger)
        for index in sample:
            proven = await log.prove(entries[index].id)
            assert proven is not None
            assert proven.sealed is not None
            assert (proven.entry, proven.sealed.index) == (entries[index], index)
            head, _ = check_checkpoint(proven.sealed.cosigned.checkpoint.note.encode(), KEY)
            leaf = hash_of_leaf(entries[index].text.encode())
            assert root_of_path(index, head.size, leaf, proven.sealed.path) == head.root
            assert await log.entries(index, 3) == entries[index : index + 3]

    async def _check_growth(self, session: Session, tree: ReferenceTree, pairs: list[list[int]]) -> None:
        log = LedgerLog(session, self.ledger)
        for old, new in pairs:
            check_consistency(old, new, await log.prove_consistency(old, new), tree.root(old), tree.root(new))
            assert await log.beginning(old) == (old, tree.root(old))
        assert await log.beginning(self.size + 1) == (self.size, tree.root(self.size))

    async def _check_tiles(self, entries: list[Document]) -> None:
        rows = await self.connection.fetch(
            "SELECT level, index, entry_ids FROM funds.log_tiles WHERE ledger_id = $1 ORDER BY level, index",
            self.ledger.id,
        )
        full = [(level, index) for level in range(8) for index in range(self.size // 256 ** (level + 1))]
        assert [(row["level"], row["index"]) for row in rows] == full
        leaves = [entry_id for row in rows if row["level"] == 0 for entry_id in row["entry_ids"]]
        assert leaves == [entry.id for entry in entries[: len(leaves)]]


@pytest.fixture
async def journal(test_database: TestDatabase) -> AsyncIterator[Journal]:
    async with superuser(test_database) as connection:
        ledger_id = await add_ledger(connection, LEDGER)
    pool = Database.connect_few(test_database.service_url, SETTINGS, 1)
    connection = await asyncpg.connect(test_database.service_url)
    yield Journal(test_database.service_url, connection, ledger_id, pool)
    await connection.close()
    await pool.close()


@pytest.fixture
def dice() -> random.Random:
    return random.Random(7)


async def test_steps_of_odd_sizes_across_the_borders_of_tiles(journal: Journal, dice: random.Random) -> None:
    sizes = [1, 2, 255, 256, 257, 400, 511, 512, 513, 1023, 1024, 1025, 2049, 2303, 2304, 2560, 2561, 3001]
    for size in sizes:
        await journal.grow(size)
        await journal.seal()
        if size in {1, 256, 257, 513}:
            await journal.assert_sound(dice, samples=5)
    checkpoints = await journal.assert_sound(dice)
    assert [checkpoint.size for checkpoint in checkpoints] == sizes


@pytest.mark.parametrize("at_once", [1, 100, 255, 256, 257, 1000])
async def test_a_history_sealed_in_steps(
    at_once: int, journal: Journal, dice: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few entries a transaction takes, all are sealed by the end."""
    monkeypatch.setattr(ledger_log, "ENTRIES_AT_ONCE", at_once)
    await journal.grow(1500)
    await journal.seal()
    checkpoints = await journal.assert_sound(dice, samples=10)
    assert len(checkpoints) > 1
    assert checkpoints[0].size == 256 + at_once


async def test_a_log_of_more_than_65536_entries(journal: Journal, dice: random.Random) -> None:
    """It has a tile of level 1, of which proofs are made on both sides."""
    for size in (65_535, 65_536, 66_000):
        await journal.grow(size)
        await journal.seal()
    await journal.assert_sound(dice)


async def test_what_is_sealed_is_not_sealed_again(journal: Journal) -> None:
    await journal.grow(300)
    await journal.seal()
    before = await journal.checkpoints()
    transactions = Transactions(journal.pool, PATIENT)
    assert await transactions.run(journal.step) is Sealing.COMPLETE
    assert await journal.checkpoints() == before


async def test_several_sealers_make_one_log(journal: Journal, dice: random.Random) -> None:
    """Three at once, while the history grows: no entry is missed, none is there twice."""
    grown = asyncio.Event()
    async with AsyncExitStack() as stack:
        pools = [Database.connect_few(journal.url, SETTINGS, 1) for _ in range(3)]
        for pool in pools:
            stack.push_async_callback(pool.close)

        async def seal(transactions: Transactions) -> set[Sealing]:
            seen = set[Sealing]()
            while True:
                last = grown.is_set()
                sealing = await transactions.run_once(journal.step)
                seen.add(sealing)
                if last and sealing is Sealing.COMPLETE:
                    return seen

        async with asyncio.TaskGroup() as group:
            sealers = [group.create_task(seal(Transactions(pool, PATIENT))) for pool in pools]
            while journal.size < 3_000:
                before = journal.size
                await journal.grow(before + dice.randrange(1, 200))
                while not before <= max([0, *(one.size for one in await journal.checkpoints())]):
                    pass
            grown.set()
    assert any(Sealing.ELSEWHERE in sealer.result() for sealer in sealers)
    assert len(await journal.assert_sound(dice)) > 10


async def test_a_sealer_killed_between_its_statements(
    journal: Journal, test_database: TestDatabase, dice: random.Random
) -> None:
    """Wherever the connection is cut, nothing or everything of a step is there, and the next sealer goes on."""
    once = Transactions(journal.pool, RetryLimits(1, 60.0))
    engine = journal.pool.engine.sync_engine
    left = 0

    async def cut(driver: asyncpg.Connection) -> None:
        async with superuser(test_database) as connection:
            await connection.execute("SELECT pg_terminate_backend($1)", driver.get_server_pid())
        while not driver.is_closed():  # noqa: ASYNC110 - the driver notices by itself
            await asyncio.sleep(0.001)

    def count_down(connection: Connection, *_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            connection.connection.dbapi_connection.run_async(cut)  # type: ignore[union-attr]

    await journal.grow(200)
    await journal.seal()
    killed = 0
    while True:
        left = killed + 1
        await journal.grow(journal.size + 600)
        before = await journal.checkpoints()
        event.listen(engine, "before_cursor_execute", count_down)
        try:
            await once.run_once(journal.step)
        except DBAPIError:
            killed += 1
            assert await journal.checkpoints() == before
        finally:
            event.remove(engine, "before_cursor_execute", count_down)
        await journal.seal()
        if left > 0:
            break
        await journal.assert_sound(dice, samples=3)
    assert killed > 7
