"""Citus, an extension of PostgreSQL: where there is one for tests, and a server that only says that it has it."""

import os

import asyncpg
import pytest

COORDINATOR = "FUNDS_TEST_CITUS_URL"
"""A superuser's URL of a database that belongs to the tests, on the coordinator of a Citus with nodes."""

_CLAIM = """
    INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    SELECT 99999, 'citus', extowner, extnamespace, extrelocatable, $1 FROM pg_extension LIMIT 1
"""


def coordinator() -> str:
    """The URL of the coordinator; the test is skipped where there is none."""
    given = os.environ.get(COORDINATOR)
    if not given:
        pytest.skip(f"{COORDINATOR} names no coordinator of Citus")
    return given


async def claim_citus(superuser: asyncpg.Connection, version: str = "13.2-1") -> None:
    """Let an ordinary PostgreSQL say of the database that it has Citus."""
    await superuser.execute("SET allow_system_table_mods = on")
    await superuser.execute(_CLAIM, version)
    await superuser.execute("SET allow_system_table_mods = off")
