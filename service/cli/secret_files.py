"""Secrets that are made at the first start, in files beside the data of the embedded PostgreSQL."""

import os
from contextlib import suppress
from pathlib import Path

from service.settings import Settings


def admin_token_path(settings: Settings) -> Path:
    """Return the path of the file with the admin token."""
    return settings.data_dir.absolute() / "admin-token"


def log_key_path(settings: Settings) -> Path:
    """Return the path of the file with the key that signs the logs of ledgers."""
    return settings.data_dir.absolute() / "log.key"


def write_secret(path: Path, secret: str) -> None:
    """Write ``secret`` into a new file that its owner alone can read; a file that is there stays."""
    with suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secret + "\n")
