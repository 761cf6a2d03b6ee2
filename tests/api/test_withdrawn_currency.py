"""A currency that ISO 4217 withdraws: no new account is opened in it, and the existing ones go on working."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from service.domain.currencies import MINOR_UNIT_EXPONENTS
from tests.api.moves import capture, open_hold, post_hold, reverse, void
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, item, problem
from tests.support.invariants import assert_ledger_is_sound

WITHDRAWN = "DEM"

Opened = Callable[..., Awaitable[JSON]]


@pytest.fixture
async def opened(ledger: LedgerClient, application: Application) -> Opened:
    """Accounts that were opened while the list still had their currency."""

    async def open_account(**members: object) -> JSON:
        account = await ledger.account(**members)
        connection = await asyncpg.connect(application.database.superuser_url)
        await connection.execute(
            "UPDATE funds.accounts SET currency = $2 WHERE id = $1::text::uuid", account["id"], WITHDRAWN
        )
        await connection.close()
        return await ledger.read_account(account)

    return open_account


def test_the_list_does_not_have_it() -> None:
    assert WITHDRAWN not in MINOR_UNIT_EXPONENTS


async def test_no_account_is_opened_in_it(ledger: LedgerClient) -> None:
    response = await ledger.client.post(ledger.accounts, json={"currency": WITHDRAWN}, headers={"Idempotency-Key": "k"})
    problem(response, 422, "currency_unknown")


async def test_its_accounts_can_do_all_that_others_can(
    ledger: LedgerClient, opened: Opened, application: Application
) -> None:
    cash, payer, payee = await opened(normal_side="debit"), await opened(minimum_balance=0), await opened()
    posted = await ledger.move(cash, payer, 100, currency=WITHDRAWN)
    await reverse(ledger, posted, amount=10)
    hold = await open_hold(ledger, payer, payee, 30, currency=WITHDRAWN)
    await capture(ledger, hold, amount=20)
    await void(ledger, await open_hold(ledger, payer, payee, 5, currency=WITHDRAWN))
    batch = await ledger.batch(
        item(payer, payee, amount=7, currency=WITHDRAWN, group="g"),
        item(payee, payer, amount=7, currency=WITHDRAWN, group="g"),
    )
    assert batch.status_code == 201, batch.text
    foretold = await ledger.client.post(
        f"{ledger.transfers}?dry_run=true",
        json={
            "debit_account_id": payer["id"],
            "credit_account_id": payee["id"],
            "amount": 1,
            "currency": WITHDRAWN,
        },
    )
    assert foretold.status_code == 200, foretold.text
    last = await ledger.move(payer, payee, {"at_most": 1_000}, currency=WITHDRAWN)  # type: ignore[arg-type]
    assert last["amount"] == 70
    assert (await ledger.revise(payer, status="closed")).status_code == 200
    listed = answer(await ledger.client.get(ledger.accounts, params={"currency": WITHDRAWN}))["items"]
    assert {one["id"] for one in listed} == {cash["id"], payer["id"], payee["id"]}
    await assert_ledger_is_sound(application.database.superuser_url, ledgers=[ledger.name])


@pytest.mark.parametrize("named", [WITHDRAWN, "XAU", "ZZZ"])
async def test_a_currency_that_no_account_holds_differs_from_the_accounts(
    ledger: LedgerClient, payer: JSON, named: str
) -> None:
    """Whether the currency exists is not checked: the answer names the account's currency."""
    payee = await ledger.account()
    for response in (
        await ledger.post(payer, payee, currency=named),
        await post_hold(ledger, payer, payee, currency=named),
    ):
        refused = problem(response, 422, "currency_mismatch")
        explanation = {"account_id": payer["id"], "account_currency": "USD", "currency": named}
        assert refused | explanation == refused
