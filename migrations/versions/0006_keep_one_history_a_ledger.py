"""Keep one history a ledger: who did what, also where nothing stored told it.

Transfers, holds and accounts get their author: the client, the key and, where one was sent, the request's id. What has
no row of its own that never changes (revisions, the ends of holds, rejections, tokens) gets one in ``history``.

What was stored before gets the author that its decision names. Of what left no trace (revisions, expiries) nothing is
made up; ledgers, accounts and tokens get the entry of their beginning, with the values that they have now.

The entry of a token has a digest of the token's hash, and so does the table, for the auditor's role, which may not read
the hash.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

HISTORY = """
CREATE TABLE funds.history (
    ledger_id       integer NOT NULL,
    id              uuid NOT NULL,
    type            text NOT NULL,
    subject_id      uuid,
    client_id       text,
    idempotency_key text,
    request_id      text,
    data            json NOT NULL,
    created_at      timestamptz NOT NULL,
    CONSTRAINT pk_history PRIMARY KEY (ledger_id, id)
)
"""

SUBJECTS = "CREATE INDEX ix_history_subject ON funds.history (ledger_id, subject_id, id) WHERE subject_id IS NOT NULL"

FACTS = ("transfers", "holds")
AUTHOR = ("client_id", "idempotency_key")

FIND_AUTHORS = """
UPDATE funds.{table} AS fact
SET client_id = decision.client_id, idempotency_key = decision.idempotency_key
FROM funds.decisions AS decision
WHERE decision.ledger_id = fact.ledger_id AND decision.resource_id = fact.id AND decision.outcome = 'applied'
  AND decision.operation {operations}
"""
OPERATIONS = {
    "transfers": "IN ('post_transfer', 'capture_hold', 'reverse_transfer')",
    "holds": "= 'open_hold'",
}

FIND_OPENERS = """
UPDATE funds.accounts AS account
SET client_id = decision.client_id
FROM funds.decisions AS decision
WHERE decision.ledger_id = account.ledger_id AND decision.resource_id = account.id AND decision.outcome = 'applied'
  AND decision.operation = 'create_account'
"""

# An empty author stands for one that no decision names: no client has that name.
NO_AUTHOR = "UPDATE funds.{table} SET client_id = '', idempotency_key = '' WHERE client_id IS NULL"

# The comments tell the linter so for these alone: the columns were filled just before, in this transaction.
NOT_NULL = """-- squawk-ignore adding-not-nullable-field
ALTER TABLE funds.{table} ALTER COLUMN {column} SET NOT NULL
"""

# The comment tells the linter so for this alone: few tokens are there to be written again.
DIGEST = """-- squawk-ignore adding-field-with-default
ALTER TABLE funds.tokens ADD COLUMN token_digest bytea GENERATED ALWAYS AS (sha256(token_hash)) STORED
"""

TIME = """to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

# UUIDv7 of a time (domain.identifiers), its random bits taken from a digest of what the entry is about.
IDENTIFIER = """(
    lpad(to_hex(floor(extract(epoch FROM {time}) * 1000)::bigint), 12, '0') || '7'
    || lpad(to_hex(mod(extract(microseconds FROM {time})::bigint, 1000) * 4096 / 1000), 3, '0')
    || '8000' || left(md5({seed}), 12)
)::uuid"""

METADATA = """('{{' || coalesce((
    SELECT string_agg(to_json(key)::text || ':' || to_json(value)::text, ',' ORDER BY key COLLATE "C")
    FROM jsonb_each_text({column})
), '') || '}}')::json"""

LEDGERS_CREATED = f"""
INSERT INTO funds.history (ledger_id, id, type, data, created_at)
SELECT history_of.id, {IDENTIFIER.format(time="ledger.created_at", seed="'ledger ' || ledger.id")}, 'ledger.created',
       (SELECT row_to_json(data) FROM (SELECT ledger.description, ledger.name) AS data), ledger.created_at
FROM funds.ledgers AS ledger
CROSS JOIN LATERAL (VALUES (0), (ledger.id)) AS history_of (id)
"""  # noqa: S608 - constants

ACCOUNTS_OPENED = f"""
INSERT INTO funds.history (ledger_id, id, type, subject_id, client_id, idempotency_key, data, created_at)
SELECT account.ledger_id, account.id, 'account.opened', account.id, account.client_id, decision.idempotency_key,
       (
           SELECT row_to_json(data)
           FROM (
               SELECT account.currency, account.maximum_balance,
                      {METADATA.format(column="account.metadata")} AS metadata,
                      account.minimum_balance, account.name, account.normal_side, account.reference
           ) AS data
       ),
       account.created_at
FROM funds.accounts AS account
LEFT JOIN funds.decisions AS decision
  ON decision.ledger_id = account.ledger_id AND decision.resource_id = account.id AND decision.outcome = 'applied'
 AND decision.operation = 'create_account'
"""  # noqa: S608

TOKENS_CREATED = f"""
INSERT INTO funds.history (ledger_id, id, type, subject_id, data, created_at)
SELECT 0, token.id, 'token.created', token.id,
       (
           SELECT row_to_json(data)
           FROM (
               SELECT NULL::text AS "by", token.client, {TIME.format(time="token.expires_at")} AS expires_at,
                      token.ledgers, token.scopes, encode(token.token_digest, 'hex') AS token_digest
           ) AS data
       ),
       token.created_at
FROM funds.tokens AS token
"""  # noqa: S608

TOKENS_REVOKED = f"""
INSERT INTO funds.history (ledger_id, id, type, subject_id, data, created_at)
SELECT 0, {IDENTIFIER.format(time="token.revoked_at", seed="'revoked ' || token.id")}, 'token.revoked', token.id,
       (SELECT row_to_json(data) FROM (SELECT NULL::text AS "by", token.client) AS data), token.revoked_at
FROM funds.tokens AS token
WHERE token.revoked_at IS NOT NULL
"""  # noqa: S608

FOR_THE_ROLES = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_operator') THEN
        GRANT SELECT, INSERT ON funds.history TO funds_operator;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_service') THEN
        GRANT SELECT (token_digest) ON funds.tokens TO funds_service;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_auditor') THEN
        GRANT SELECT (token_digest) ON funds.tokens TO funds_auditor;
    END IF;
END $$;
"""


def upgrade() -> None:
    op.execute(HISTORY)
    op.execute(SUBJECTS)
    op.execute("ALTER TABLE funds.accounts ADD COLUMN client_id text")
    op.execute(FIND_OPENERS)
    for table in FACTS:
        for column in (*AUTHOR, "request_id"):
            op.execute(f"ALTER TABLE funds.{table} ADD COLUMN {column} text")
        op.execute(FIND_AUTHORS.format(table=table, operations=OPERATIONS[table]))
        op.execute(NO_AUTHOR.format(table=table))
        for column in AUTHOR:
            op.execute(NOT_NULL.format(table=table, column=column))
    op.execute(DIGEST)
    for statement in (LEDGERS_CREATED, ACCOUNTS_OPENED, TOKENS_CREATED, TOKENS_REVOKED):
        op.execute(statement)
    op.execute(FOR_THE_ROLES)


def downgrade() -> None:
    op.execute("DROP TABLE funds.history")
    for table in FACTS:
        for column in (*AUTHOR, "request_id"):
            op.execute(f"ALTER TABLE funds.{table} DROP COLUMN {column}")
    op.execute("ALTER TABLE funds.accounts DROP COLUMN client_id")
    op.execute("ALTER TABLE funds.tokens DROP COLUMN token_digest")
