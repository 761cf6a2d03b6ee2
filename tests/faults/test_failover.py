"""A replica that takes over from its primary goes on with the order of every ledger: heads are replicated as well."""

from datetime import timedelta
from uuid import UUID

import asyncpg

from service.domain.transfers import Transfer
from service.embedded.postgres import EmbeddedPostgres
from service.settings import Settings
from service.storage.database import Database
from tests.faults.standby import Standby
from tests.support.commands import posted, transfer
from tests.support.committing import commit_batch
from tests.support.invariants import assert_ledger_is_sound
from tests.support.other_session import wait_until
from tests.support.rows import MAIN, add_accounts, set_head_ahead


async def test_a_promoted_replica_goes_on_behind_what_the_primary_wrote(
    primary: EmbeddedPostgres, standby: Standby
) -> None:
    """The clock of the primary was two seconds ahead of that of the replica."""
    before, replica = await asyncpg.connect(primary.superuser_url), await asyncpg.connect(standby.url("postgres"))
    debit, credit = await add_accounts(before, 2)
    await set_head_ahead(before, 2)
    [last] = await _post(primary.service_url, debit, credit)
    written = await before.fetchval("SELECT pg_current_wal_lsn()::text")

    async def replayed() -> bool:
        return bool(await replica.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written))

    await wait_until(replayed)
    await before.close()
    await replica.execute("SELECT pg_promote()")

    [first] = await _post(standby.url("funds_service"), debit, credit)

    assert first.id > last.id
    assert first.created_at == last.created_at + timedelta(microseconds=1)
    await replica.close()
    await assert_ledger_is_sound(standby.url("postgres"))


async def _post(url: str, debit: UUID, credit: UUID) -> list[Transfer]:
    """Post one transfer through the service's connections to ``url``."""
    settings = Settings()
    database = Database.connect_batches(url, settings)
    try:
        return posted(await commit_batch(database, settings, MAIN, [[transfer(debit, credit)]]))
    finally:
        await database.close()
