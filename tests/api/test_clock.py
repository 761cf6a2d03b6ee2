"""An account whose last change lies ahead of the database's clock, as its callers see it."""

import asyncpg

from tests.api.conftest import Application
from tests.api.ledger import JSON, Book, answer, item, problem, unique
from tests.api.moves import open_hold, post_capture, post_hold, post_reversal, post_void, read_key


async def set_ahead(application: Application, account: JSON, seconds: float) -> None:
    connection = await asyncpg.connect(application.database.superuser_url)
    await connection.execute(
        "UPDATE funds.accounts SET updated_at = clock_timestamp() + $2 * interval '1 second' WHERE id = $1::text::uuid",
        account["id"],
        seconds,
    )
    await connection.close()


async def test_every_request_that_changes_it_is_refused_for_now(
    book: Book, application: Application, payer: JSON, payee: JSON
) -> None:
    posted = await book.move(payer, payee, 2)
    hold = await open_hold(book, payer, payee, 2)
    key = unique("key")
    await set_ahead(application, payer, 3_600)
    for response in (
        await book.post(payer, payee, key),
        await post_hold(book, payer, payee),
        await post_capture(book, hold),
        await post_void(book, hold),
        await post_reversal(book, posted),
        await book.revise(payer, name="new"),
    ):
        refused = problem(response, 503, "clock_behind")
        assert response.headers["Retry-After"]
        assert (refused["retryable"], refused["outcome"], refused["account_id"]) == (True, "not_applied", payer["id"])
        assert 3_500 < refused["ahead_seconds"] <= 3_600
    assert (await read_key(book, key))["outcome"] == "never_seen"

    await set_ahead(application, payer, 0)
    assert (await book.post(payer, payee, key)).status_code == 201


async def test_items_of_a_batch_are_refused_for_now(
    book: Book, application: Application, payer: JSON, payee: JSON
) -> None:
    other = await book.account()
    await set_ahead(application, payer, 3_600)
    items = [item(payer, payee), item(payee, other), item(other, payee, group="g"), item(payer, other, group="g")]
    response = await book.batch(*items)
    assert response.status_code == 207
    assert [one["status"] for one in answer(response)["results"]] == [503, 201, 503, 503]

    refused = problem(await book.batch(*items[:2], mode="atomic"), 503, "clock_behind")
    assert (refused["account_id"], refused["retryable"]) == (payer["id"], True)

    await set_ahead(application, payer, 0)
    assert (await book.batch(*items)).status_code == 201
