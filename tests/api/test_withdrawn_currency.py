"""A currency that ISO 4217 withdraws: no account is opened in it any more, and all that there are work on."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from service.domain.currencies import MINOR_UNIT_EXPONENTS
from tests.api.conftest import Application
from tests.api.ledger import JSON, Book, answer, item, problem
from tests.api.moves import capture, open_hold, post_hold, reverse, void
from tests.concurrency.invariants import assert_ledger_is_sound

WITHDRAWN = "DEM"

Opened = Callable[..., Awaitable[JSON]]


@pytest.fixture
async def opened(book: Book, application: Application) -> Opened:
    """Accounts that were opened while the list still had their currency."""

    async def open_account(**members: object) -> JSON:
        account = await book.account(**members)
        connection = await asyncpg.connect(application.database.superuser_url)
        await connection.execute(
            "UPDATE funds.accounts SET currency = $2 WHERE id = $1::text::uuid", account["id"], WITHDRAWN
        )
        await connection.close()
        return await book.read_account(account)

    return open_account


def test_the_list_does_not_have_it() -> None:
    assert WITHDRAWN not in MINOR_UNIT_EXPONENTS


async def test_no_account_is_opened_in_it(book: Book) -> None:
    response = await book.client.post(book.accounts, json={"currency": WITHDRAWN}, headers={"Idempotency-Key": "k"})
    problem(response, 422, "currency_unknown")


async def test_its_accounts_can_do_all_that_others_can(book: Book, opened: Opened, application: Application) -> None:
    cash, payer, payee = await opened(normal_side="debit"), await opened(minimum_balance=0), await opened()
    posted = await book.move(cash, payer, 100, currency=WITHDRAWN)
    await reverse(book, posted, amount=10)
    hold = await open_hold(book, payer, payee, 30, currency=WITHDRAWN)
    await capture(book, hold, amount=20)
    await void(book, await open_hold(book, payer, payee, 5, currency=WITHDRAWN))
    batch = await book.batch(
        item(payer, payee, amount=7, currency=WITHDRAWN, group="g"),
        item(payee, payer, amount=7, currency=WITHDRAWN, group="g"),
    )
    assert batch.status_code == 201, batch.text
    rehearsed = await book.client.post(
        f"{book.transfers}?dry_run=true",
        json={
            "debit_account_id": payer["id"],
            "credit_account_id": payee["id"],
            "amount": 1,
            "currency": WITHDRAWN,
        },
    )
    assert rehearsed.status_code == 200, rehearsed.text
    last = await book.move(payer, payee, {"at_most": 1_000}, currency=WITHDRAWN)  # type: ignore[arg-type]
    assert last["amount"] == 70
    assert (await book.revise(payer, status="closed")).status_code == 200
    listed = answer(await book.client.get(book.accounts, params={"currency": WITHDRAWN}))["items"]
    assert {one["id"] for one in listed} == {cash["id"], payer["id"], payee["id"]}
    await assert_ledger_is_sound(application.database.superuser_url, ledgers=[book.name])


@pytest.mark.parametrize("named", [WITHDRAWN, "XAU", "ZZZ"])
async def test_a_currency_that_no_account_holds_differs_from_the_accounts(book: Book, payer: JSON, named: str) -> None:
    """Whether there is such a currency is not asked: the answer names what the account holds."""
    payee = await book.account()
    for response in (
        await book.post(payer, payee, currency=named),
        await post_hold(book, payer, payee, currency=named),
    ):
        refused = problem(response, 422, "currency_mismatch")
        explanation = {"account_id": payer["id"], "account_currency": "USD", "currency": named}
        assert refused | explanation == refused
