"""The installation's own history, of its ledgers and tokens, is verified as a ledger's is."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import pytest

from service.access.tokens import issue, revoke
from service.audit.integrity import verify_ledger
from service.audit.ledger_log import LedgerLog, Sealing
from service.audit.log_integrity import ENTRIES_STAND
from service.audit.log_keys import LogKeys
from service.audit.log_signer import LogSigner
from service.domain.decisions import Key
from service.domain.history import INSTALLATION
from service.domain.integrity import Finding
from service.posting.accounts import create_ledger
from service.proofs.keys import SignerKey
from service.settings import RetryLimits, Settings
from service.storage.database import Database, Session
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions
from tests.audit.test_integrity import DROP_CONSTRAINTS, FORGED, TakenBackError, execute
from tests.support.log import ORIGIN
from tests.support.servers import TestPostgres

SETTINGS = Settings()
SIGNER = LogSigner(SignerKey.generate(ORIGIN).secret_text(), ORIGIN)


@dataclass(frozen=True)
class Installation:
    """Ledgers ``bank`` and ``shop``, the creation of another ``shop`` that was rejected, and tokens: one that stands,
    one that is limited to a ledger and expires, and a revoked one.
    """

    standing: str
    limited: str
    revoked: str
    owner: Transactions


class Damage(NamedTuple):
    """A statement of the owner's, and the rule, table and row of what is found; ``{name}`` is the id of that token.
    Without a row it is one of the history, and what is wrong names ``names``.
    """

    statement: str
    rule: str
    table: str
    row: str = ""
    names: str = ""


TELLS, HAS_LEDGER, HAS_TOKEN, NAMES, MADE, HEAD_OF = (
    "every entry tells",
    "every ledger has",
    "every token has",
    "every entry names",
    "every applied decision",
    "every head is",
)
_FORGE_TOKEN = (
    "INSERT INTO funds.tokens (id, client, token_hash, scopes) VALUES ('{forged}', 'client', sha256('x'), '{{admin}}')"
)
_FORGE_TOKEN_AND_ENTRY = (
    f"{_FORGE_TOKEN}; INSERT INTO funds.history (ledger_id, id, type, subject_id, data, created_at)"
    " SELECT 0, id, 'token.created', id, json_build_object('client', client, 'scopes', scopes, 'ledgers', ledgers,"
    " 'token_digest', encode(token_digest, 'hex')), created_at FROM funds.tokens WHERE id = '{forged}'"
)
_FORGE_LEDGER = (
    "INSERT INTO funds.ledgers (name, created_at) VALUES ('forged', '2026-01-01');"
    " INSERT INTO funds.ledger_heads SELECT id, now() FROM funds.ledgers WHERE name = 'forged'"
)
_DAMAGE = {
    "a token was forged": Damage(_FORGE_TOKEN, HAS_TOKEN, "tokens", "{forged}"),
    "a token was forged, with an entry in a client's name": Damage(
        f"{_FORGE_TOKEN}; INSERT INTO funds.history (ledger_id, id, type, subject_id, client_id, data, created_at)"
        " VALUES (0, '{forged}', 'token.created', '{forged}', 'client', '{{\"client\": \"client\"}}', now())",
        NAMES,
        "history",
        "{forged}",
    ),
    "a token was deleted": Damage(
        "DELETE FROM funds.tokens WHERE id = '{limited}'", TELLS, "history", names="{limited}"
    ),
    "the making of a token was taken out": Damage(
        "DELETE FROM funds.history WHERE id = '{standing}'", HAS_TOKEN, "tokens", "{standing}"
    ),
    "a token was given to another client": Damage(
        "UPDATE funds.tokens SET client = 'other' WHERE id = '{standing}'", TELLS, "history", names="{standing}"
    ),
    "a token may do more": Damage(
        "UPDATE funds.tokens SET scopes = scopes || '{{admin}}'::text[] WHERE id = '{standing}'",
        TELLS,
        "history",
        names="{standing}",
    ),
    "a token is for every ledger": Damage(
        "UPDATE funds.tokens SET ledgers = NULL WHERE id = '{limited}'", TELLS, "history", names="{limited}"
    ),
    "a token has the hash of another one": Damage(
        "UPDATE funds.tokens SET token_hash = sha256('x') WHERE id = '{standing}'", TELLS, "history", names="{standing}"
    ),
    "a token has the hash of another one, and the digest of its own": Damage(
        "ALTER TABLE funds.tokens ALTER COLUMN token_digest DROP EXPRESSION;"
        " UPDATE funds.tokens SET token_hash = sha256('x') WHERE id = '{standing}'",
        TELLS,
        "history",
        names="{standing}",
    ),
    "a token lives longer": Damage(
        "UPDATE funds.tokens SET expires_at = expires_at + interval '1 second' WHERE id = '{limited}'",
        TELLS,
        "history",
        names="{limited}",
    ),
    "a token lives for ever": Damage(
        "UPDATE funds.tokens SET expires_at = NULL WHERE id = '{limited}'", TELLS, "history", names="{limited}"
    ),
    "a revoked token was made good again": Damage(
        "UPDATE funds.tokens SET revoked_at = NULL WHERE id = '{revoked}'", HAS_TOKEN, "tokens", "{revoked}"
    ),
    "a token was revoked without an entry": Damage(
        "UPDATE funds.tokens SET revoked_at = now() WHERE id = '{standing}'", HAS_TOKEN, "tokens", "{standing}"
    ),
    "a token was revoked at another time": Damage(
        "UPDATE funds.tokens SET revoked_at = revoked_at + interval '1 hour' WHERE id = '{revoked}'",
        TELLS,
        "history",
        names="{revoked}",
    ),
    "the revocation of a token was taken out": Damage(
        "DELETE FROM funds.history WHERE type = 'token.revoked'", HAS_TOKEN, "tokens", "{revoked}"
    ),
    "a token was revoked twice": Damage(
        "INSERT INTO funds.history SELECT ledger_id, '{forged}', type, subject_id, client_id, idempotency_key,"
        " request_id, data, created_at FROM funds.history WHERE type = 'token.revoked'",
        HAS_TOKEN,
        "tokens",
        "{revoked}",
    ),
    "a ledger was forged": Damage(_FORGE_LEDGER, HAS_LEDGER, "ledgers", "forged"),
    "a ledger was forged, with an entry of before the history": Damage(
        f"{_FORGE_LEDGER}; INSERT INTO funds.history (ledger_id, id, type, data, created_at) VALUES"
        " (0, '{forged}', 'ledger.created', '{{\"name\": \"forged\"}}', now())",
        NAMES,
        "history",
        "{forged}",
    ),
    "a ledger was renamed": Damage(
        "UPDATE funds.ledgers SET name = 'store' WHERE name = 'shop'", HAS_LEDGER, "ledgers", "store"
    ),
    "a ledger was described otherwise": Damage(
        "UPDATE funds.ledgers SET description = 'x' WHERE name = 'shop'", TELLS, "history", names="shop"
    ),
    "a ledger was created at another time": Damage(
        "UPDATE funds.ledgers SET created_at = created_at - interval '1 day' WHERE name = 'shop'",
        HAS_LEDGER,
        "ledgers",
        "shop",
    ),
    "a ledger was deleted": Damage("DELETE FROM funds.ledgers WHERE name = 'shop'", TELLS, "history", names="shop"),
    "a ledger was deleted, and its history is left": Damage(
        "DELETE FROM funds.ledgers WHERE name = 'shop'", HEAD_OF, "ledger_heads", "3"
    ),
    "a ledger was deleted, and its entry": Damage(
        "DELETE FROM funds.ledgers WHERE name = 'shop'; DELETE FROM funds.history WHERE data ->> 'name' = 'shop'",
        MADE,
        "decisions",
        "operator ",
    ),
    "the creation of a ledger was taken out": Damage(
        "DELETE FROM funds.history WHERE ledger_id = 0 AND data ->> 'name' = 'shop'", HAS_LEDGER, "ledgers", "shop"
    ),
    "somebody else created a ledger": Damage(
        "UPDATE funds.history SET client_id = 'other' WHERE ledger_id = 0 AND data ->> 'name' = 'shop'",
        NAMES,
        "history",
    ),
    "the rejection of a ledger was taken out": Damage(
        "DELETE FROM funds.history WHERE type = 'command.rejected'", "every rejected request", "decisions", "operator "
    ),
    "an account was opened in no ledger": Damage(
        "INSERT INTO funds.history (ledger_id, id, type, subject_id, data, created_at)"
        " VALUES (0, '{forged}', 'account.opened', '{forged}', '{{}}', now())",
        TELLS,
        "history",
        "{forged}",
    ),
    "an entry is of a type that there is not": Damage(
        "INSERT INTO funds.history (ledger_id, id, type, data, created_at)"
        " VALUES (0, '{forged}', 'key.stolen', '{{}}', now())",
        TELLS,
        "history",
        "{forged}",
    ),
    "the head was set back": Damage(
        "UPDATE funds.ledger_heads SET last_at = last_at - interval '1 hour' WHERE ledger_id = 0",
        "nothing of a ledger is later",
        "history",
    ),
}


@pytest.fixture(scope="module")
async def installation(postgres: TestPostgres) -> AsyncIterator[Installation]:
    async with postgres.fresh_database() as database:
        service, operator = (Database.connect(url, SETTINGS) for url in (database.service_url, database.operator_url))
        transactions = Transactions(service, SETTINGS.commit_limits)
        for number, called in enumerate(("bank", "shop", "shop")):
            key = Key(
                ledger_id=INSTALLATION.id,
                client_id="operator",
                idempotency_key=str(number),
                fingerprint=b"",
                operation="create_ledger",
            )
            await create_ledger(
                transactions, SETTINGS, key, name=called, description="A bank." if number == 0 else None
            )
        async with operator.sessions() as session, session.begin():
            for scopes, limits, expires_in in (
                (["read"], None, None),
                (["read", "admin"], ["bank", "shop"], timedelta(days=1)),
                (["read"], ["bank"], None),
            ):
                await issue(session, client="client", scopes=scopes, ledgers=limits, expires_in=expires_in)
            ids = [token.id for token in await Repositories(session).tokens.all()]
            assert await revoke(session, ids[2])
        standing, limited, revoked = map(str, ids)
        pool = Database.connect_verification(database.owner_url, SETTINGS)
        yield Installation(standing, limited, revoked, Transactions(pool, RetryLimits(1, 60.0)))
        for one in (service, operator, pool):
            await one.close()


async def found(session: Session) -> list[Finding]:
    steps = verify_ledger(session, INSTALLATION.id, keys=LogKeys([SIGNER.verifier_key("")]))
    return [finding async for step in steps for finding in step.findings]


async def findings_after(installation: Installation, *statements: str) -> list[Finding]:
    """Return what is found once the history is sealed and ``statements`` are executed, which is taken back."""

    async def work(session: Session) -> None:
        assert await LedgerLog(session, INSTALLATION).seal(SIGNER.sign_for("")) is Sealing.COMPLETE
        for statement in statements:
            await execute(session, statement)
        raise TakenBackError(await found(session))

    with pytest.raises(TakenBackError) as done:
        await installation.owner.run_once(work)
    return done.value.findings


async def test_a_sound_installation(installation: Installation) -> None:
    assert await findings_after(installation) == []


@pytest.mark.parametrize("done", _DAMAGE)
async def test_damage_is_found_and_named(done: str, installation: Installation) -> None:
    statement, rule, table, row, names = [text.format(forged=FORGED, **vars(installation)) for text in _DAMAGE[done]]
    findings = await findings_after(installation, DROP_CONSTRAINTS, statement)
    named = [
        one
        for one in findings
        if one.rule.startswith(rule) and one.table == table and one.id.startswith(row) and names in one.wrong
    ]
    assert named, f"{done}: {findings}"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE funds.history SET request_id = 'r' WHERE ledger_id = 0 AND id = '{limited}'",
        "UPDATE funds.history SET data = (data::text || ' ')::json WHERE ledger_id = 0 AND id = '{limited}'",
        _FORGE_TOKEN_AND_ENTRY,
    ],
)
async def test_its_log_is_compared_with_its_entries(statement: str, installation: Installation) -> None:
    findings = await findings_after(installation, statement.format(forged=FORGED, **vars(installation)))
    assert any(one.rule == ENTRIES_STAND for one in findings), findings
