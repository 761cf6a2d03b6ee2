"""The log of a ledger that two processes write, while several sealers seal it."""

import asyncio
import random
from contextlib import AsyncExitStack

import asyncpg

from service.audit.log_signer import LogSigner
from service.proofs.keys import SignerKey
from service.settings import Settings
from service.storage.database import Database, Session
from service.storage.repositories import Repositories
from service.storage.repositories.history import Document
from service.storage.transactions import Mode, Transactions
from service.workers.sealer import Sealer
from tests.concurrency.test_followers import write
from tests.support.bank import open_bank
from tests.support.journal import Journal
from tests.support.log import ORIGIN
from tests.support.log_verifier import ReferenceTree, check_checkpoint
from tests.support.servers import TestDatabase
from tests.support.socket_client import Client

SETTINGS = Settings()
WRITERS = 16
SEALERS = 3
SEALED_MIN = 3
"""How many checkpoints there are in the middle of what is written, at least."""

_IDS = """
    SELECT id FROM funds.transfers WHERE ledger_id = $1
    UNION ALL SELECT id FROM funds.holds WHERE ledger_id = $1
    UNION ALL SELECT id FROM funds.history WHERE ledger_id = $1
    ORDER BY id
"""
_SEALED = "SELECT count(*) FROM funds.log_checkpoints WHERE ledger_id = $1"


async def seal_until(ended: asyncio.Event, sealer: Sealer) -> None:
    while True:
        last = ended.is_set()
        if not await sealer.work() and last:
            return


async def test_the_log_has_every_entry_in_order_while_two_processes_write(
    clients: tuple[Client, Client], journal: Journal, shared_database: TestDatabase
) -> None:
    bank = await open_bank(clients[0], journal, customers=8)
    signer = LogSigner(SignerKey.generate(ORIGIN).secret_text(), ORIGIN)
    written = asyncio.Event()
    async with AsyncExitStack() as stack:
        pools = [Database.connect_few(shared_database.service_url, SETTINGS, 1) for _ in range(SEALERS)]
        for pool in pools:
            stack.push_async_callback(pool.close)
        reading = Transactions(pools[0], SETTINGS.read_limits, Mode.SNAPSHOT)
        connection = await asyncpg.connect(shared_database.superuser_url)
        stack.push_async_callback(connection.close)
        ledger_id = await connection.fetchval("SELECT id FROM funds.ledgers WHERE name = $1", bank.ledger)
        async with asyncio.TaskGroup() as group:
            for pool in pools:
                sealer = Sealer(Transactions(pool, SETTINGS.read_limits), signer.sign_for)
                group.create_task(seal_until(written, sealer))
            async with asyncio.TaskGroup() as writing:
                for number in range(WRITERS):
                    writing.create_task(write(clients[number % 2], bank, random.Random(number), 20))
            dice = random.Random(WRITERS)
            while await connection.fetchval(_SEALED, ledger_id) <= SEALED_MIN:  # however fast this machine writes
                await write(clients[0], bank, dice, 5)
            written.set()
        ids = [row["id"] for row in await connection.fetch(_IDS, ledger_id)]
        notes = await connection.fetch(
            "SELECT size, root, note FROM funds.log_checkpoints WHERE ledger_id = $1 ORDER BY size", ledger_id
        )

        async def read(session: Session) -> list[Document]:
            history = Repositories(session).history
            return list(await history.entries(ledger_id, f"/v1/ledgers/{bank.ledger}", limit=len(ids) + 1))

        entries = await reading.run(read)
    assert [entry.id for entry in entries] == ids
    tree = ReferenceTree([entry.text.encode() for entry in entries])
    for row in notes:
        head, _ = check_checkpoint(row["note"].encode(), str(signer.verifier_key(bank.ledger)))
        assert (head.size, head.root) == (row["size"], row["root"])
        assert head.root == tree.root(head.size), "what was sealed then is still the log's beginning"
    assert notes[-1]["size"] == len(ids)
    assert len(notes) > SEALED_MIN
