"""Opening accounts a page at a time: one transaction a page, exactly once for every account of it."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import rejections
from service.domain.identifiers import ENTROPY_BITS, identifier
from service.domain.rejections import Rejection
from service.engine.administration import (
    Applied,
    NewAccount,
    Refused,
    account_refusals,
    build_account,
    insert_with_decision,
    replay,
)
from service.settings import Settings
from service.storage import decisions
from service.storage.accounts import AccountRepository
from service.storage.database import Database
from service.storage.decisions import Key
from service.storage.models import Account, Decision
from service.storage.retry import run_with_retries

_ALONE_TRIES = 2
"""Once more after a violation: a decision that another process has just committed is then found and replayed."""


class Opening(Struct, frozen=True):
    """An account to open, and where its decision stands."""

    key: Key
    new: NewAccount


async def open_accounts(
    database: Database, settings: Settings, page: Sequence[Opening], *, opened_at: datetime | None = None
) -> list[Applied[Account] | Refused]:
    """Open the accounts of ``page`` in one transaction and return the answers, in order. They are opened now, or at
    ``opened_at``: what is made up begins when its story does, for nothing of an account lies before its first day.

    ``page`` is not empty, holds at most ``identifiers.POSITIONS`` accounts, and all its keys belong to one ledger and
    one client. Every account has its decision, as if it had been opened alone (``administration.create_account`` has
    the rules), so a page may be sent again, after any failure: what was done replays. Raises StorageError.
    """
    commit_sent = False

    async def attempt() -> list[Applied[Account] | Refused]:
        nonlocal commit_sent
        async with database.sessions() as session, session.begin():
            try:
                async with session.begin_nested():
                    answers = await _open_together(session, page, opened_at)
            except IntegrityError:  # another process has opened one of the accounts since we looked
                answers = [await _open_alone(session, opening, opened_at) for opening in page]
            commit_sent = True
        return answers

    return await run_with_retries(
        attempt,
        attempts_max=settings.commit_attempts_max,
        deadline_seconds=settings.commit_deadline_seconds,
        outcome_unknown=lambda: commit_sent,
    )


async def _open_together(
    session: AsyncSession, page: Sequence[Opening], opened_at: datetime | None
) -> list[Applied[Account] | Refused]:
    """Decide the page on what stands now, then insert its new decisions and accounts, set by set.

    Each set goes in in the order of its unique key: pages that share lines wait for each other instead of
    deadlocking. Raises IntegrityError when one of them was first.
    """
    now = (await session.scalars(select(func.clock_timestamp()))).one()
    known = await decisions.taken(session, [opening.key for opening in page])
    references = await AccountRepository(session).references_in_use(
        page[0].key.ledger_id, [opening.new.reference for opening in page if opening.new.reference is not None]
    )
    answers: list[Applied[Account] | Refused] = []
    new_decisions: list[Decision] = []
    new_accounts: list[Account] = []
    for position, (key, new) in enumerate((opening.key, opening.new) for opening in page):
        earlier = known.get(key.idempotency_key)
        if earlier is not None:
            answers.append(replay(earlier, key, Account))
            continue
        account_id = identifier(opened_at or now, position, secrets.randbits(ENTROPY_BITS))
        built = build_account(key.ledger_id, account_id, new, opened_at or now)
        if new.reference in references and not isinstance(built, Rejection):
            built = rejections.reference_taken(new.reference)
        if isinstance(built, Rejection):
            answers.append(Refused(built, replayed=False))
            decision = decisions.rejected(key, built, now)
        else:
            answers.append(Applied(built, replayed=False))
            decision = decisions.applied(key, built, now)
            new_accounts.append(built)
            if new.reference is not None:
                references.add(new.reference)
        known[key.idempotency_key] = decision
        new_decisions.append(decision)
    new_decisions.sort(key=lambda decision: decision.idempotency_key)
    session.add_all(new_decisions)
    await session.flush()
    new_accounts.sort(key=lambda account: account.reference or "")
    session.add_all(new_accounts)
    await session.flush()
    return answers


async def _open_alone(
    session: AsyncSession, opening: Opening, opened_at: datetime | None
) -> Applied[Account] | Refused:
    """Open one account of a page in a savepoint of its own: what the database refuses is this line's alone."""
    key, new = opening.key, opening.new
    for _ in range(_ALONE_TRIES):
        earlier = (await decisions.taken(session, [key])).get(key.idempotency_key)
        if earlier is not None:
            return replay(earlier, key, Account)
        try:
            async with session.begin_nested():
                built = await insert_with_decision(
                    session,
                    key,
                    lambda now: build_account(
                        key.ledger_id,
                        identifier(opened_at or now, 0, secrets.randbits(ENTROPY_BITS)),
                        new,
                        opened_at or now,
                    ),
                    account_refusals(new),
                )
        except IntegrityError:
            continue
        return Refused(built, replayed=False) if isinstance(built, Rejection) else Applied(built, replayed=False)
    return Refused(rejections.internal_error(), replayed=False)
