"""A ledger whose last change is ahead of the database's clock, as callers see it."""

import asyncpg

from tests.api.moves import key_path, open_hold, post_capture, post_hold, post_reversal, post_void, read_key
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, problem, unique


async def set_ahead(application: Application, ledger: str | None, seconds: float) -> None:
    """Set the end of the order of ``ledger``, None for the installation's own, ahead of the clock."""
    connection = await asyncpg.connect(application.database.superuser_url)
    await connection.execute(
        "UPDATE funds.ledger_heads SET last_at = clock_timestamp() + $2 * interval '1 second'"
        " WHERE ledger_id = coalesce((SELECT id FROM funds.ledgers WHERE name = $1), 0)",
        ledger,
        seconds,
    )
    await connection.close()


async def test_every_request_that_writes_to_the_ledger_is_rejected_for_now(
    ledger: LedgerClient, application: Application, payer: JSON, payee: JSON
) -> None:
    posted = await ledger.move(payer, payee, 2)
    hold = await open_hold(ledger, payer, payee, 2)
    key, first = unique("key"), unique("first")
    await ledger.post(payer, payee, first)
    await set_ahead(application, ledger.name, 3_600)
    for response in (
        await ledger.post(payer, payee, key),
        await post_hold(ledger, payer, payee),
        await post_capture(ledger, hold),
        await post_void(ledger, hold),
        await post_reversal(ledger, posted),
        await ledger.revise(payer, name="new"),
        await ledger.client.post(ledger.accounts, json={"currency": "USD"}, headers=keyed()),
        await ledger.client.post(f"{key_path(ledger, unique('fence'))}/fence"),
    ):
        refused = problem(response, 503, "clock_behind")
        assert response.headers["Retry-After"]
        assert (refused["retryable"], refused["outcome"]) == (True, "not_applied")
        assert 3_500 < refused["ahead_seconds"] <= 3_600
    assert (await read_key(ledger, key))["outcome"] == "never_seen"
    replayed = await ledger.post(payer, payee, first)
    assert (replayed.status_code, replayed.headers["Idempotency-Replayed"]) == (201, "true")

    await set_ahead(application, ledger.name, 0)
    assert (await ledger.post(payer, payee, key)).status_code == 201


async def test_items_of_a_batch_are_rejected_for_now(
    ledger: LedgerClient, application: Application, payer: JSON, payee: JSON
) -> None:
    await set_ahead(application, ledger.name, 3_600)
    items = [item(payer, payee), item(payee, payer), item(payer, payee, group="g"), item(payee, payer, group="g")]
    response = await ledger.batch(*items)
    assert response.status_code == 207
    assert [one["status"] for one in answer(response)["results"]] == [503] * 4

    refused = problem(await ledger.batch(*items[:2], mode="atomic"), 503, "clock_behind")
    assert refused["retryable"] is True

    await set_ahead(application, ledger.name, 0)
    assert (await ledger.batch(*items)).status_code == 201


async def test_no_ledger_is_created_while_the_installations_own_order_is_ahead(
    ledger: LedgerClient, application: Application
) -> None:
    body, key = {"name": unique("ledger")}, keyed()
    await set_ahead(application, None, 3_600)
    try:
        problem(await ledger.client.post("/v1/ledgers", json=body, headers=key), 503, "clock_behind")
        assert (await ledger.client.post(ledger.accounts, json={"currency": "USD"}, headers=keyed())).status_code == 201
    finally:
        await set_ahead(application, None, 0)
    assert (await ledger.client.post("/v1/ledgers", json=body, headers=key)).status_code == 201
