"""Value dates: past or future, within a window that an installation sets; the time of posting never moves."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.conftest import Application, serving
from tests.api.ledger import JSON, Book, answer, item, pointers, problem
from tests.api.moves import capture, funded, open_hold, post_capture, post_reversal, reverse
from tests.servers import TestDatabase


def _days(count: float) -> str:
    return (datetime.now(UTC) + timedelta(days=count)).isoformat().replace("+00:00", "Z")


async def _post(book: Book, **members: Any) -> Any:
    return await book.post(await book.account(), await book.account(), **members)


async def _capture(book: Book, **members: Any) -> Any:
    return await post_capture(book, await open_hold(book, await book.account(), await book.account()), **members)


async def _reverse(book: Book, **members: Any) -> Any:
    return await post_reversal(book, await book.move(await book.account(), await book.account()), **members)


KINDS = [_post, _capture, _reverse]


@pytest.mark.parametrize("ask", KINDS)
@pytest.mark.parametrize("days", [-365.9, -1, 1, 365.9])
async def test_a_value_date_lies_in_the_past_or_the_future(book: Book, ask: Any, days: float) -> None:
    effective_at = _days(days)
    posted = answer(await ask(book, effective_at=effective_at))
    assert posted["effective_at"] == effective_at
    age = datetime.now(UTC) - datetime.fromisoformat(posted["created_at"])
    assert abs(age) < timedelta(minutes=1)


@pytest.mark.parametrize("ask", KINDS)
@pytest.mark.parametrize("days", [-366.1, 366.1])
async def test_a_value_date_has_its_limits(book: Book, ask: Any, days: float) -> None:
    effective_at = _days(days)
    refused = problem(await ask(book, effective_at=effective_at), 422, "time_out_of_range")
    assert (refused["field"], refused["value"]) == ("effective_at", effective_at)
    window = datetime.fromisoformat(refused["latest"]) - datetime.fromisoformat(refused["earliest"])
    assert window == timedelta(days=2 * 366)
    assert (effective_at < refused["earliest"]) == (days < 0)
    assert (effective_at > refused["latest"]) == (days > 0)


async def test_without_one_the_value_date_is_the_time_of_posting(book: Book, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(book, payer, payee)
    posted = await book.move(payer, payee)
    for made in (posted, await capture(book, hold), await reverse(book, posted)):
        assert made["effective_at"] == made["created_at"]


async def test_items_of_a_batch_have_theirs(book: Book, payer: JSON, payee: JSON) -> None:
    items = [item(payer, payee, effective_at=_days(days)) for days in (-10, -400, 10)]
    results = answer(await book.batch(*items))["results"]
    assert results[0]["transfer"]["effective_at"] == items[0]["effective_at"]
    assert results[1]["problem"]["code"] == "time_out_of_range"
    assert results[2]["transfer"]["effective_at"] == items[2]["effective_at"]


async def test_nobody_sets_the_time_of_posting(book: Book, payer: JSON, payee: JSON) -> None:
    assert pointers(await book.post(payer, payee, created_at=_days(0))) == ["/created_at"]


async def test_a_window_is_asked_before_the_accounts(book: Book, payer: JSON) -> None:
    problem(await book.post(payer, payer, effective_at=_days(-400)), 422, "same_account")
    missing = {"id": "00000000-0000-7000-8000-000000000000"}
    problem(await book.post(payer, missing, effective_at=_days(-400)), 422, "time_out_of_range")


@pytest.fixture
async def strict(test_database: TestDatabase) -> AsyncIterator[Application]:
    """An installation that lets value dates lie one day back and not ahead, and holds last a minute."""
    window = {"effective_past_days_max": 1, "effective_future_days_max": 0}
    async with serving(test_database, hold_seconds_default=3_600, hold_seconds_max=60, **window) as application:
        yield application


async def test_an_installation_sets_its_windows(strict: Application) -> None:
    async with strict.client(strict.settings.admin_token) as client:
        book = Book(client, "main")
        payer, payee = await funded(book, 10), await book.account()
        await book.move(payer, payee, effective_at=_days(-0.9))
        for days in (-1.1, 0.1):
            problem(await book.post(payer, payee, effective_at=_days(days)), 422, "time_out_of_range")
        hold = await open_hold(book, payer, payee)
        lasting = datetime.fromisoformat(hold["expires_at"]) - datetime.fromisoformat(hold["created_at"])
        assert lasting == timedelta(seconds=60), "what is usual is never more than what is allowed"
