"""A ledger with facts of every kind, made by the parts of the service that make them, without HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg

from service.domain.accounts import AccountDetails
from service.domain.commands import (
    AnyCommand,
    CaptureHold,
    ExpireHold,
    FenceKey,
    ReverseTransfer,
    VoidHold,
)
from service.domain.decisions import Key
from service.domain.holds import Hold
from service.domain.periods import Closing, ClosingTerms, LateEntries
from service.domain.transfers import Transfer
from service.posting.periods import close_period
from service.settings import Settings
from service.storage.database import Database
from service.storage.transactions import Transactions
from tests.support.commands import new_account, opening, transfer
from tests.support.committing import commit_batch, create_account
from tests.support.rows import MAIN
from tests.support.servers import TestDatabase

Fact = TypeVar("Fact", Transfer, Hold)


@dataclass(frozen=True)
class LedgerAtWork:
    """What was made in ledger ``main``. Accounts ``a`` and ``b`` may not overdraw; ``cash`` has no bounds."""

    cash: UUID
    a: UUID
    b: UUID
    deposit: UUID
    transfer: UUID
    capture: UUID
    reversal: UUID
    open: UUID
    captured: UUID
    voided: UUID
    expired: UUID
    late: UUID
    closing: UUID


async def fill_ledger(test_database: TestDatabase) -> LedgerAtWork:
    """Make accounts, transfers, a hold of every status, captures, a reversal, a rejection, a fence and a group; close
    the ledger, once with a transfer that is dated forward, once more for good.
    """
    settings = Settings()
    database = Database.connect(test_database.service_url, settings)
    try:
        return await _fill(database, settings, test_database.superuser_url)
    finally:
        await database.close()


async def _fill(database: Database, settings: Settings, superuser_url: str) -> LedgerAtWork:
    async def made(kind: type[Fact], *group: AnyCommand) -> Fact:
        [answers] = await commit_batch(database, settings, MAIN, [group])
        result = answers[0].result
        assert isinstance(result, kind), result
        return result

    cash = await _open(database, settings, normal_side="debit")
    a, b = [await _open(database, settings, minimum_balance=0) for _ in range(2)]
    deposit = await made(Transfer, transfer(cash, a, 1_000))
    await made(Transfer, transfer(cash, b, 1_000))
    holds = [await made(Hold, opening(a, b, amount)) for amount in (10, 20, 30, 40)]
    opened, captured, voided, expired = (hold.id for hold in holds)
    await made(Transfer, CaptureHold(hold_id=captured, amount=5, final=False, **_key()))
    capture = await made(Transfer, CaptureHold(hold_id=captured, amount=7, **_key()))
    await made(Hold, VoidHold(hold_id=voided, **_key()))
    paid = await made(Transfer, transfer(a, b, 100))
    reversal = await made(Transfer, ReverseTransfer(transfer_id=paid.id, amount=40, **_key()))
    await made(Transfer, transfer(a, b, 3), transfer(b, a, 2))
    await commit_batch(database, settings, MAIN, [[transfer(a, b, 1_000_000)], [FenceKey(**_key())]])
    superuser = await asyncpg.connect(superuser_url)
    await superuser.execute("UPDATE funds.holds SET expires_at = clock_timestamp() WHERE id = $1", expired)
    await superuser.close()
    await made(Hold, ExpireHold(hold_id=expired))
    today = deposit.created_at.replace(hour=0, minute=0, second=0, microsecond=0)
    await _close(database, settings, deposit.created_at, "forward")
    late = await made(Transfer, transfer(a, b, 4, effective_at=today))
    closing = await _close(database, settings, late.created_at, "reject")
    return LedgerAtWork(
        cash,
        a,
        b,
        deposit.id,
        paid.id,
        capture.id,
        reversal.id,
        opened,
        captured,
        voided,
        expired,
        late.id,
        closing.id,
    )


async def _close(database: Database, settings: Settings, until: datetime, late_entries: LateEntries) -> Closing:
    key = Key(fingerprint=b"closing", operation="close_period", **_key())
    asked = ClosingTerms(closed_until=until, late_entries=late_entries, reason=None)
    closed = await close_period(Transactions(database, settings.commit_limits), settings, key, asked)
    assert isinstance(closed.result, Closing)
    return closed.result


def _key() -> dict[str, Any]:
    return {"ledger_id": MAIN, "client_id": "client", "idempotency_key": str(uuid4())}


async def _open(
    database: Database, settings: Settings, *, normal_side: str = "credit", minimum_balance: int | None = None
) -> UUID:
    new = new_account(normal_side=normal_side, minimum_balance=minimum_balance)
    key = Key(fingerprint=b"opening", operation="create_account", **_key())
    account = (await create_account(database, settings, key, new)).result
    assert isinstance(account, AccountDetails)
    return account.id
