"""The database proves what a batch says of its accounts: that they exist, in that version and in that currency."""

from collections.abc import Callable
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec import structs
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.book import Book
from service.domain.transfers import Transfer
from service.settings import Settings
from service.storage.batches import SLICE, Batch
from tests.domain.samples import NEW_ID, A
from tests.engine.commands import transfer
from tests.rows import MAIN, add_account, add_accounts

Fault = Callable[[Book], None]


def _changed(**changes: object) -> Fault:
    """A bug that writes a transfer with ``changes``, and counts as if it had not."""

    def apply(book: Book) -> None:
        book.new_transfers[0] = structs.replace(book.new_transfers[0], **changes)

    return apply


def _other_currency_of_both(book: Book) -> None:
    """A bug for which no account has to agree with anything: both of them are taken to hold euros."""
    _changed(currency="EUR")(book)


def _not_counted(book: Book) -> None:
    book.touched_accounts.popitem()


def _counted_as_another_version(book: Book) -> None:
    account_id = next(iter(book.touched_accounts))
    book.touched_accounts[account_id] += 1


def _one_more_account(book: Book) -> None:
    """A bug that posts to an account that nobody has, and counts it."""
    missing = structs.replace(book.accounts[book.new_transfers[0].credit_account_id], id=A)
    book.accounts[A] = missing
    book.touched_accounts[A] = 0
    book.new_transfers.append(structs.replace(book.new_transfers[0], id=NEW_ID, credit_account_id=A))


def _two_currencies(book: Book) -> None:
    first = book.new_transfers[0]
    book.new_transfers.append(
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
async def test_what_the_accounts_do_not_bear_out_is_refused(
    shared_session: AsyncSession, outsider: asyncpg.Connection, fault: Fault
) -> None:
    book, batch = await _decided(shared_session, *await add_accounts(outsider, 2))
    fault(book)
    with pytest.raises((AssertionError, asyncpg.IntegrityConstraintViolationError)):
        await batch.store(book, iter(()))


async def test_what_they_bear_out_is_written(shared_session: AsyncSession, outsider: asyncpg.Connection) -> None:
    """The faults above are refused for what they are."""
    book, batch = await _decided(shared_session, *await add_accounts(outsider, 2))
    await batch.store(book, iter(()))


async def test_accounts_of_another_currency_bear_out_nothing(
    shared_session: AsyncSession, outsider: asyncpg.Connection
) -> None:
    """A bug that forgets to compare currencies is stopped by the database alone."""
    dollars, euros = await add_account(outsider), await add_account(outsider, currency="EUR")
    batch = Batch(shared_session, MAIN)
    wish = transfer(dollars, euros)
    contents = await batch.load([wish])
    for account in contents.accounts:
        account.currency = "USD"
    book = Book(contents, Settings().policy)
    [answer] = book.execute([wish], iter([uuid4()]))
    assert isinstance(answer.outcome, Transfer)
    with pytest.raises(AssertionError, match="2 locked rows to write, the database says UPDATE 1"):
        await batch.store(book, iter(()))


async def test_what_is_decided_while_writing_is_written_too(
    shared_session: AsyncSession, outsider: asyncpg.Connection
) -> None:
    a, b = await add_accounts(outsider, 2)
    batch = Batch(shared_session, MAIN)
    wishes = [transfer(a, b) for _ in range(2 * SLICE + 1)]
    book = Book(await batch.load(wishes), Settings().policy)
    new_ids = iter([uuid4() for _ in wishes])

    await batch.store(book, (book.execute([wish], new_ids) for wish in wishes))

    again = await batch.load(wishes)
    assert len(list(again.decisions)) == len(wishes)
    assert {account.version for account in again.accounts} == {len(wishes)}


async def _decided(session: AsyncSession, debit: UUID, credit: UUID) -> tuple[Book, Batch]:
    batch = Batch(session, MAIN)
    wish = transfer(debit, credit)
    book = Book(await batch.load([wish]), Settings().policy)
    book.execute([wish], iter([uuid4()]))
    return book, batch
