"""Value dates: past or future, within a window that an installation sets; the time of posting never moves."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from tests.api.moves import (
    begin_earlier,
    capture,
    funded,
    open_hold,
    post_capture,
    post_reversal,
    read_hold,
    reverse,
)
from tests.support.application import Application, serving
from tests.support.http_ledger import JSON, LedgerClient, answer, item, pointers, problem
from tests.support.servers import TestDatabase


def _days(count: float) -> str:
    return (datetime.now(UTC) + timedelta(days=count)).isoformat().replace("+00:00", "Z")


Ask = Callable[..., Awaitable[httpx.Response]]


async def _post(ledger: LedgerClient) -> Ask:
    return partial(ledger.post, await ledger.account(), await ledger.account())


async def _capture(ledger: LedgerClient) -> Ask:
    return partial(post_capture, ledger, await open_hold(ledger, await ledger.account(), await ledger.account()))


async def _reverse(ledger: LedgerClient) -> Ask:
    return partial(post_reversal, ledger, await ledger.move(await ledger.account(), await ledger.account()))


KINDS = [_post, _capture, _reverse]
"""Each makes what is needed, and returns what asks for it to move."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("days", [-365.9, -1, 1, 365.9])
async def test_a_value_date_lies_in_the_past_or_the_future(
    ledger: LedgerClient, application: Application, kind: Any, days: float
) -> None:
    ask = await kind(ledger)
    await begin_earlier(ledger, application.database, 400)
    effective_at = _days(days)
    posted = answer(await ask(effective_at=effective_at))
    assert posted["effective_at"] == effective_at
    age = datetime.now(UTC) - datetime.fromisoformat(posted["created_at"])
    assert abs(age) < timedelta(minutes=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("days", [-366.1, 366.1])
async def test_a_value_date_has_its_limits(
    ledger: LedgerClient, application: Application, kind: Any, days: float
) -> None:
    ask = await kind(ledger)
    await begin_earlier(ledger, application.database, 400)
    effective_at = _days(days)
    refused = problem(await ask(effective_at=effective_at), 422, "time_out_of_range")
    assert (refused["field"], refused["value"]) == ("effective_at", effective_at)
    window = datetime.fromisoformat(refused["latest"]) - datetime.fromisoformat(refused["earliest"])
    assert window == timedelta(days=2 * 366)
    assert (effective_at < refused["earliest"]) == (days < 0)
    assert (effective_at > refused["latest"]) == (days > 0)


def _midnight(days: int = 0) -> datetime:
    return datetime.combine(datetime.now(UTC), time(), tzinfo=UTC) + timedelta(days=days)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("days", [-300, -1])
async def test_nothing_has_a_value_date_before_what_it_refers_to(ledger: LedgerClient, kind: Any, days: float) -> None:
    """Accounts, hold and transfer were made just now."""
    refused = problem(await (await kind(ledger))(effective_at=_days(days)), 422, "time_out_of_range")
    earliest = datetime.fromisoformat(refused["earliest"])
    assert earliest == _midnight() if kind is _post else datetime.now(UTC) - earliest < timedelta(minutes=1)
    assert (refused["field"], refused["outcome"]) == ("effective_at", "not_applied")


@pytest.mark.parametrize("newer", ["debit", "credit"])
async def test_a_transfer_is_possible_from_the_later_of_its_accounts_first_days(
    ledger: LedgerClient, application: Application, newer: str
) -> None:
    older = await ledger.account()
    await begin_earlier(ledger, application.database, 7)
    sides = (await ledger.account(), older) if newer == "debit" else (older, await ledger.account())
    await begin_earlier(ledger, application.database, 3)
    first = _midnight(-3)
    refused = problem(
        await ledger.post(*sides, effective_at=(first - timedelta(microseconds=1)).isoformat()),
        422,
        "time_out_of_range",
    )
    assert datetime.fromisoformat(refused["earliest"]) == first
    posted = await ledger.move(*sides, effective_at=refused["earliest"])
    assert posted["effective_at"] == refused["earliest"]


async def test_a_capture_is_possible_from_the_opening_of_its_hold(
    ledger: LedgerClient, application: Application, payer: JSON, payee: JSON
) -> None:
    hold = await open_hold(ledger, payer, payee)
    await begin_earlier(ledger, application.database, 5)
    opened_at = datetime.fromisoformat((await read_hold(ledger, hold))["created_at"])
    too_early = (opened_at - timedelta(microseconds=1)).isoformat()
    refused = problem(await post_capture(ledger, hold, effective_at=too_early), 422, "time_out_of_range")
    assert datetime.fromisoformat(refused["earliest"]) == opened_at
    made = await capture(ledger, hold, effective_at=refused["earliest"])
    assert datetime.fromisoformat(made["effective_at"]) == opened_at


@pytest.mark.parametrize("days", [-4, 4])
async def test_a_reversal_is_possible_from_the_value_date_of_its_transfer(
    ledger: LedgerClient, application: Application, payer: JSON, payee: JSON, days: float
) -> None:
    await begin_earlier(ledger, application.database, 10)
    value_date = datetime.now(UTC) + timedelta(days=days)
    posted = await ledger.move(payer, payee, 2, effective_at=value_date.isoformat())
    too_early = (value_date - timedelta(microseconds=1)).isoformat()
    refused = problem(await post_reversal(ledger, posted, effective_at=too_early), 422, "time_out_of_range")
    assert datetime.fromisoformat(refused["earliest"]) == value_date
    made = await reverse(ledger, posted, amount=1, effective_at=refused["earliest"])
    assert made["effective_at"] == posted["effective_at"]
    rest = await reverse(ledger, posted)
    assert rest["effective_at"] == (posted["effective_at"] if days > 0 else rest["created_at"])


async def test_without_one_the_value_date_is_the_time_of_posting(
    ledger: LedgerClient, payer: JSON, payee: JSON
) -> None:
    hold = await open_hold(ledger, payer, payee)
    posted = await ledger.move(payer, payee)
    for made in (posted, await capture(ledger, hold), await reverse(ledger, posted)):
        assert made["effective_at"] == made["created_at"]


async def test_items_of_a_batch_have_theirs(
    ledger: LedgerClient, application: Application, payer: JSON, payee: JSON
) -> None:
    await begin_earlier(ledger, application.database, 20)
    items = [item(payer, payee, effective_at=_days(days)) for days in (-10, -400, 10)]
    results = answer(await ledger.batch(*items))["results"]
    assert results[0]["transfer"]["effective_at"] == items[0]["effective_at"]
    assert results[1]["problem"]["code"] == "time_out_of_range"
    assert results[2]["transfer"]["effective_at"] == items[2]["effective_at"]


async def test_nobody_sets_the_time_of_posting(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    assert pointers(await ledger.post(payer, payee, created_at=_days(0))) == ["/created_at"]


async def test_a_value_date_is_asked_after_the_accounts(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    missing = {"id": "00000000-0000-7000-8000-000000000000"}
    problem(await ledger.post(payer, missing, effective_at=_days(-400)), 404, "account_not_found")
    problem(await ledger.post(payer, payee, effective_at=_days(-400), amount=101), 422, "time_out_of_range")


@pytest.fixture
async def strict(test_database: TestDatabase) -> AsyncIterator[Application]:
    """An installation that lets value dates lie one day back and not ahead, and holds last a minute."""
    window = {"effective_past_days_max": 1, "effective_future_days_max": 0}
    async with serving(test_database, hold_seconds_default=3_600, hold_seconds_max=60, **window) as application:
        yield application


async def test_an_installation_sets_its_windows(strict: Application) -> None:
    async with strict.client(strict.settings.admin_token) as client:
        ledger = LedgerClient(client, "main")
        payer, payee = await funded(ledger, 10), await ledger.account()
        await begin_earlier(ledger, strict.database, 3)
        await ledger.move(payer, payee, effective_at=_days(-0.9))
        for days in (-1.1, 0.1):
            problem(await ledger.post(payer, payee, effective_at=_days(days)), 422, "time_out_of_range")
        hold = await open_hold(ledger, payer, payee)
        lasting = datetime.fromisoformat(hold["expires_at"]) - datetime.fromisoformat(hold["created_at"])
        assert lasting == timedelta(seconds=60), "what is usual is never more than what is allowed"
