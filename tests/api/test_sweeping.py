"""The sweeper: what expired holds reserved is free within a second."""

from datetime import datetime, timedelta

import pytest

from tests.api.conftest import Application
from tests.api.ledger import JSON, Book
from tests.api.moves import capture, expire, freed, held, open_hold

# What a hold may wait for the sweeper: its interval is a quarter of it.
FREED_SECONDS_MAX = 1.0


@pytest.mark.parametrize("captured", [0, 10])
async def test_the_sweeper_frees_an_expired_hold_within_a_second(
    application: Application, book: Book, payer: JSON, payee: JSON, captured: int
) -> None:
    hold = await open_hold(book, payer, payee, 30)
    if captured:
        await capture(book, hold, amount=captured, final=False)
    passed = await expire(book, application.database, hold)
    ended = await freed(book, hold)
    payer, payee = await book.read_account(payer), await book.read_account(payee)
    assert ended == passed | {
        "status": "expired",
        "closed_at": ended["closed_at"],
        "closed_debit_account_version": payer["version"],
        "closed_credit_account_version": payee["version"],
    }
    lateness = datetime.fromisoformat(ended["closed_at"]) - datetime.fromisoformat(passed["expires_at"])
    assert timedelta(0) <= lateness < timedelta(seconds=FREED_SECONDS_MAX)
    assert held(payer) == (100 - captured, 100 - captured, 0, 0)
    assert held(payee) == (captured, captured, 0, 0)
    await book.move(payer, payee, 100 - captured)


async def test_a_hold_ends_by_itself(book: Book, payer: JSON, payee: JSON) -> None:
    """As short as a caller may ask for."""
    hold = await open_hold(book, payer, payee, 30, expires_in_seconds=1)
    ended = await freed(book, hold)
    assert ended["status"] == "expired"
    assert hold["expires_at"] <= ended["closed_at"]
