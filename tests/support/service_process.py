"""Service processes that several tests share, on databases of their own."""

from pathlib import Path

from tests.support.servers import RunningService, free_port, random_token


def launch(url: str, log: Path, *, token: str | None = None, port: int | None = None, **more: str) -> RunningService:
    """Start ``funds serve`` on the database at ``url``; not ready yet, with ``more`` settings by variable."""
    environment = {
        "FUNDS_DATABASE_URL": url,
        "FUNDS_ADMIN_TOKEN": token or random_token(),
        "FUNDS_PORT": str(port or free_port()),
        "FUNDS_LOG_LEVEL": "warning",
    }
    return RunningService(environment | more, log, "--no-migrate")
