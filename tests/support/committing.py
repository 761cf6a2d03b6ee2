"""Commits and dry runs of batches on the connections of a test."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from service.domain.accounts import AccountDetails, AccountRevision, NewAccount
from service.domain.decisions import Answer, CommandAnswer, Key
from service.domain.executor import Group
from service.domain.history import Caller
from service.domain.ledgers import Ledger
from service.domain.rejections import Rejection
from service.posting import accounts, batch, openings
from service.posting.committer import Committer
from service.settings import Settings
from service.storage.database import Database
from service.storage.transactions import Mode, Transactions


async def commit_batch(
    database: Database, settings: Settings, ledger_id: int, groups: Sequence[Group]
) -> list[list[CommandAnswer]]:
    transactions = Transactions(database, settings.commit_limits)
    return await batch.commit_batch(transactions, settings, ledger_id, lambda: groups)


async def dry_run(
    database: Database, settings: Settings, ledger_id: int, groups: Sequence[Group]
) -> list[list[CommandAnswer]]:
    snapshots = Transactions(database, settings.read_limits, Mode.SNAPSHOT)
    return await batch.dry_run(snapshots, settings, ledger_id, groups)


def make_committer(database: Database, settings: Settings) -> Committer:
    snapshots = Transactions(database, settings.read_limits, Mode.SNAPSHOT)
    return Committer(Transactions(database, settings.commit_limits), settings, snapshots=snapshots)


async def create_ledger(
    database: Database, settings: Settings, key: Key, *, name: str, description: str | None
) -> Answer[Ledger | Rejection]:
    transactions = Transactions(database, settings.commit_limits)
    return await accounts.create_ledger(transactions, settings, key, name=name, description=description)


async def create_account(
    database: Database, settings: Settings, key: Key, new: NewAccount
) -> Answer[AccountDetails | Rejection]:
    return await accounts.create_account(Transactions(database, settings.commit_limits), settings, key, new)


async def revise_account(
    database: Database,
    settings: Settings,
    ledger_id: int,
    account_id: UUID,
    revision: AccountRevision,
    *,
    key: Key | None = None,
    **options: Any,
) -> Answer[AccountDetails | Rejection]:
    """Revise an account under ``key``; without one for a caller without a key."""
    transactions = Transactions(database, settings.commit_limits)
    author = key or Caller(ledger_id=ledger_id, client_id="client")
    return await accounts.revise_account(transactions, settings, author, account_id, revision, **options)


async def open_accounts(
    database: Database, settings: Settings, page: Sequence[openings.Opening]
) -> list[Answer[AccountDetails | Rejection]]:
    return await openings.open_accounts(Transactions(database, settings.commit_limits), settings, page)
