"""Accounts: opened, read, listed, revised under If-Match, closed."""

from itertools import groupby
from uuid import uuid4

import pytest

from service.domain.rules import OPENING_RULES
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, problem, unique

INT64_MAX = 2**63 - 1
ALL_MEMBERS: JSON = {
    "currency": "JPY",
    "reference": "customer-1",
    "code": "2000:customers:1",
    "name": "Ada",
    "normal_side": "debit",
    "minimum_balance": -100,
    "maximum_balance": 1_000,
    "metadata": {"branch": "7"},
}


async def test_an_account_of_which_little_is_said(ledger: LedgerClient) -> None:
    account = await ledger.account()
    assert account | {"id": "", "created_at": "", "updated_at": ""} == {
        "id": "",
        "ledger": ledger.name,
        "reference": None,
        "code": None,
        "name": None,
        "currency": "USD",
        "normal_side": "credit",
        "minimum_balance": None,
        "maximum_balance": None,
        "status": "open",
        "debits_posted": 0,
        "credits_posted": 0,
        "debits_held": 0,
        "credits_held": 0,
        "balance": 0,
        "available_balance": 0,
        "version": 0,
        "metadata": {},
        "client": "admin",
        "created_at": "",
        "updated_at": "",
    }
    assert account["created_at"] == account["updated_at"]


async def test_an_account_of_which_all_is_said(ledger: LedgerClient) -> None:
    account = await ledger.account(**ALL_MEMBERS)
    assert account | ALL_MEMBERS == account
    assert await ledger.read_account(account) == account


async def test_location_leads_to_the_account_and_the_tag_is_the_same(ledger: LedgerClient) -> None:
    response = await ledger.client.post(ledger.accounts, json={"currency": "USD"}, headers=keyed())
    read = await ledger.client.get(response.headers["Location"])
    assert read.json() == response.json()
    assert read.headers["ETag"] == response.headers["ETag"]


@pytest.mark.parametrize("currency", ["JPY", "KWD", "CLF"])
async def test_currencies_of_any_exponent(ledger: LedgerClient, currency: str) -> None:
    assert (await ledger.account(currency=currency))["currency"] == currency


# In the order of the rules; each body also breaks all later rules.
REFUSED = [
    ("currency_unknown", 422, {"currency": "XXX", "minimum_balance": 1, "maximum_balance": 0, "reference": "taken"}),
    ("currency_unknown", 422, {"currency": "ZZZ"}),
    ("balance_limit_exceeded", 422, {"minimum_balance": 1, "maximum_balance": 0, "reference": "taken"}),
    ("insufficient_funds", 422, {"minimum_balance": 1, "reference": "taken"}),
    ("balance_limit_exceeded", 422, {"maximum_balance": -1, "reference": "taken"}),
    ("reference_taken", 409, {"reference": "taken"}),
]


def test_every_rule_of_openings_is_broken_in_its_order() -> None:
    assert [code for code, _ in groupby(code for code, *_ in REFUSED)] == [rule.code for rule in OPENING_RULES]


@pytest.mark.parametrize(("code", "status", "members"), REFUSED)
async def test_an_account_that_cannot_be_opened(ledger: LedgerClient, code: str, status: int, members: JSON) -> None:
    taken = await ledger.account(reference="taken")
    response = await ledger.client.post(ledger.accounts, json={"currency": "USD"} | members, headers=keyed())
    assert problem(response, status, code)["outcome"] == "not_applied"
    assert [one["id"] for one in answer(await ledger.client.get(ledger.accounts))["items"]] == [taken["id"]]


async def test_a_reference_is_free_in_another_ledger(ledger: LedgerClient) -> None:
    other = await LedgerClient.open(ledger.client, unique("other"))
    await ledger.account(reference="mine")
    assert (await other.account(reference="mine"))["reference"] == "mine"


@pytest.mark.parametrize("query", ["", "?expand=transfers"])
async def test_an_account_is_found_in_its_own_ledger_only(ledger: LedgerClient, query: str) -> None:
    other = await LedgerClient.open(ledger.client, unique("other"))
    foreign = await other.account()
    for account_id in (foreign["id"], str(uuid4())):
        response = await ledger.client.get(f"{ledger.accounts}/{account_id}{query}")
        assert problem(response, 404, "account_not_found")["account_id"] == account_id
        response = await ledger.revise({"id": account_id}, name="n")
        assert problem(response, 404, "account_not_found")["account_id"] == account_id


async def test_expand_shows_recent_transfers_newest_first_with_their_accounts(ledger: LedgerClient) -> None:
    account, other = await ledger.account(), await ledger.account()
    posted = [await ledger.move(account, other), await ledger.move(other, account)]
    read = answer(await ledger.client.get(f"{ledger.accounts}/{account['id']}?expand=transfers"))
    shown = read.pop("transfers")
    assert read == await ledger.read_account(account)
    assert [one["id"] for one in shown] == [one["id"] for one in reversed(posted)]
    assert [one["debit_account"]["id"] for one in shown] == [other["id"], account["id"]]
    assert [one["credit_account"]["id"] for one in shown] == [account["id"], other["id"]]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"name": "New"},
        {"name": None},
        {"code": "3000"},
        {"code": None},
        {"metadata": {"a": "b"}},
        {"metadata": {}},
        {"minimum_balance": -5, "maximum_balance": 5},
        {"minimum_balance": None, "maximum_balance": None},
        {"minimum_balance": -INT64_MAX, "maximum_balance": INT64_MAX},
        {"status": "frozen"},
        {"status": "closed"},
    ],
    ids=str,
)
async def test_a_revision_changes_what_it_says_and_nothing_else(ledger: LedgerClient, change: JSON) -> None:
    account = await ledger.account(**ALL_MEMBERS)
    revised = answer(await ledger.revise(account, **change))
    assert revised == account | change | {"updated_at": revised["updated_at"]}
    assert revised["updated_at"] > account["updated_at"]
    assert await ledger.read_account(account) == revised


async def test_a_frozen_account_opens_again(ledger: LedgerClient) -> None:
    account, other = await ledger.account(), await ledger.account()
    await ledger.revise(account, status="frozen")
    problem(await ledger.post(account, other), 409, "account_frozen")
    await ledger.revise(account, status="open")
    await ledger.move(account, other)


async def test_a_closed_account_never_changes_again(ledger: LedgerClient) -> None:
    account = await ledger.account()
    await ledger.revise(account, status="closed")
    for change in ({"status": "open"}, {"name": "n"}, {}):
        problem(await ledger.revise(account, **change), 409, "account_closed")


async def test_only_an_empty_account_closes(ledger: LedgerClient) -> None:
    account, other = await ledger.account(), await ledger.account()
    await ledger.move(account, other, 3)
    refused = problem(await ledger.revise(account, status="closed"), 409, "account_not_empty")
    assert (refused["account_id"], refused["balance"]) == (account["id"], -3)
    await ledger.move(other, account, 3)
    assert (await ledger.revise(account, status="closed")).status_code == 200


@pytest.mark.parametrize(
    ("change", "code", "explanation"),
    [
        ({"minimum_balance": 11, "maximum_balance": 10}, "balance_limit_exceeded", {"minimum_balance": 11}),
        ({"minimum_balance": 11}, "insufficient_funds", {"available_balance": 10, "shortfall": 1}),
        ({"maximum_balance": 9}, "balance_limit_exceeded", {"balance": 10, "maximum_balance": 9}),
    ],
)
async def test_bounds_must_hold_when_they_are_set(
    ledger: LedgerClient, change: JSON, code: str, explanation: JSON
) -> None:
    account, source = await ledger.account(), await ledger.account()
    await ledger.move(source, account, 10)
    refused = problem(await ledger.revise(account, **change), 422, code)
    assert refused | explanation == refused
    assert (await ledger.revise(account, minimum_balance=10, maximum_balance=10)).status_code == 200


async def test_a_new_bound_meets_the_one_that_stands(ledger: LedgerClient) -> None:
    account = await ledger.account(maximum_balance=0)
    problem(await ledger.revise(account, minimum_balance=1), 422, "balance_limit_exceeded")


async def test_a_revision_needs_the_tag_of_the_state_it_changes(ledger: LedgerClient) -> None:
    account = await ledger.account()
    path = f"{ledger.accounts}/{account['id']}"
    before = (await ledger.client.get(path)).headers["ETag"]

    revised = await ledger.revise(account, if_match=before, name="first")
    after = revised.headers["ETag"]
    assert after != before
    assert (await ledger.client.get(path)).headers["ETag"] == after

    refused = problem(await ledger.revise(account, if_match=before, name="second"), 412, "version_mismatch")
    assert refused["account_id"] == account["id"]
    assert (await ledger.read_account(account))["name"] == "first"
    assert (await ledger.revise(account, if_match=f'"other", {after}', name="second")).status_code == 200


async def test_a_revision_without_if_match(ledger: LedgerClient) -> None:
    account = await ledger.account()
    problem(await ledger.revise(account, if_match=None, name="n"), 428, "precondition_required")
    assert await ledger.read_account(account) == account


async def test_transfers_leave_the_tag_as_it_is(ledger: LedgerClient) -> None:
    account, other = await ledger.account(), await ledger.account()
    path = f"{ledger.accounts}/{account['id']}"
    before = (await ledger.client.get(path)).headers["ETag"]
    await ledger.move(account, other)
    assert (await ledger.client.get(path)).headers["ETag"] == before
    assert (await ledger.revise(account, if_match=before, name="busy")).status_code == 200


async def test_lists_filter_by_currency_status_and_reference(ledger: LedgerClient) -> None:
    plain = await ledger.account(reference="plain")
    yen = await ledger.account(currency="JPY")
    frozen = await ledger.account(currency="JPY", reference="cold")
    await ledger.revise(frozen, status="frozen")

    async def listed(query: str) -> list[str]:
        return [one["id"] for one in answer(await ledger.client.get(f"{ledger.accounts}?{query}"))["items"]]

    assert await listed("") == [frozen["id"], yen["id"], plain["id"]]
    assert await listed("currency=JPY") == [frozen["id"], yen["id"]]
    assert await listed("status=open") == [yen["id"], plain["id"]]
    assert await listed("currency=JPY&status=frozen") == [frozen["id"]]
    assert await listed("reference=plain") == [plain["id"]]
    assert await listed("reference=plain&currency=JPY") == []
    assert await listed("status=closed") == []
