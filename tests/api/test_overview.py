"""A ledger at a glance."""

from tests.support.http_ledger import LedgerClient, answer, problem, unique


async def test_an_empty_ledger(ledger: LedgerClient) -> None:
    assert answer(await ledger.client.get(f"{ledger.path}/overview")) == {
        "ledger": ledger.name,
        "account_counts": {},
        "account_counts_complete": True,
        "transfer_count": 0,
        "transfer_count_complete": True,
        "totals": [],
        "latest_transfers": [],
        "busiest_accounts": [],
    }


async def test_counts_totals_and_the_latest(ledger: LedgerClient) -> None:
    bank = await ledger.account(normal_side="debit", reference="bank")
    customer = await ledger.account(reference="customer", minimum_balance=0)
    euros = [await ledger.account(currency="EUR") for _ in range(2)]
    await ledger.revise(euros[1], status="frozen")
    posted = [await ledger.move(bank, customer, 100), await ledger.move(customer, bank, 30)]

    overview = answer(await ledger.client.get(f"{ledger.path}/overview"))
    assert overview["ledger"] == ledger.name
    assert overview["account_counts"] == {"open": 3, "frozen": 1}
    assert overview["transfer_count"] == 2
    assert overview["account_counts_complete"]
    assert overview["transfer_count_complete"]
    assert overview["latest_transfers"] == [posted[1], posted[0]]
    assert {one["id"]: one["recent_transfer_count"] for one in overview["busiest_accounts"]} == {
        bank["id"]: 2,
        customer["id"]: 2,
    }
    assert overview["totals"] == [
        {"currency": "EUR", "account_count": 2, "debits_posted": "0", "credits_posted": "0"},
        {"currency": "USD", "account_count": 2, "debits_posted": "130", "credits_posted": "130"},
    ]


async def test_totals_may_exceed_what_one_account_can_hold(ledger: LedgerClient) -> None:
    for _ in range(2):
        await ledger.move(await ledger.account(), await ledger.account(), 2**63 - 1)
    [total] = answer(await ledger.client.get(f"{ledger.path}/overview"))["totals"]
    assert total["debits_posted"] == total["credits_posted"] == str(2 * (2**63 - 1))


async def test_a_ledger_that_is_not_there(ledger: LedgerClient) -> None:
    problem(await ledger.client.get(f"/v1/ledgers/{unique('absent')}/overview"), 404, "ledger_not_found")
