"""No column is compared with nothing: whichever one the database's owner changes in one row, verification finds it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import text

from service.access.tokens import issue, revoke
from service.audit.integrity import verify_ledger
from service.audit.ledger_log import LedgerLog, Sealing
from service.audit.log_keys import LogKeys
from service.audit.log_signer import LogSigner
from service.domain.history import INSTALLATION, LoggedLedger
from service.domain.rights import DebitLimit
from service.proofs.keys import SignerKey
from service.settings import RetryLimits, Settings
from service.storage.database import Database, Session
from service.storage.repositories import Repositories
from service.storage.rows import SCHEMA
from service.storage.transactions import Transactions
from tests.audit.test_integrity import DROP_CONSTRAINTS, execute
from tests.support.ledger_at_work import fill_ledger
from tests.support.log import ORIGIN
from tests.support.rows import MAIN
from tests.support.servers import TestPostgres

SIGNER = LogSigner(SignerKey.generate(ORIGIN).secret_text(), ORIGIN)
LOGGED = (INSTALLATION, LoggedLedger(MAIN, "main"))

UNCOMPARED = {
    "accounts.updated_at": "It may be later than every change: a revision that changes nothing. Earlier is found.",
    "alembic_version": "Whether it is this program's is asked at every start.",
    "decisions.credit_account_id": "It finds the rejections of an account. What was rejected is in the history.",
    "decisions.debit_account_id": "Likewise.",
    "decisions.fingerprint": "A repeated request is compared with it, and answered that its key is used.",
    "decisions.resource": "A repeated creation is answered with it. What was created is held against its entry.",
    "ledger_heads.last_at": "It may be ahead of everything. Behind something it is found: test_integrity.py.",
    "log_checkpoints.created_at": "It proves nothing: checkpoints say no time, cosignatures do.",
    "log_checkpoints.ledger_id": "That takes the checkpoint away, which whoever kept it finds.",
    "log_cosignatures": "They are their witnesses' word: test_log_integrity.py has witnesses.",
    "log_tiles": "A small log has none: test_log_integrity.py has a larger one.",
    "token_uses": "They are counts for operators, and prove nothing.",
    "tokens.created_at": "The token's identifier and its entry tell it; the service's role may not read this.",
    "verifications": "It is what was found: `funds verify` finds it again without reading it.",
}
"""Tables and columns that are held against nothing, and why; log.md says what their owner can do with them."""

ANOTHER = {
    "uuid": "gen_random_uuid()",
    "text": "coalesce({0}, '') || 'x'",
    "bigint": "coalesce({0}, 0) + 1",
    "integer": "coalesce({0}, 0) + 100",
    "smallint": "coalesce({0}, 0) + 1",
    "timestamp with time zone": "coalesce({0}, now()) + interval '1 microsecond'",
    "jsonb": """coalesce({0}, '{{}}') || '{{"x": "y"}}'""",
    "json": """regexp_replace({0}::text, '^{{', '{{"x":"y",')::json""",
    "bytea": r"overlay(coalesce({0}, '\x00') PLACING '\xfe' FROM 1)",
    "ARRAY": "{0}[2:]",
    "boolean": "NOT {0}",
}
"""Another value of a column, by its type."""

ANOTHER_OF_FEW = {
    "status": "CASE {0} WHEN 'open' THEN 'frozen' WHEN 'captured' THEN 'voided' ELSE 'captured' END",
    "normal_side": "CASE {0} WHEN 'debit' THEN 'credit' ELSE 'debit' END",
    "currency": "CASE {0} WHEN 'EUR' THEN 'USD' ELSE 'EUR' END",
    "outcome": "CASE {0} WHEN 'applied' THEN 'rejected' ELSE 'applied' END",
    "operation": "CASE {0} WHEN 'post_transfer' THEN 'open_hold' ELSE 'post_transfer' END",
    "late_entries": "CASE {0} WHEN 'reject' THEN 'forward' ELSE 'reject' END",
    "type": "CASE {0} WHEN 'key.fenced' THEN 'command.rejected' ELSE 'key.fenced' END",
}
"""Likewise where few values are valid: by name."""


class Column(NamedTuple):
    table: str
    name: str
    type: str

    def names(self) -> set[str]:
        return {self.table, f"{self.table}.{self.name}"}

    def change(self) -> str:
        """The statement that gives one row another value: one that has a value, if there is one."""
        value = ANOTHER_OF_FEW.get(self.name, ANOTHER.get(self.type, "?")).format(self.name)
        return (
            f"UPDATE {SCHEMA}.{self.table} SET {self.name} = {value} WHERE ctid ="
            f" (SELECT ctid FROM {SCHEMA}.{self.table} ORDER BY {self.name} IS NULL, ctid DESC LIMIT 1)"
        )


@pytest.fixture(scope="module")
async def owner(postgres: TestPostgres) -> AsyncIterator[Transactions]:
    """Transactions of the owner of an installation at work, with tokens."""
    async with postgres.fresh_database() as made:
        await fill_ledger(made)
        operator = Database.connect(made.operator_url, Settings())
        async with operator.sessions() as session, session.begin():
            for number in range(2):
                expires_in = timedelta(days=number + 1)
                limit = DebitLimit(frozenset([UUID(int=1)]), ("1000",))
                await issue(
                    session,
                    client="client",
                    scopes=["read"],
                    ledgers=["main"],
                    expires_in=expires_in,
                    debit_limit=limit,
                )
            [token, _] = await Repositories(session).tokens.all()
            assert await revoke(session, token.id)
        await operator.close()
        pool = Database.connect_verification(made.owner_url, Settings())
        yield Transactions(pool, RetryLimits(1, 60.0))
        await pool.close()


async def sealed(session: Session) -> None:
    for ledger in LOGGED:
        assert await LedgerLog(session, ledger).seal(SIGNER.sign_for(ledger.name)) is Sealing.COMPLETE


async def is_damaged(session: Session) -> bool:
    keys = LogKeys([SIGNER.verifier_key("")])
    for ledger in LOGGED:
        async for step in verify_ledger(session, ledger.id, keys=keys):
            if step.findings:
                return True
    return False


async def test_a_change_of_any_column_is_found(owner: Transactions) -> None:
    unfound: list[Column] = []

    async def work(session: Session) -> None:
        await sealed(session)
        assert not await is_damaged(session)
        found = await session.execute(
            text(
                "SELECT table_name, column_name, data_type FROM information_schema.columns"
                f" WHERE table_schema = '{SCHEMA}' AND is_generated = 'NEVER' ORDER BY 1, 2"
            )
        )
        columns = [Column(*row) for row in found]
        assert {name for column in columns for name in column.names()} >= UNCOMPARED.keys()
        await execute(session, DROP_CONSTRAINTS)
        for column in columns:
            if not UNCOMPARED.keys().isdisjoint(column.names()):
                continue
            change = await session.begin_nested()
            await execute(session, column.change())
            if not await is_damaged(session):
                unfound.append(column)
            await change.rollback()
        await session.rollback()

    await owner.run_once(work)
    assert [f"{column.table}.{column.name}" for column in unfound] == []
