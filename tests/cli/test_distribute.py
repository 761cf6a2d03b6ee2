"""``funds distribute`` where there is no Citus that it could use; ``tests/distribution`` has one."""

import asyncpg
import pytest

from service.storage.distribution import CITUS_MAJOR_MIN
from tests.support.citus import claim_citus
from tests.support.servers import TestDatabase, run_funds


def refusal(url: str, *options: str) -> str:
    """What the command ends with."""
    ended = run_funds("distribute", *options, settings={"FUNDS_DATABASE_URL": url, "FUNDS_MIGRATION_DATABASE_URL": url})
    assert ended.returncode == 1, ended.stdout
    assert ended.stdout == ""
    return ended.stderr


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_an_ordinary_postgresql_is_told_what_it_lacks(test_database: TestDatabase, options: list[str]) -> None:
    told = refusal(test_database.owner_url, *options)
    assert "has no Citus: on each node, set shared_preload_libraries = 'citus'" in told


async def test_an_old_citus_is_refused(test_database: TestDatabase) -> None:
    superuser = await asyncpg.connect(test_database.superuser_url)
    await claim_citus(superuser, f"{CITUS_MAJOR_MIN - 1}.1-1")
    await superuser.close()
    assert f"has Citus {CITUS_MAJOR_MIN - 1}.1-1, and {CITUS_MAJOR_MIN} is needed" in refusal(test_database.owner_url)


async def test_a_schema_that_is_behind_comes_first(test_database: TestDatabase) -> None:
    owner = await asyncpg.connect(test_database.owner_url)
    await owner.execute("UPDATE funds.alembic_version SET version_num = '0001'")
    await owner.close()
    assert "run `funds migrate`" in refusal(test_database.owner_url)


def test_a_number_of_shards_has_bounds(test_database: TestDatabase) -> None:
    ended = run_funds("distribute", "--shards", "0", settings={"FUNDS_DATABASE_URL": test_database.owner_url})
    assert ended.returncode == 2
    assert "1<=x<=1024" in ended.stderr
