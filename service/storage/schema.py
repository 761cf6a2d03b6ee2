"""The schema in the database: what it is called, how new it is, and how new this version of the service needs it.

Nothing here is SQLAlchemy's, which takes a third of a second to load: the main process of ``funds serve`` asks the
driver alone.
"""

from service.errors import SchemaBehindError

SCHEMA = "funds"

SCHEMA_REVISION = "0019"
"""The newest migration, and the oldest schema that this version of the service works on."""

VERSION_TABLE = "alembic_version"

NO_REVISION = "0000"
"""Stands for the revision of a database that has no schema yet."""

FIND_VERSION_TABLE = f"SELECT to_regclass('{SCHEMA}.{VERSION_TABLE}')::text"
READ_REVISION = f"SELECT version_num FROM {SCHEMA}.{VERSION_TABLE}"  # noqa: S608 - constants


def new_enough(revision: str) -> str:
    """Return ``revision``, unless the service needs a newer one. Revisions sort as text. Raises SchemaBehindError."""
    if revision < SCHEMA_REVISION:
        raise SchemaBehindError(revision, SCHEMA_REVISION)
    return revision
