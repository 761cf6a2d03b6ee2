"""Foreign exchange: a group of two transfers over a liquidity account per currency, all or nothing.

Anna sells 100.00 EUR for 108.50 USD: her euros go to the bank's euro position, the bank's dollars come from its dollar
position. No transfer knows two currencies, the rate is what the two amounts say, and neither happens without the other.
"""

from typing import Any

import pytest

from tests.api.moves import capture, funded, held, post_reversal
from tests.support.http_ledger import JSON, LedgerClient, answer, item, problem

EUR, USD = 100_00, 108_50


class Desk:
    """A bank that changes euros and dollars, and a customer with an account in each."""

    def __init__(self, ledger: LedgerClient, accounts: dict[str, JSON]) -> None:
        self.ledger = ledger
        self.accounts = accounts

    def exchange(self, *, eur: int = EUR, usd: int = USD, **members: Any) -> list[JSON]:
        """Return the items of one exchange, euros first."""
        euros, dollars = self.accounts["anna's euros"], self.accounts["anna's dollars"]
        shared = {"group": "exchange", "reference": "fx-1", "metadata": {"rate": "1.085"}} | members
        return [
            item(euros, self.accounts["euro position"], amount=eur, currency="EUR", **shared),
            item(self.accounts["dollar position"], dollars, amount=usd, **shared),
        ]

    async def balances(self) -> dict[str, int]:
        return {name: (await self.ledger.read_account(one))["balance"] for name, one in self.accounts.items()}


@pytest.fixture
async def desk(ledger: LedgerClient) -> Desk:
    """The bank's positions may not run dry; Anna has 100.00 EUR."""
    capital = await ledger.account(currency="EUR")
    euros = await ledger.account(currency="EUR", minimum_balance=0)
    await ledger.move(capital, euros, EUR, currency="EUR")
    return Desk(
        ledger,
        {
            "anna's euros": euros,
            "anna's dollars": await ledger.account(minimum_balance=0),
            "euro position": await ledger.account(currency="EUR"),
            "dollar position": await funded(ledger, 1_000_00),
        },
    )


BEFORE = {"anna's euros": EUR, "anna's dollars": 0, "euro position": 0, "dollar position": 1_000_00}
AFTER = {"anna's euros": 0, "anna's dollars": USD, "euro position": EUR, "dollar position": 1_000_00 - USD}


async def test_both_sides_of_an_exchange_are_posted_together(desk: Desk) -> None:
    response = await desk.ledger.batch(*desk.exchange())
    assert response.status_code == 201
    sold, bought = (result["transfer"] for result in answer(response)["results"])
    assert await desk.balances() == AFTER
    assert (sold["currency"], sold["amount"], bought["currency"], bought["amount"]) == ("EUR", EUR, "USD", USD)
    assert sold["group_id"] == bought["group_id"] is not None
    assert sold["created_at"] == bought["created_at"]


@pytest.mark.parametrize(
    ("amounts", "refused"), [({"eur": EUR + 1}, 0), ({"usd": 1_000_01}, 1)], ids=["customer short", "bank short"]
)
async def test_neither_side_is_posted_alone(desk: Desk, amounts: dict[str, int], refused: int) -> None:
    response = await desk.ledger.batch(*desk.exchange(**amounts))
    assert response.status_code == 207
    codes = [result["problem"]["code"] for result in answer(response)["results"]]
    assert (codes[refused], codes[1 - refused]) == ("insufficient_funds", "batch_rejected")
    assert await desk.balances() == BEFORE


async def test_an_exchange_is_atomic_by_itself_too(desk: Desk) -> None:
    items = [one | {"group": None} for one in desk.exchange(usd=1_000_01)]
    problem(await desk.ledger.batch(*items, mode="atomic"), 422, "batch_rejected")
    assert await desk.balances() == BEFORE


async def test_no_single_transfer_changes_currencies(desk: Desk) -> None:
    euros, dollars = desk.accounts["anna's euros"], desk.accounts["anna's dollars"]
    problem(await desk.ledger.post(euros, dollars, amount=EUR, currency="EUR"), 422, "currency_mismatch")


async def test_a_rate_is_held_until_the_customer_agrees(desk: Desk) -> None:
    """Both sides are reserved together, then captured: the bank's dollars cannot be sold twice meanwhile."""
    response = await desk.ledger.batch(*desk.exchange(hold={"expires_in_seconds": 60}))
    holds = [result["hold"] for result in answer(response)["results"]]
    assert held(await desk.ledger.read_account(desk.accounts["dollar position"]))[1] == 1_000_00 - USD
    assert await desk.balances() == BEFORE
    for hold in holds:
        await capture(desk.ledger, hold)
    assert await desk.balances() == AFTER


async def test_each_side_can_be_reversed(desk: Desk) -> None:
    results = answer(await desk.ledger.batch(*desk.exchange()))["results"]
    for result in results:
        assert (await post_reversal(desk.ledger, result["transfer"])).status_code == 201
    assert await desk.balances() == BEFORE
