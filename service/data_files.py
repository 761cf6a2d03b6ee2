"""Files that the service needs and that are not modules of it: migrations, and the SQL of the roles."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def _find(name: str) -> Path:
    """Return where the file or folder ``name`` is: inside the package when that was installed from a wheel (pyproject
    puts it there), beside the package in a checkout.
    """
    installed = _PACKAGE / name
    return installed if installed.exists() else _PACKAGE.parent / name


MIGRATIONS = _find("migrations")
"""The folder of Alembic's scripts."""

ROLES_SQL = _find("deploy/roles.sql")
"""Makes the roles and the schema of the service in a database."""
