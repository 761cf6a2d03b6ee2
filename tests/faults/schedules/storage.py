"""Faults of storage: a full disk, and a schema that changes under load. Each is a context that yields the moment from
which recovery counts.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path

from service.storage.migrations import upgrade
from tests.faults.schedules.stage import Stage
from tests.support.next_migrations import AFTER_NEXT, write_scripts
from tests.support.other_session import wait_until

_TABLE = "funds.transfers"
_ROOM_BYTES = 4 << 20
"""How much room the small disk has beside the table as it is."""
_REFUSALS = 3


@cache
def lacks_a_small_disk() -> str:
    """Why no file system of a few megabytes can be made here; nothing where it can."""
    if os.geteuid() != 0:
        return "a small file system is mounted by root alone"
    with tempfile.TemporaryDirectory() as directory:
        mounted = subprocess.run(_mount(Path(directory), _ROOM_BYTES), capture_output=True, text=True, check=False)
        if mounted.returncode:
            return f"no file system can be mounted here: {mounted.stderr.strip()}"
        subprocess.run(["umount", directory], check=True)
    return ""


@asynccontextmanager
async def disk_full(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """Transfers lie on a disk of their own, which is full until somebody makes room."""
    async with stage.superuser() as connection:
        await connection.execute("SET allow_in_place_tablespaces = on")
        await connection.execute("CREATE TABLESPACE small LOCATION ''")
        size = await connection.fetchval(f"SELECT pg_relation_size('{_TABLE}')")
        oid = await connection.fetchval("SELECT oid FROM pg_tablespace WHERE spcname = 'small'")
    with _small_disk(stage.primary.data / "pg_tblspc" / str(oid), size + _ROOM_BYTES) as disk:
        await stage.execute(f"ALTER TABLE {_TABLE} SET TABLESPACE small")
        ballast = disk / "ballast"
        await asyncio.to_thread(_fill, ballast)
        refused = stage.refusals + _REFUSALS
        await wait_until(lambda: stage.refusals >= refused)
        await asyncio.sleep(seconds)
        ballast.unlink()
        yield time.monotonic()
        await stage.execute(f"ALTER TABLE {_TABLE} SET TABLESPACE pg_default", "CHECKPOINT")
    await stage.execute("DROP TABLESPACE small")


@contextmanager
def _small_disk(directory: Path, size: int) -> Iterator[Path]:
    """Mount a file system of ``size`` bytes in the place of ``directory``, with the same directories in it."""
    [versions] = directory.iterdir()
    status = versions.stat()
    subprocess.run(_mount(directory, size), check=True)
    try:
        for path in (directory, versions):
            path.mkdir(mode=0o700, exist_ok=True)
            shutil.chown(path, status.st_uid, status.st_gid)
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _mount(directory: Path, size: int) -> list[str]:
    return ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]


def _fill(ballast: Path) -> None:
    """Write until nothing fits any more."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError:
            return


@asynccontextmanager
async def migrated(stage: Stage, _seconds: float) -> AsyncIterator[float]:
    """The migrations of the next version run; this one goes on serving on their schema."""
    began = time.monotonic()
    scripts = await asyncio.to_thread(write_scripts, stage.directory / "next-migrations")
    await upgrade(stage.primary.url("funds_owner"), scripts=scripts, target=AFTER_NEXT)
    stage.migrated = True
    yield began
