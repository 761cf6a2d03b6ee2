"""The rules of the history: everything that happened has its entry, every entry tells of something that happened, and
each names who did it.

The installation's own history, of its ledgers and tokens, is that of the ledger 0, which is none.

Of what was there before the history (migration 0006) not everything has an entry. A ledger that was made since has all
of them; of another one, they are complete from its first entry on that no migration makes (``SINCE``): the opening of
an account without a word of its code is one that a migration made.
"""

from service.domain.integrity import Scope
from service.storage.integrity.accounts import CHANGES
from service.storage.integrity.rules import SLICE, TIME_DIFFERS, Rule, first_identifier, misses_its_time
from service.storage.schema import SCHEMA_REVISION

SINCE = """(
    SELECT first.created_at FROM funds.history AS first
    WHERE first.ledger_id = $1::integer
      AND CASE first.type WHEN 'account.opened' THEN first.data -> 'code' IS NOT NULL
                          WHEN 'ledger.created' THEN first.client_id IS NOT NULL
                          WHEN 'token.created' THEN first.data ->> 'by' IS NOT NULL
                          WHEN 'token.revoked' THEN first.data ->> 'by' IS NOT NULL
                          ELSE true END
    ORDER BY first.id LIMIT 1
)"""
"""When the ledger's history begins to be complete; null when it has no such entry."""

_IS_OF_LATER_VERSION = f"(SELECT max(version_num) FROM funds.alembic_version) > '{SCHEMA_REVISION}'"
"""Whether there may be types of entries that this version does not know: new ones come with a migration."""

_OPERATION = """
    CASE WHEN fact.hold_id IS NOT NULL THEN 'capture_hold' WHEN fact.reverses_id IS NOT NULL THEN 'reverse_transfer'
         ELSE 'post_transfer' END
"""
_AUTHORS_DIFFER = """
    SELECT '{table}' AS "table", fact.id::text AS id, format(
        'under the key that it names, there is no applied decision (%s) of its time that made it', {operation}) AS wrong
    FROM ({slice}) AS fact
    LEFT JOIN funds.decisions AS decision
      ON decision.ledger_id = $1::integer AND decision.client_id = fact.client_id
     AND decision.idempotency_key = fact.idempotency_key
    WHERE (decision.outcome, decision.operation, decision.resource_id, decision.created_at)
          IS DISTINCT FROM ('applied', {operation}, fact.id, fact.created_at)
"""
_CLOSED = """
    entry.data ->> 'captured_amount' = hold.captured_amount::text
    AND entry.data ->> 'released_amount' = (hold.amount - hold.captured_amount)::text
    AND entry.data ->> 'debit_account_version' = hold.closed_debit_account_version::text
    AND entry.data ->> 'credit_account_version' = hold.closed_credit_account_version::text
"""
_CREATED = """
    ledger.name = entry.data ->> 'name' AND ledger.created_at = entry.created_at
    AND ledger.description IS NOT DISTINCT FROM entry.data ->> 'description'
"""
# As the table computes it, that is: what was made an ordinary column can be written.
_DIGEST_IS_COMPUTED = """(
    SELECT pg_get_expr(computed.adbin, computed.adrelid)
    FROM pg_attrdef AS computed
    JOIN pg_attribute AS digest ON (digest.attrelid, digest.attnum) = (computed.adrelid, computed.adnum)
    WHERE digest.attrelid = 'funds.tokens'::regclass AND digest.attname = 'token_digest' AND digest.attgenerated = 's'
) = 'sha256(token_hash)'"""
_MADE = f"""
    token.id = entry.id AND encode(token.token_digest, 'hex') = entry.data ->> 'token_digest' AND {_DIGEST_IS_COMPUTED}
    AND token.client = entry.data ->> 'client'
    AND to_jsonb(token.scopes) = (entry.data -> 'scopes')::jsonb
    AND coalesce(to_jsonb(token.ledgers), 'null') = (entry.data -> 'ledgers')::jsonb
    AND coalesce(to_jsonb(token.debit_accounts), 'null') = coalesce((entry.data -> 'debit_accounts')::jsonb, 'null')
    AND coalesce(to_jsonb(token.debit_codes), 'null') = coalesce((entry.data -> 'debit_codes')::jsonb, 'null')
    AND token.is_certificate = coalesce((entry.data ->> 'is_certificate')::boolean, false)
    AND to_char(token.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
        IS NOT DISTINCT FROM rpad(rtrim(entry.data ->> 'expires_at', 'Z'), 26, '.000000')
"""
_REVOCATION = "token.client = entry.data ->> 'client' AND token.revoked_at = entry.created_at"

RULES = (
    Rule(
        "every transfer has the decision of the client and the key that it names",
        "Nothing moved that nobody asked for, and nobody else did it.",
        Scope.TRANSFERS,
        _AUTHORS_DIFFER.format(table="transfers", slice=SLICE.transfers, operation=_OPERATION),
    ),
    Rule(
        "every hold has the decision of the client and the key that it names",
        "Nothing was reserved that nobody asked for, and nobody else did it.",
        Scope.HOLDS,
        _AUTHORS_DIFFER.format(table="holds", slice=SLICE.holds, operation="'open_hold'"),
    ),
    Rule(
        "every hold that has ended has one entry of its end",
        "No end of a hold was taken out of the history.",
        Scope.HOLDS,
        f"""
        SELECT 'holds' AS "table", hold.id::text AS id, format(
            'it is %s, and the history has %s entries of its end', hold.status, count(entry.id)) AS wrong
        FROM ({SLICE.holds}) AS hold
        LEFT JOIN funds.history AS entry
          ON entry.ledger_id = $1::integer AND entry.subject_id = hold.id
         AND entry.type IN ('hold.captured', 'hold.voided', 'hold.expired')
        WHERE hold.status <> 'open'
        GROUP BY hold.id, hold.status, hold.closed_at
        HAVING count(entry.id) > 1 OR (count(entry.id) = 0 AND hold.closed_at >= {SINCE})
        """,
    ),
    Rule(
        "every rejected request, and every fenced key, has its entry",
        "No rejection was taken out of the history.",
        Scope.DECISIONS,
        f"""
        SELECT 'decisions' AS "table", decision.client_id || ' ' || decision.idempotency_key AS id,
               format('it is %s, and the history has no entry of that', decision.outcome) AS wrong
        FROM ({SLICE.decisions}) AS decision
        -- Counted, lest the planner join the slice with the whole history, of which it may know nothing.
        WHERE decision.outcome <> 'applied' AND 0 = (
            SELECT count(*) FROM funds.history AS entry
            WHERE entry.ledger_id = $1::integer AND entry.id >= {first_identifier("decision.created_at")}
              AND entry.id < {first_identifier("(decision.created_at + interval '1 microsecond')")}
              AND entry.type = CASE decision.outcome WHEN 'fenced' THEN 'key.fenced' ELSE 'command.rejected' END
              AND (entry.client_id, entry.idempotency_key) = (decision.client_id, decision.idempotency_key)
        ) AND decision.created_at >= {SINCE}
        """,
    ),
    Rule(
        "the identifier of an entry tells when it was made",
        "No entry's created_at was edited.",
        Scope.HISTORY,
        f"""
        SELECT 'history' AS "table", entry.id::text AS id, {TIME_DIFFERS.format(row="entry")} AS wrong
        FROM ({SLICE.history}) AS entry
        WHERE CASE entry.type WHEN 'account.opened' THEN false  -- it has the account's identifier
                              WHEN 'token.created' THEN entry.data ->> 'by' IS NOT NULL  -- a migration made it else
                              ELSE true END
          AND {misses_its_time("entry.id", "entry.created_at")}
        """,
    ),
    Rule(
        "every entry tells of what there is, as it is",
        "Nothing was made up: no hold ended otherwise, and nobody was told something else.",
        Scope.HISTORY,
        f"""
        SELECT 'history' AS "table", entry.id::text AS id,
               format('it says %s of %s, which is not there or not so', entry.type,
                      coalesce(entry.subject_id::text, entry.data ->> 'name', 'a request')) AS wrong
        FROM ({SLICE.history}) AS entry
        LEFT JOIN funds.holds AS hold ON hold.ledger_id = $1::integer AND hold.id = entry.subject_id
        LEFT JOIN funds.accounts AS account ON account.ledger_id = $1::integer AND account.id = entry.subject_id
        LEFT JOIN funds.decisions AS decision
          ON decision.ledger_id = $1::integer AND decision.client_id = entry.client_id
         AND decision.idempotency_key = entry.idempotency_key
        LEFT JOIN funds.ledgers AS ledger
          ON entry.type = 'ledger.created' AND ledger.name = entry.data ->> 'name' AND $1::integer IN (0, ledger.id)
        LEFT JOIN funds.tokens AS token ON $1::integer = 0 AND token.id = entry.subject_id
        WHERE NOT coalesce(CASE
            WHEN entry.type IN ('hold.captured', 'hold.voided', 'hold.expired')
            THEN 'hold.' || hold.status = entry.type AND hold.closed_at = entry.created_at AND {_CLOSED}
            WHEN entry.type = 'account.opened' THEN account.id = entry.id
            WHEN entry.type = 'account.revised' THEN account.updated_at >= entry.created_at
            WHEN entry.type = 'command.rejected'
            THEN decision.outcome = 'rejected' AND decision.created_at = entry.created_at
             AND decision.operation = entry.data ->> 'operation'
             AND decision.problem::jsonb = (entry.data -> 'problem')::jsonb
             AND coalesce(decision.terms::jsonb, 'null') = (entry.data -> 'terms')::jsonb
            WHEN entry.type = 'key.fenced'
            THEN decision.outcome = 'fenced' AND decision.created_at = entry.created_at
            WHEN entry.type = 'ledger.created' THEN {_CREATED}
            WHEN entry.type = 'token.created' THEN {_MADE}
            WHEN entry.type = 'token.revoked' THEN {_REVOCATION}
            WHEN entry.type IN ('period.closed', 'period.reopened')
            THEN decision.operation = 'close_period' AND decision.outcome = 'applied'
             AND decision.resource_id = entry.id AND decision.created_at = entry.created_at
             AND (entry.data)::jsonb <@ (decision.resource)::jsonb
            ELSE {_IS_OF_LATER_VERSION}
        END, false)
        """,
    ),
    Rule(
        "every entry names who did it",
        "Nobody else was made the author of the end of a hold, or of an account.",
        Scope.HISTORY,
        f"""
        WITH created AS MATERIALIZED (
            SELECT client_id, idempotency_key FROM ({SLICE.history}) AS entry WHERE entry.type = 'ledger.created'
        ),
        creations AS MATERIALIZED (
            SELECT creation.* FROM created
            JOIN funds.decisions AS creation ON creation.ledger_id = 0 AND creation.client_id = created.client_id
             AND creation.idempotency_key = created.idempotency_key
        )
        SELECT 'history' AS "table", entry.id::text AS id,
               format('it says %s by %s, and no decision under its key says so', entry.type,
                      coalesce(entry.client_id, 'nobody')) AS wrong
        FROM ({SLICE.history}) AS entry
        LEFT JOIN funds.decisions AS decision
          ON decision.ledger_id = $1::integer AND decision.client_id = entry.client_id
         AND decision.idempotency_key = entry.idempotency_key AND decision.outcome = 'applied'
        LEFT JOIN LATERAL (
            SELECT transfer.id FROM funds.transfers AS transfer
            WHERE entry.type = 'hold.captured' AND transfer.ledger_id = $1::integer
              AND transfer.hold_id = entry.subject_id AND transfer.id < entry.id
            ORDER BY transfer.id DESC LIMIT 1
        ) AS capture ON true
        LEFT JOIN creations AS creation
          ON entry.type = 'ledger.created' AND creation.client_id = entry.client_id
         AND creation.idempotency_key = entry.idempotency_key
        WHERE NOT coalesce(CASE
            WHEN entry.type = 'hold.captured'
            THEN decision.operation = 'capture_hold' AND decision.resource_id = capture.id
            WHEN entry.type = 'hold.voided'
            THEN decision.operation = 'void_hold' AND decision.resource_id = entry.subject_id
            WHEN entry.type = 'hold.expired' THEN entry.client_id IS NULL AND entry.idempotency_key IS NULL
            WHEN entry.type = 'account.opened' AND entry.idempotency_key IS NULL THEN entry.client_id IS NULL
            WHEN entry.type = 'account.opened'
            THEN decision.operation = 'create_account' AND decision.resource_id = entry.subject_id
            WHEN entry.type = 'account.revised' AND entry.idempotency_key IS NULL THEN entry.client_id IS NOT NULL
            WHEN entry.type = 'account.revised'
            THEN decision.operation = 'revise_account' AND decision.resource_id = entry.subject_id
             AND decision.created_at = entry.created_at
            WHEN entry.type = 'ledger.created' AND entry.client_id IS NULL
            THEN coalesce(entry.created_at < {SINCE}, true)
            WHEN entry.type = 'ledger.created' THEN creation.created_at = entry.created_at
             AND creation.outcome = 'applied' AND creation.operation = 'create_ledger'
            WHEN entry.type IN ('token.created', 'token.revoked')
            THEN entry.client_id IS NULL AND entry.idempotency_key IS NULL
            ELSE true
        END, false)
        """,
    ),
    Rule(
        "every token has the entries of its making and of its revocation",
        "Nobody made a token that the history does not tell of, or took its revocation back.",
        Scope.LEDGER,
        """
        SELECT 'tokens' AS "table", token.id::text AS id, format(
            'it is %srevoked, and the history has %s entries of its making and %s of its revocation',
            CASE WHEN token.revoked_at IS NULL THEN 'not ' ELSE '' END, told.made, told.revoked) AS wrong
        FROM funds.tokens AS token
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE entry.type = 'token.created') AS made,
                   count(*) FILTER (WHERE entry.type = 'token.revoked') AS revoked
            FROM funds.history AS entry
            WHERE entry.ledger_id = 0 AND entry.subject_id = token.id
        ) AS told
        WHERE $1::integer = 0 AND (told.made, told.revoked) <> (1, (token.revoked_at IS NOT NULL)::integer)
        """,
    ),
)

OF_LEDGERS = Rule(
    "every ledger has the entry of its creation",
    "Nobody put a ledger into the table by hand, or took its creation out of the history.",
    Scope.LEDGER,
    f"""
    SELECT 'ledgers' AS "table", ledger.name AS id,
           format('the history has %s entries of its creation', told.number) AS wrong
    FROM funds.ledgers AS ledger
    CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM funds.history AS entry
        WHERE entry.ledger_id = $1::integer AND entry.type = 'ledger.created' AND entry.data ->> 'name' = ledger.name
          AND entry.id >= {first_identifier("ledger.created_at")}
          AND entry.id < {first_identifier("(ledger.created_at + interval '1 microsecond')")}
    ) AS told
    WHERE $1::integer IN (0, ledger.id) AND told.number <> 1
    """,
)
"""The rule of ledgers that the service created; asked of the installation, of all of them."""


def _is_now(member: str, opened: str) -> str:
    """Return, as a row, what an account's column ``member`` is, and what its last revision or else ``opened`` says."""
    return f"""
        SELECT '{member}' AS member, coalesce(to_jsonb(account.{member}), 'null') AS is_now, coalesce((
            SELECT (revision.data -> 'after' -> '{member}')::jsonb FROM funds.history AS revision
            WHERE revision.ledger_id = $1::integer AND revision.subject_id = account.id
              AND revision.type = 'account.revised' AND (revision.data -> 'after')::jsonb ? '{member}'
            ORDER BY revision.id DESC LIMIT 1
        ), {opened}) AS was_made
    """


_REVISED = ("name", "minimum_balance", "maximum_balance", "metadata")
_FIXED = ("currency", "normal_side", "reference")
_MEMBERS = " UNION ALL ".join(
    (
        *(_is_now(member, f"(opened.data -> '{member}')::jsonb") for member in _REVISED),
        # Entries of before there were codes say nothing of them: the account had none.
        _is_now("code", "coalesce(opened.data -> 'code', 'null')::jsonb"),
        _is_now("status", f"CASE WHEN opened.created_at >= {SINCE} THEN '\"open\"'::jsonb END"),
        *(
            f"SELECT '{member}', coalesce(to_jsonb(account.{member}), 'null'), (opened.data -> '{member}')::jsonb"
            for member in _FIXED
        ),
        """SELECT 'client_id', coalesce(to_jsonb(account.client_id), 'null'),
                  coalesce(to_jsonb(opened.client_id), 'null')""",
    )
)

OF_ACCOUNTS = (
    Rule(
        "every account has the entry of its opening",
        "No account was taken out of the history, and none put beside it.",
        Scope.ACCOUNTS,
        f"""
        SELECT 'accounts' AS "table", account.id::text AS id, 'the history has no entry of its opening' AS wrong
        FROM ({SLICE.accounts}) AS account
        LEFT JOIN funds.history AS entry
          ON entry.ledger_id = $1::integer AND entry.id = account.id AND entry.type = 'account.opened'
        WHERE entry.id IS NULL
        """,
    ),
    Rule(
        "every account is what its entries made of it",
        "No bound, status or name was changed that no entry tells of, and nothing that never changes.",
        Scope.ACCOUNTS,
        f"""
        SELECT 'accounts' AS "table", account.id::text AS id,
               format('its %s is %s, and by its history %s', made.member, made.is_now, made.was_made) AS wrong
        FROM ({SLICE.accounts}) AS account
        JOIN funds.history AS opened
          ON opened.ledger_id = $1::integer AND opened.id = account.id AND opened.type = 'account.opened'
        CROSS JOIN LATERAL ({_MEMBERS}) AS made
        WHERE made.is_now <> made.was_made
        """,
    ),
    Rule(
        "no account was changed later than it says",
        "Balances at a time take those of now for those since then: they are no older than that.",
        Scope.ACCOUNTS,
        f"""{CHANGES}
        SELECT 'accounts' AS "table", account.id::text AS id,
               format('it was last changed at %s by its own word, and at %s by its changes',
                      account.updated_at, changed.latest) AS wrong
        FROM accounts AS account
        JOIN funds.history AS opened
          ON opened.ledger_id = $1::integer AND opened.id = account.id AND opened.type = 'account.opened'
        LEFT JOIN (
            SELECT account_id, max(created_at) AS latest FROM changes GROUP BY account_id
        ) AS moved ON moved.account_id = account.id
        CROSS JOIN LATERAL (
            SELECT greatest(opened.created_at, moved.latest, (
                SELECT entry.created_at FROM funds.history AS entry
                WHERE entry.ledger_id = $1::integer AND entry.subject_id = account.id AND entry.type = 'account.revised'
                ORDER BY entry.id DESC LIMIT 1
            )) AS latest
        ) AS changed
        WHERE account.updated_at < changed.latest
        """,
    ),
)
"""The rules of accounts that the service opened."""
