"""What service/docs/damage.md says is done after damage leaves a sound ledger, whose log goes on."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from service.audit.integrity import verify_ledger
from service.audit.ledger_log import LedgerLog, Sealing
from service.audit.log_keys import LogKeys
from service.audit.log_signer import LogSigner
from service.domain.commands import ReverseTransfer
from service.domain.history import LoggedLedger
from service.domain.integrity import Finding
from service.domain.transfers import Transfer
from service.proofs.keys import SignerKey
from service.settings import RetryLimits, Settings
from service.storage.database import Database, Session
from service.storage.repositories import Repositories
from service.storage.transactions import Mode, Transactions
from tests.support.committing import commit_batch
from tests.support.ledger_at_work import LedgerAtWork, fill_ledger
from tests.support.log import ORIGIN
from tests.support.rows import MAIN
from tests.support.servers import ROOT, TestDatabase

SETTINGS = Settings()
LEDGER = LoggedLedger(MAIN, "main")
KEY = SignerKey.generate(ORIGIN).secret_text()
SIGNER = LogSigner(KEY, ORIGIN)
KEYS = LogKeys([SIGNER.verifier_key("")])


def statement(name: str, **values: str) -> str:
    """Return the statement of the page that begins with that comment, with ``values`` as psql puts them in."""
    page = (ROOT / "service" / "docs" / "damage.md").read_text()
    text: str
    [text] = re.findall(rf"```sql\n *-- {name}\n(.*?)```", page, re.DOTALL)
    for variable, value in values.items():
        quoted = value.replace("'", "''")
        text = text.replace(f":'{variable}'", f"'{quoted}'")
    return text


@dataclass(frozen=True)
class Sealed:
    """A sealed ledger, its owner, and what is in it."""

    database: TestDatabase
    facts: LedgerAtWork
    owner: asyncpg.Connection
    transactions: Transactions

    async def seal(self, signer: LogSigner = SIGNER, keys: LogKeys = KEYS) -> None:
        async def seal(session: Session) -> Sealing:
            return await LedgerLog(session, LEDGER, keys).seal(signer.sign_for("main"))

        assert await self.transactions.run_once(seal) is Sealing.COMPLETE

    async def findings(self, keys: LogKeys = KEYS) -> list[Finding]:
        async def work(session: Session) -> list[Finding]:
            steps = verify_ledger(session, MAIN, keys=keys)
            return [finding async for step in steps for finding in step.findings]

        return await self.transactions.run_once(work)


@pytest.fixture
async def sealed(test_database: TestDatabase) -> AsyncIterator[Sealed]:
    facts = await fill_ledger(test_database)
    owner = await asyncpg.connect(test_database.owner_url)
    pool = Database.connect_verification(test_database.owner_url, SETTINGS)
    one = Sealed(test_database, facts, owner, Transactions(pool, RetryLimits(1, 60.0), Mode.READ_WRITE))
    await one.seal()
    assert await one.findings() == []
    yield one
    await pool.close()
    await owner.close()


async def test_an_edited_row_is_what_its_receipt_says(sealed: Sealed) -> None:
    receipt = await sealed.transactions.run_once(
        lambda session: Repositories(session).history.entries(MAIN, LEDGER.source, limit=1_000)
    )
    [entry] = [one.text for one in receipt if one.id == sealed.facts.transfer]
    await sealed.owner.execute(
        "UPDATE funds.transfers SET amount = 1, description = 'gift', client_id = 'x', metadata = '{\"a\": \"b\"}',"
        " effective_at = now(), request_id = 'r' WHERE id = $1",
        sealed.facts.transfer,
    )
    assert await sealed.findings() != []
    await sealed.owner.execute(statement("restore", entry=entry))
    assert await sealed.findings() == []


async def test_a_sealed_forgery_is_adopted_and_corrected(sealed: Sealed) -> None:
    """A transfer that nobody asked for is in the log: it stays there, and is reversed."""
    forged = sealed.facts.deposit
    await sealed.owner.execute("DELETE FROM funds.decisions WHERE resource_id = $1", forged)
    assert {one.id for one in await sealed.findings()} == {str(forged)}
    await sealed.owner.execute(statement("adopt", transfer_id=str(forged)))
    assert await sealed.findings() == []
    database = Database.connect(sealed.database.service_url, SETTINGS)
    correction = ReverseTransfer(
        transfer_id=forged, amount=100, ledger_id=MAIN, client_id="owner", idempotency_key="correction"
    )
    [[answer]] = await commit_batch(database, SETTINGS, MAIN, [[correction]])
    await database.close()
    assert isinstance(answer.result, Transfer)
    await sealed.seal()
    assert await sealed.findings() == []


async def test_a_log_goes_on_under_a_new_name(sealed: Sealed) -> None:
    """Where its end was lost: the old checkpoints stay those of the old name."""
    renamed = LogSigner(KEY, "bank.example/funds-2")
    database = Database.connect(sealed.database.service_url, SETTINGS)
    reversal = ReverseTransfer(
        transfer_id=sealed.facts.deposit, amount=1, ledger_id=MAIN, client_id="client", idempotency_key="later"
    )
    await commit_batch(database, SETTINGS, MAIN, [[reversal]])
    await database.close()
    both = LogKeys([renamed.verifier_key(""), SIGNER.verifier_key("")])
    await sealed.seal(renamed, both)
    assert await sealed.findings(both) == []
    told = {one.wrong for one in await sealed.findings(LogKeys([renamed.verifier_key("")]))}
    assert told == {"its note is of another log"}
