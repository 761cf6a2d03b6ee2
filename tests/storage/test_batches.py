"""The database checks what a batch states of its accounts: that they exist, with that version and that currency."""

import secrets
from collections.abc import Callable
from functools import partial
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec import structs
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.batch_state import BatchState, Contents
from service.domain.executor import Executor
from service.domain.identifiers import ENTROPY_BITS, Identifiers
from service.domain.order import Moment
from service.domain.transfers import Transfer
from service.errors import UnexpectedRowCountError
from service.settings import Settings
from service.storage.group_commit.loading import load
from service.storage.group_commit.writing import BatchWriter
from tests.support.commands import transfer
from tests.support.domain_samples import NEW_ID, A
from tests.support.rows import MAIN, add_account, add_accounts

Fault = Callable[[BatchState], None]


def _changed(**changes: object) -> Fault:
    """A bug that writes a transfer with ``changes``, and counts as if it had not."""

    def apply(state: BatchState) -> None:
        state.new_transfers[0] = structs.replace(state.new_transfers[0], **changes)

    return apply


def _other_currency_of_both(state: BatchState) -> None:
    """A bug that takes both accounts to hold euros."""
    _changed(currency="EUR")(state)


def _not_counted(state: BatchState) -> None:
    state.touched_accounts.popitem()


def _counted_as_another_version(state: BatchState) -> None:
    account_id = next(iter(state.touched_accounts))
    state.touched_accounts[account_id] += 1


def _one_more_account(state: BatchState) -> None:
    """A bug that posts to an account that does not exist, and counts it."""
    missing = structs.replace(state.accounts[state.new_transfers[0].credit_account_id], id=A)
    state.accounts[A] = missing
    state.touched_accounts[A] = 0
    state.new_transfers.append(structs.replace(state.new_transfers[0], id=NEW_ID, credit_account_id=A))


def _two_currencies(state: BatchState) -> None:
    first = state.new_transfers[0]
    state.new_transfers.append(
        structs.replace(first, id=uuid4(), currency="EUR", debit_account_version=9, credit_account_version=9)
    )


@pytest.mark.parametrize(
    "fault",
    [
        _other_currency_of_both,
        _changed(credit_account_id=A),
        _changed(debit_account_id=A),
        _not_counted,
        _counted_as_another_version,
        _one_more_account,
        _two_currencies,
    ],
)
async def test_what_the_accounts_do_not_confirm_is_refused(
    shared_session: AsyncSession, superuser: asyncpg.Connection, fault: Fault
) -> None:
    state = await _decided(shared_session, *await add_accounts(superuser, 2))
    fault(state)
    with pytest.raises((AssertionError, UnexpectedRowCountError, asyncpg.IntegrityConstraintViolationError)):
        await _write(shared_session, state)


async def test_what_the_accounts_confirm_is_written(
    shared_session: AsyncSession, superuser: asyncpg.Connection
) -> None:
    """Without one of the faults above, the same batch is written."""
    await _write(shared_session, await _decided(shared_session, *await add_accounts(superuser, 2)))


async def test_accounts_of_another_currency_confirm_nothing(
    shared_session: AsyncSession, superuser: asyncpg.Connection
) -> None:
    """A bug that forgets to compare currencies is stopped by the database alone."""
    dollars, euros = await add_account(superuser), await add_account(superuser, currency="EUR")
    wish = transfer(dollars, euros)
    contents = await load(shared_session, MAIN, [wish])
    for account in contents.accounts:
        account.currency = "USD"
    executor = _executor(contents)
    [answer] = executor.execute([wish])
    assert isinstance(answer.result, Transfer)
    with pytest.raises(UnexpectedRowCountError, match="2 locked rows to write, the database says UPDATE 1"):
        await _write(shared_session, executor.state)


async def test_what_is_decided_while_writing_is_written_too(
    shared_session: AsyncSession, superuser: asyncpg.Connection
) -> None:
    a, b = await add_accounts(superuser, 2)
    wishes = [transfer(a, b) for _ in range(5)]
    executor = _executor(await load(shared_session, MAIN, wishes))
    state = executor.state

    async with BatchWriter(shared_session, MAIN) as writer:
        for wish in wishes:
            executor.execute([wish])
            await writer.write_transfers(state.take_transfers())
        await writer.write_changes(state, last_place=state.moment.place)

    again = await load(shared_session, MAIN, wishes)
    assert len(list(again.decisions)) == len(wishes)
    assert {account.version for account in again.accounts} == {len(wishes)}


async def _decided(session: AsyncSession, debit: UUID, credit: UUID) -> BatchState:
    wish = transfer(debit, credit)
    executor = _executor(await load(session, MAIN, [wish]))
    executor.execute([wish])
    return executor.state


def _executor(contents: Contents) -> Executor:
    moment = Moment(contents.clock, contents.clock, Settings().policy)
    return Executor(BatchState(contents, moment), Identifiers(moment.place, partial(secrets.randbits, ENTROPY_BITS)))


async def _write(session: AsyncSession, state: BatchState) -> None:
    async with BatchWriter(session, MAIN) as writer:
        await writer.write_transfers(state.take_transfers())
        await writer.write_changes(state, last_place=state.moment.place)
