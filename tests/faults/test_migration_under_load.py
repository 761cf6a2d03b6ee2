"""The next migrations run under load: no request fails, and this version serves on the schema of the next one."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from service.errors import DatabaseUnusableError
from service.storage import migrations
from service.storage.migrations import upgrade
from service.storage.schema import SCHEMA_REVISION
from tests.support.bank import move_cents, open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.next_migrations import AFTER_NEXT, NEXT, write_scripts
from tests.support.servers import RunningService, TestDatabase
from tests.support.socket_client import Client

CALLERS = 16
READ_SECONDS = 6.0
"""How long somebody else reads a table: longer than a request may take with all its attempts."""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The migrations of this version, and those of the next."""
    return write_scripts(tmp_path / "migrations")


async def test_no_request_fails(
    serve: Callable[..., RunningService], test_database: TestDatabase, scripts: Path
) -> None:
    service = serve(FUNDS_WORKERS="2")
    journal = Journal()  # which takes neither a lost connection nor a 503
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal, customers=CALLERS)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(move_cents(over, client, journal, bank, number))
            reader = await asyncpg.connect(test_database.owner_url)
            async with reader.transaction():
                await reader.fetchval("SELECT count(*) FROM funds.transfers")
                migrating = group.create_task(upgrade(test_database.owner_url, scripts=scripts, target=AFTER_NEXT))
                await asyncio.sleep(READ_SECONDS)  # what is waited for is that the migration has to wait
                assert not migrating.done(), "it waits for the reader"
                before = journal.decided_count
            assert await migrating == (SCHEMA_REVISION, AFTER_NEXT)
            valid = await reader.fetchval(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = 'funds.ix_transfers_note'::regclass"
            )
            await reader.close()
            over.set()
        assert valid
        assert journal.decided_count > before, "requests went on"
        other = serve(FUNDS_ADMIN_TOKEN=service.admin_token)  # this version starts on the schema of the next one
        async with Client(other.url, other.admin_token) as client_of_other:
            await move_cents(over, client_of_other, journal, bank, 0)
    assert set(journal.acknowledged) <= {"201", "422"}
    await journal.assert_ledgers_agree(test_database.service_url)
    await assert_ledger_is_sound(test_database.service_url, bounds_were_constant=True)


async def test_a_table_that_stays_in_use_is_told(
    test_database: TestDatabase, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_TRIES_SECONDS_MAX", 2)
    reader = await asyncpg.connect(test_database.owner_url)
    async with reader.transaction():
        await reader.fetchval("SELECT count(*) FROM funds.transfers")
        with pytest.raises(DatabaseUnusableError, match="must be changed has been in use for 2 seconds"):
            await upgrade(test_database.owner_url, scripts=scripts, target=NEXT)
    assert await upgrade(test_database.owner_url, scripts=scripts, target=NEXT) == (SCHEMA_REVISION, NEXT)
    await reader.close()
