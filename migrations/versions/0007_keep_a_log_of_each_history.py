"""Keep a log of each ledger's history: its entries as a Merkle tree, and the signed checkpoints of it.

Both tables are append-only by privilege. A tile is 256 leaves (level 0) or 256 tiles of the level below; only full
tiles are stored, so no row ever changes. The hashes of a tile are kept out of line and not compressed: they are random.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TILES = """
CREATE TABLE funds.log_tiles (
    ledger_id      integer NOT NULL,
    level          integer NOT NULL,
    index          bigint NOT NULL,
    root           bytea NOT NULL,
    first_entry_id uuid,
    entry_ids      uuid[],
    hashes         bytea,
    CONSTRAINT pk_log_tiles PRIMARY KEY (ledger_id, level, index),
    CONSTRAINT ck_log_tiles_root CHECK (octet_length(root) = 32),
    CONSTRAINT ck_log_tiles_leaves CHECK (
        CASE WHEN level = 0
             THEN coalesce(octet_length(hashes) = 8192 AND cardinality(entry_ids) = 256
                           AND first_entry_id = entry_ids[1], false)
             ELSE hashes IS NULL AND entry_ids IS NULL AND first_entry_id IS NULL END
    )
)
"""

STORED_AS_IT_IS = """
ALTER TABLE funds.log_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL, ALTER COLUMN entry_ids SET STORAGE EXTERNAL
"""

FIRST_ENTRIES = """
CREATE INDEX ix_log_tiles_first_entry ON funds.log_tiles (ledger_id, first_entry_id) WHERE level = 0
"""

CHECKPOINTS = """
CREATE TABLE funds.log_checkpoints (
    ledger_id     integer NOT NULL,
    size          bigint NOT NULL,
    root          bytea NOT NULL,
    last_entry_id uuid NOT NULL,
    note          text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_log_checkpoints PRIMARY KEY (ledger_id, size),
    CONSTRAINT ck_log_checkpoints_size CHECK (size > 0),
    CONSTRAINT ck_log_checkpoints_root CHECK (octet_length(root) = 32)
)
"""

COSIGNATURES = """
CREATE TABLE funds.log_cosignatures (
    ledger_id  integer NOT NULL,
    size       bigint NOT NULL,
    witness    text NOT NULL,
    signature  text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_log_cosignatures PRIMARY KEY (ledger_id, size, witness),
    CONSTRAINT fk_log_cosignatures_checkpoint FOREIGN KEY (ledger_id, size)
        REFERENCES funds.log_checkpoints (ledger_id, size)
)
"""


def upgrade() -> None:
    for statement in (TILES, STORED_AS_IT_IS, FIRST_ENTRIES, CHECKPOINTS, COSIGNATURES):
        op.execute(statement)


def downgrade() -> None:
    for table in ("log_cosignatures", "log_checkpoints", "log_tiles"):
        op.execute(f"DROP TABLE funds.{table}")
