"""Two migrations as the next version may have them, after those of this one."""

import shutil
from pathlib import Path

from service.storage.schema import SCHEMA_REVISION
from tests.support.servers import ROOT

NEXT, AFTER_NEXT = f"{SCHEMA_REVISION}a", f"{SCHEMA_REVISION}b"

# As service/docs/migrations.md has them: what is added has no value that must be written to every row, and an index of
# a large table is made beside those who write to it.
EXPAND = f'''
"""Add a note to transfers, and a table."""

from alembic import op

revision = "{NEXT}"
down_revision = "{SCHEMA_REVISION}"


def upgrade() -> None:
    op.execute("ALTER TABLE funds.transfers ADD COLUMN note text")
    op.execute("ALTER TABLE funds.transfers ADD CONSTRAINT ck_transfers_note CHECK (note <> '') NOT VALID")
    op.execute("CREATE TABLE funds.notes (ledger_id integer NOT NULL, id bigint NOT NULL, PRIMARY KEY (ledger_id, id))")
'''
INDEX = f'''
"""Index the notes of transfers."""

from alembic import op

revision = "{AFTER_NEXT}"
down_revision = "{NEXT}"


def upgrade() -> None:
    op.execute("ALTER TABLE funds.transfers VALIDATE CONSTRAINT ck_transfers_note")
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS funds.ix_transfers_note")
        op.execute("CREATE INDEX CONCURRENTLY ix_transfers_note ON funds.transfers (note) WHERE note IS NOT NULL")
'''


def write_scripts(folder: Path) -> Path:
    """Write the migrations of this version and those of the next into ``folder``, and return it."""
    shutil.copytree(ROOT / "migrations", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "next.py").write_text(EXPAND)
    (folder / "versions" / "after_next.py").write_text(INDEX)
    return folder
