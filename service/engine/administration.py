"""Commands that change what transfers run on: new ledgers, new accounts, revisions of accounts.

Each has a database transaction of its own: they are rare, and none of them moves money.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import accounts, rejections
from service.domain.accounts import AccountRevision, AccountStatus
from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.domain.holds import Hold
from service.domain.identifiers import ENTROPY_BITS, identifier
from service.domain.order import next_place
from service.domain.rejections import Rejection
from service.engine.room import check_room, expiries, still_held, until_there_is_room
from service.engine.settle import settle, tell_clock_behind
from service.settings import Settings
from service.storage import constraints, decisions
from service.storage.accounts import AccountRepository, details
from service.storage.database import Database
from service.storage.decisions import DecisionRepository, Key
from service.storage.errors import violated_constraint
from service.storage.models import Account, Base, Decision, Ledger
from service.storage.retry import run_with_retries

NO_LEDGER = 0
"""Decisions about ledgers themselves stand under this id, which no ledger has."""

_TWIN_TRIES = 3

M = TypeVar("M", bound=Base)


class Applied(Struct, Generic[M], frozen=True):
    """A row as the request left it, new or changed; ``replayed`` when an earlier one had done so."""

    row: M
    replayed: bool


class Refused(Struct, frozen=True):
    """A rejection on its way to the caller."""

    rejection: Rejection
    replayed: bool


class NewAccount(Struct, frozen=True, kw_only=True):
    """What a caller says of an account to be opened; bounds in minor units, None for no bound."""

    currency: str
    normal_side: str
    reference: str | None
    name: str | None
    minimum_balance: int | None
    maximum_balance: int | None
    metadata: dict[str, str]


async def create_ledger(
    database: Database, settings: Settings, key: Key, *, name: str, description: str | None
) -> Applied[Ledger] | Refused:
    """Create the ledger called ``name``; rejected with reference_taken when another has the name."""
    return await _once(
        database,
        settings,
        key,
        Ledger,
        lambda session: insert_with_decision(
            session,
            key,
            lambda now: Ledger(name=name, description=description, created_at=now),
            {constraints.UQ_LEDGERS_NAME: rejections.ledger_name_taken(name)},
        ),
    )


async def create_account(
    database: Database, settings: Settings, key: Key, new: NewAccount
) -> Applied[Account] | Refused:
    """Open an account. Rejected, in this order, with currency_unknown, balance_limit_exceeded (bounds that exclude
    the first balance of zero or each other), insufficient_funds (a minimum above zero), reference_taken.
    """
    account_id_entropy = secrets.randbits(ENTROPY_BITS)
    return await _once(
        database,
        settings,
        key,
        Account,
        lambda session: insert_with_decision(
            session,
            key,
            lambda now: build_account(key.ledger_id, identifier(now, 0, account_id_entropy), new, now),
            account_refusals(new),
        ),
    )


def build_account(ledger_id: int, account_id: UUID, new: NewAccount, now: datetime) -> Account | Rejection:
    """Return the row of an account to be opened at ``now``, or the rejection as ``create_account`` orders them; what
    the database alone can refuse is in ``account_refusals``.
    """
    account = Account(
        ledger_id=ledger_id,
        id=account_id,
        reference=new.reference,
        name=new.name,
        currency=new.currency,
        normal_side=new.normal_side,
        minimum_balance=new.minimum_balance,
        maximum_balance=new.maximum_balance,
        status=AccountStatus.OPEN,
        debits_posted=0,
        credits_posted=0,
        debits_held=0,
        credits_held=0,
        version=0,
        metadata_=new.metadata,
        created_at=now,
        updated_at=now,
    )
    if new.currency not in MINOR_UNIT_EXPONENTS:
        return rejections.currency_unknown(new.currency)
    unbounded = details(account)
    unbounded.minimum_balance = unbounded.maximum_balance = None
    revision = AccountRevision(minimum_balance=new.minimum_balance, maximum_balance=new.maximum_balance)
    return accounts.check_revision(unbounded, revision) or account


def account_refusals(new: NewAccount) -> Mapping[str, Rejection]:
    """Return which rejection the violation of which constraint means for an account to be opened."""
    return {constraints.UQ_ACCOUNTS_REFERENCE: rejections.reference_taken(new.reference or "")}


async def revise_account(
    database: Database,
    settings: Settings,
    ledger_id: int,
    account_id: UUID,
    revision: AccountRevision,
    *,
    expected_tags: frozenset[str] | None,
    key: Key | None = None,
) -> Applied[Account] | Refused:
    """Change what ``revision`` sets, if the account's revision tag is among ``expected_tags`` (None: any).

    The row is locked as transfers lock it, so a revision and the transfers in flight see each other whole. Rejected
    with account_not_found, for now with clock_behind, with version_mismatch, or as ``check_revision`` says. Under
    ``key`` every answer but clock_behind is remembered. Without a key none is, and a lost answer to COMMIT is not tried
    again (the tag would no longer match): StorageError then says that the outcome is unknown. Expired holds that are in
    its way (``room``) are expired before, in a transaction of their own, which locks accounts in the order of batches.
    """
    expired_count, stuck = 0, list[Hold]()

    async def attempt(in_the_way: Sequence[UUID], seconds_left: float) -> Applied[Account] | Refused:
        nonlocal expired_count, stuck
        if len(in_the_way) > expired_count:
            units = expiries(in_the_way[expired_count:])
            stuck += still_held(await settle(database, settings, ledger_id, units, deadline_seconds=seconds_left))
            expired_count = len(in_the_way)
        return await _once(database, settings, key, Account, partial(revise, in_the_way), deadline_seconds=seconds_left)

    async def revise(in_the_way: Sequence[UUID], session: AsyncSession) -> Account | Rejection:
        found = await AccountRepository(session).for_revision(ledger_id, account_id)
        clock = (await session.scalars(select(func.clock_timestamp()))).one()
        if found is not None and found.updated_at - clock > settings.policy.clock_ahead_max:
            tell_clock_behind(ledger_id, account_id, last_change=found.updated_at, clock=clock)
            return rejections.clock_behind(account_id, last_change=found.updated_at, clock=clock)
        account = _checked(found, account_id, revision, expected_tags)
        if isinstance(account, Rejection):
            short = rejections.short_of_room(account)
            await check_room(session, settings, ledger_id, [short] if short else [], known=in_the_way)
            if short is not None and stuck:
                return await _kept_by_clock(session, stuck[0], clock)
            if key is not None:
                session.add(decisions.rejected(key, account, clock))
            return account
        for name, value in revision.changes().items():
            setattr(account, "metadata_" if name == "metadata" else name, value)
        account.updated_at = next_place(account.updated_at, clock)
        if key is not None:
            session.add(decisions.applied(key, account, clock))
        return account

    return await until_there_is_room(attempt, deadline_seconds=settings.commit_deadline_seconds)


async def _kept_by_clock(session: AsyncSession, hold: Hold, clock: datetime) -> Rejection:
    """Return why ``hold``, which is past its time, cannot be freed now: one of its accounts is too far ahead."""
    sides = [hold.debit_account_id, hold.credit_account_id]
    accounts_of_it = await AccountRepository(session).by_ids(hold.ledger_id, sides)
    ahead = max(accounts_of_it, key=lambda account: account.updated_at)
    return rejections.clock_behind(ahead.id, last_change=ahead.updated_at, clock=clock)


def _checked(
    account: Account | None, account_id: UUID, revision: AccountRevision, expected_tags: frozenset[str] | None
) -> Account | Rejection:
    """Return ``account``, of which ``revision`` can be made, or why it cannot."""
    if account is None:
        return rejections.account_not_found(account_id)
    before = details(account)
    if expected_tags is not None and accounts.revision_tag(before) not in expected_tags:
        return rejections.version_mismatch(account_id)
    return accounts.check_revision(before, revision) or account


async def _once(
    database: Database,
    settings: Settings,
    key: Key | None,
    model: type[M],
    decide: Callable[[AsyncSession], Awaitable[M | Rejection]],
    *,
    deadline_seconds: float | None = None,
) -> Applied[M] | Refused:
    """Have ``decide`` change one row of ``model`` and add the decision of ``key``, in one transaction, exactly once,
    within ``deadline_seconds`` (``settings.commit_deadline_seconds`` by default).

    A twin of this request waits on the key, fails on it, and replays. Without a key nothing tells the next try what
    became of one whose COMMIT was sent, so there is none.
    """
    commit_sent = False

    async def attempt() -> Applied[M] | Refused:
        nonlocal commit_sent
        async with database.sessions() as session, session.begin():
            if key is not None:
                earlier = await DecisionRepository(session).by_key(key.ledger_id, key.client_id, key.idempotency_key)
                if earlier is not None:
                    return replay(earlier, key, model)
            decided = await decide(session)
            await session.flush()
            if not isinstance(decided, Rejection):
                # Before the COMMIT: the answer shows what this request made, and nothing can fail after it.
                await session.refresh(decided)
            # A refusal that no key remembers changes nothing.
            commit_sent = key is not None or not isinstance(decided, Rejection)
        return Refused(decided, replayed=False) if isinstance(decided, Rejection) else Applied(decided, replayed=False)

    for tries_left in reversed(range(_TWIN_TRIES)):
        try:
            return await run_with_retries(
                attempt,
                attempts_max=settings.commit_attempts_max,
                deadline_seconds=deadline_seconds or settings.commit_deadline_seconds,
                outcome_unknown=lambda: commit_sent,
                again_in_doubt=key is not None,
            )
        except IntegrityError as error:
            if violated_constraint(error) != constraints.PK_DECISIONS or not tries_left:
                raise
    raise AssertionError("unreachable")


async def insert_with_decision(
    session: AsyncSession, key: Key, build: Callable[[datetime], M | Rejection], refusals: Mapping[str, Rejection]
) -> M | Rejection:
    """Insert the row that ``build`` makes and its decision in a savepoint, or the decision that refuses it.

    Raises IntegrityError when a twin has taken the key (PK_DECISIONS), or for a constraint that ``refusals`` lacks.
    """
    now = (await session.scalars(select(func.clock_timestamp()))).one()
    built = build(now)
    if not isinstance(built, Rejection):
        try:
            async with session.begin_nested():
                session.add(decisions.applied(key, built, now))
                await session.flush()
                session.add(built)
        except IntegrityError as error:
            refusal = refusals.get(violated_constraint(error) or "")
            if refusal is None:
                raise
            built = refusal
    if isinstance(built, Rejection):
        session.add(decisions.rejected(key, built, now))
        await session.flush()
    return built


def replay(earlier: Decision, key: Key, model: type[M]) -> Applied[M] | Refused:
    """Answer the request of ``key`` from the decision that stands under it; another request's key is refused."""
    if earlier.outcome == "fenced":
        return Refused(rejections.key_fenced(key.idempotency_key, decisions.standing(earlier)), replayed=False)
    if earlier.fingerprint != key.fingerprint:
        refusal = rejections.idempotency_key_reused(key.idempotency_key, decisions.standing(earlier))
        return Refused(refusal, replayed=False)
    answer = decisions.answer(earlier, model)
    if isinstance(answer, Rejection):
        return Refused(answer, replayed=True)
    return Applied(answer, replayed=True)
