"""Commands that change what transfers run on: new ledgers, new accounts, revisions of accounts.

Each has a database transaction of its own: they are rare, and none of them moves money.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from msgspec import structs

from service.domain import accounts, rejections
from service.domain.accounts import AccountDetails, AccountRevision, AccountStatus, NewAccount
from service.domain.checks import check_clock
from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.domain.decisions import Answer, Decision, Key
from service.domain.history import Caller, account_opened, account_revised, ledger_created, request_rejected
from service.domain.ledgers import NO_LEDGER, Ledger
from service.domain.order import Moment
from service.domain.policy import Policy
from service.domain.rejections import Rejection
from service.posting.batch import commit_batch
from service.posting.heads import lock_head, new_identifier, tell_clock_behind
from service.posting.once import decided_once, has_written, insert_with_decision
from service.posting.room import check_room, expiries, freed, until_there_is_room
from service.settings import Settings
from service.storage import constraints
from service.storage.database import Session
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions


async def create_ledger(
    transactions: Transactions, settings: Settings, key: Key, *, name: str, description: str | None
) -> Answer[Ledger | Rejection]:
    """Create the ledger called ``name``, with its head; rejected with reference_taken when another has the name."""

    async def work(session: Session) -> Answer[Ledger | Rejection]:
        repositories = Repositories(session)

        async def insert(ledger: Ledger) -> Ledger:
            added = await repositories.ledgers.add(ledger)
            await repositories.heads.add(added.id, added.created_at)
            histories = (NO_LEDGER, added.id)
            await repositories.history.add(
                ledger_created(key, history, new_identifier(ledger.created_at), ledger) for history in histories
            )
            return added

        async def decide(moment: Moment) -> Ledger | Rejection:
            ledger = Ledger(name=name, description=description, created_at=moment.place)
            taken = {constraints.UQ_LEDGERS_NAME: rejections.ReferenceTaken(name=name)}
            return await insert_with_decision(session, key, moment, ledger, insert, taken)

        return await decided_once(session, settings.policy, key, Ledger, decide)

    return await transactions.run(work, writes=has_written)


async def create_account(
    transactions: Transactions, settings: Settings, key: Key, new: NewAccount
) -> Answer[AccountDetails | Rejection]:
    """Open an account, or say in the order of ``rules.OPENING_RULES`` why not: balance_limit_exceeded for bounds that
    exclude the first balance of zero or each other, insufficient_funds for a minimum above zero.
    """
    return await transactions.run(lambda session: open_account(session, settings.policy, key, new), writes=has_written)


async def open_account(
    session: Session, policy: Policy, key: Key, new: NewAccount, *, opened_at: datetime | None = None
) -> Answer[AccountDetails | Rejection]:
    """Open one account, once under ``key``, in the transaction of ``session``; now, or as if at ``opened_at``."""

    async def insert(account: AccountDetails) -> AccountDetails:
        repositories = Repositories(session)
        await repositories.accounts.add(key.ledger_id, [account])
        await repositories.history.add([account_opened(key, new, account)])
        return account

    async def decide(moment: Moment) -> AccountDetails | Rejection:
        built = build_account(new_identifier(moment.place), key, new, moment, opened_at=opened_at)
        taken = {constraints.UQ_ACCOUNTS_REFERENCE: rejections.ReferenceTaken(new.reference or "")}
        return await insert_with_decision(session, key, moment, built, insert, taken)

    return await decided_once(session, policy, key, AccountDetails, decide)


def build_account(
    account_id: UUID, key: Key, new: NewAccount, moment: Moment, *, opened_at: datetime | None = None
) -> AccountDetails | Rejection:
    """Return an account to be opened at ``moment``, as if at ``opened_at`` if that is given, or the rejection as
    ``create_account`` orders them; whether its reference is taken is for the database to say.
    """
    account = AccountDetails(
        id=account_id,
        reference=new.reference,
        name=new.name,
        currency=new.currency,
        normal_side=new.normal_side,
        minimum_balance=new.minimum_balance,
        maximum_balance=new.maximum_balance,
        status=AccountStatus.OPEN.value,
        debits_posted=0,
        credits_posted=0,
        debits_held=0,
        credits_held=0,
        version=0,
        metadata=new.metadata,
        created_at=opened_at or moment.place,
        updated_at=moment.place,
        client_id=key.client_id,
        code=new.code,
    )
    if new.currency not in MINOR_UNIT_EXPONENTS:
        return rejections.CurrencyUnknown(new.currency)
    unbounded = structs.replace(account, minimum_balance=None, maximum_balance=None)
    revision = AccountRevision(minimum_balance=new.minimum_balance, maximum_balance=new.maximum_balance)
    return accounts.check_revision(unbounded, revision) or account


async def revise_account(
    transactions: Transactions,
    settings: Settings,
    author: Key | Caller,
    account_id: UUID,
    revision: AccountRevision,
    *,
    expected_tags: frozenset[str] | None,
) -> Answer[AccountDetails | Rejection]:
    """Change what ``revision`` sets, if the account's revision tag is among ``expected_tags`` (None: any).

    The row is locked as transfers lock it, so a revision and the transfers in flight see each other whole. Rejected in
    the order of ``rules.REVISION_RULES``, for now where the clock is behind. Under a key every answer but clock_behind
    is remembered. Without a key (for a Caller) none is, and a lost answer to COMMIT is not tried again (the tag would
    no longer match): StorageError then says that the outcome is unknown. Expired holds that are in its way (``room``)
    are expired before, in a transaction of their own.
    """
    free, ledger_id = set[UUID](), author.ledger_id
    key = author if isinstance(author, Key) else None

    async def attempt(in_the_way: Sequence[UUID], seconds_left: float) -> Answer[AccountDetails | Rejection]:
        front = expiries(in_the_way, free)
        if front:
            free.update(
                freed(
                    await commit_batch(transactions, settings, ledger_id, lambda: front, deadline_seconds=seconds_left)
                )
            )
        return await transactions.run(
            once,
            deadline_seconds=seconds_left,
            # A rejection that no key remembers changes nothing.
            writes=lambda answer: has_written(answer) if key is not None else not isinstance(answer.result, Rejection),
            again_in_doubt=key is not None,
        )

    async def once(session: Session) -> Answer[AccountDetails | Rejection]:
        revise = partial(_revise, session, settings, author, account_id, revision, expected_tags)
        if key is not None:
            return await decided_once(session, settings.policy, key, AccountDetails, revise)
        moment = await lock_head(session, ledger_id, settings.policy)
        behind = check_clock(moment)
        if behind is not None:
            tell_clock_behind(ledger_id, behind)
            return Answer(behind)
        revised = await revise(moment)
        if not isinstance(revised, Rejection):
            await Repositories(session).heads.advance(ledger_id, moment.place)
        return Answer(revised)

    return await until_there_is_room(attempt, deadline_seconds=transactions.deadline_seconds)


async def _revise(
    session: Session,
    settings: Settings,
    author: Key | Caller,
    account_id: UUID,
    revision: AccountRevision,
    expected_tags: frozenset[str] | None,
    moment: Moment,
) -> AccountDetails | Rejection:
    """Revise the account as ``revise_account`` says, in the transaction of ``session``, which holds the head."""
    repositories, ledger_id = Repositories(session), author.ledger_id
    found = await repositories.accounts.for_revision(ledger_id, account_id)
    result = _checked(found, account_id, revision, expected_tags)
    if isinstance(result, Rejection):
        short = result.short_of_room()
        await check_room(session, settings, ledger_id, [short] if short else [], known=())
    else:
        before, result = result, accounts.revised(result, revision, at=moment.place)
        await repositories.accounts.revise(ledger_id, result)
        await repositories.history.add(account_revised(author, new_identifier(moment.place), before, result))
    if isinstance(author, Key):
        await repositories.decisions.add([Decision.on(author, result, moment.place)])
        if isinstance(result, Rejection):
            await repositories.history.add([request_rejected(author, new_identifier(moment.place), result, moment)])
    return result


def _checked(
    account: AccountDetails | None, account_id: UUID, revision: AccountRevision, expected_tags: frozenset[str] | None
) -> AccountDetails | Rejection:
    """Return ``account``, of which ``revision`` can be made, or why it cannot."""
    if account is None:
        return rejections.AccountNotFound(account_id)
    if expected_tags is not None and accounts.revision_tag(account) not in expected_tags:
        return rejections.VersionMismatch(account_id)
    return accounts.check_revision(account, revision) or account
