"""Opening accounts a page at a time: one transaction a page, exactly once for every account of it."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from msgspec import Struct

from service.domain import rejections
from service.domain.accounts import AccountDetails, NewAccount
from service.domain.checks import check_clock
from service.domain.decisions import Answer, Decision, Key
from service.domain.history import HistoryEntry, account_opened, request_rejected
from service.domain.identifiers import ENTROPY_BITS, Identifiers
from service.domain.policy import Policy
from service.domain.rejections import Rejection
from service.posting.accounts import build_account, open_account
from service.posting.heads import lock_head, tell_clock_behind
from service.posting.once import replayed
from service.settings import Settings
from service.storage.database import Session
from service.storage.errors import violated_constraint
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions


class Opening(Struct, frozen=True):
    """An account to open, and where its decision stands."""

    key: Key
    new: NewAccount


async def open_accounts(
    transactions: Transactions, settings: Settings, page: Sequence[Opening], *, opened_at: datetime | None = None
) -> list[Answer[AccountDetails | Rejection]]:
    """Open the accounts of ``page`` in one transaction and return the answers, in order. They are opened now, or as if
    at ``opened_at``: what is made up begins when its story does, for nothing of an account lies before its first day.
    Their place in the order is that of now.

    ``page`` is not empty, holds at most ``identifiers.POSITIONS`` accounts, and all its keys belong to one ledger and
    one client. Every account has its decision, as if it had been opened alone (``accounts.create_account`` has
    the rules), so a page may be sent again, after any failure: what was done replays. Raises StorageError.
    """

    async def work(session: Session) -> list[Answer[AccountDetails | Rejection]]:
        try:
            async with session.begin_nested():
                return await _open_together(session, settings.policy, page, opened_at)
        except Exception as error:
            if violated_constraint(error) is None:
                raise
            # Another process has opened one of the accounts since we looked.
            return [await _open_alone(session, settings.policy, opening, opened_at) for opening in page]

    return await transactions.run(work)


async def _open_together(
    session: Session, policy: Policy, page: Sequence[Opening], opened_at: datetime | None
) -> list[Answer[AccountDetails | Rejection]]:
    """Decide the page on what stands now, then insert its new decisions and accounts, set by set.

    Each set goes in in the order of its unique key: pages that share lines wait for each other instead of
    deadlocking. Raises the driver's violation of a constraint when one of them was first.
    """
    repositories = Repositories(session)
    keys, ledger_id = [opening.key for opening in page], page[0].key.ledger_id
    moment = await lock_head(session, ledger_id, policy)
    behind = check_clock(moment)
    if behind is not None:
        tell_clock_behind(ledger_id, behind)
    new_ids = Identifiers(moment.place, partial(secrets.randbits, ENTROPY_BITS))
    known = await repositories.decisions.by_keys(ledger_id, keys[0].client_id, [key.idempotency_key for key in keys])
    references = await repositories.accounts.references_in_use(
        ledger_id, [opening.new.reference for opening in page if opening.new.reference is not None]
    )
    answers: list[Answer[AccountDetails | Rejection]] = []
    new_decisions: list[Decision] = []
    new_accounts: list[AccountDetails] = []
    new_entries: list[HistoryEntry] = []
    for key, new in ((opening.key, opening.new) for opening in page):
        replay = replayed(known.get(key.idempotency_key), key, AccountDetails)
        if replay is not None:
            answers.append(replay)
            continue
        if behind is not None:
            answers.append(Answer(behind))
            continue
        new_id = next(new_ids)
        built = build_account(new_id, key, new, moment, opened_at=opened_at)
        if new.reference in references and not isinstance(built, Rejection):
            built = rejections.ReferenceTaken(new.reference)
        if not isinstance(built, Rejection):
            new_accounts.append(built)
            new_entries.append(account_opened(key, new, built))
            if new.reference is not None:
                references.add(new.reference)
        else:
            new_entries.append(request_rejected(key, new_id, built, moment))
        known[key.idempotency_key] = Decision.on(key, built, moment.place)
        new_decisions.append(known[key.idempotency_key])
        answers.append(Answer(built))
    await repositories.decisions.add(new_decisions)
    await repositories.accounts.add(ledger_id, new_accounts)
    await repositories.history.add(new_entries)
    if new_decisions:
        await repositories.heads.advance(ledger_id, new_ids.place)
    return answers


async def _open_alone(
    session: Session, policy: Policy, opening: Opening, opened_at: datetime | None
) -> Answer[AccountDetails | Rejection]:
    """Open one account of a page by itself, so that what the database refuses concerns this line alone."""
    try:
        return await open_account(session, policy, opening.key, opening.new, opened_at=opened_at)
    except Exception as error:
        if violated_constraint(error) is None:
            raise
        return Answer(rejections.InternalError())
