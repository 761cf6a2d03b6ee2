"""Holds: what they reserve, how long they may last, where they are found."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from service.domain.limits import HOLD_SECONDS_MAX
from tests.api.moves import (
    capture,
    funded,
    held,
    open_hold,
    post_capture,
    post_hold,
    post_void,
    read_hold,
    void,
)
from tests.api.parties import Parties
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, pointers, problem, transfer, unique

DAY = 86_400


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


async def test_a_hold_reserves_at_once_and_moves_nothing(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    members: JSON = {"reference": "r-1", "description": "ünïcode", "metadata": {"k": "v"}}
    response = await post_hold(ledger, payer, payee, amount=30, expires_in_seconds=60, **members)
    assert response.status_code == 201
    hold = answer(response)
    assert response.headers["Location"] == f"{ledger.path}/holds/{hold['id']}"
    assert hold == hold | members | {
        "ledger": ledger.name,
        "debit_account_id": payer["id"],
        "credit_account_id": payee["id"],
        "amount": 30,
        "captured_amount": 0,
        "currency": "USD",
        "status": "open",
        "debit_account_version": payer["version"] + 1,
        "credit_account_version": payee["version"] + 1,
        "closed_debit_account_version": None,
        "closed_credit_account_version": None,
        "group_id": None,
        "closed_at": None,
    }
    assert seconds_between(hold["created_at"], hold["expires_at"]) == 60
    assert await read_hold(ledger, hold) == hold
    payer, payee = await ledger.read_account(payer), await ledger.read_account(payee)
    assert held(payer) == (100, 70, 30, 0)
    assert held(payee) == (0, 0, 0, 30)
    assert (payer["version"], payee["version"]) == (hold["debit_account_version"], hold["credit_account_version"])
    assert answer(await ledger.client.get(f"{ledger.transfers}?account_id={payee['id']}"))["items"] == []


async def test_what_is_reserved_counts_against_the_minimum(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    await open_hold(ledger, payer, payee, 70)
    for response in (await ledger.post(payer, payee, amount=31), await post_hold(ledger, payer, payee, amount=31)):
        refused = problem(response, 422, "insufficient_funds")
        explanation = {
            "account_id": payer["id"],
            "balance": 100,
            "held": 70,
            "available_balance": 30,
            "minimum_balance": 0,
            "amount": 31,
            "shortfall": 1,
        }
        assert refused | explanation == refused
    await ledger.move(payer, payee, 30)


async def test_a_debit_normal_account_is_reserved_on_the_side_that_lowers_it(ledger: LedgerClient) -> None:
    cash, customer = await ledger.account(normal_side="debit", minimum_balance=0), await ledger.account()
    await ledger.move(cash, customer, 50)
    await open_hold(ledger, customer, cash, 20)
    assert held(await ledger.read_account(cash)) == (50, 30, 0, 20)
    refused = problem(await ledger.post(customer, cash, amount=31), 422, "insufficient_funds")
    assert (refused["account_id"], refused["held"], refused["shortfall"]) == (cash["id"], 20, 1)


async def test_money_to_come_is_not_available(ledger: LedgerClient, payer: JSON) -> None:
    payee = await ledger.account(minimum_balance=0)
    hold = await open_hold(ledger, payer, payee, 10)
    problem(await ledger.post(payee, payer), 422, "insufficient_funds")
    await capture(ledger, hold)
    await ledger.move(payee, payer, 10)


@pytest.mark.parametrize(
    ("terms", "seconds"),
    [({}, 7 * DAY), ({"expires_in_seconds": 1}, 1), ({"expires_in_seconds": 31 * DAY}, 31 * DAY)],
)
async def test_a_hold_expires_after_a_time(
    ledger: LedgerClient, payer: JSON, payee: JSON, terms: dict[str, int], seconds: int
) -> None:
    hold = await open_hold(ledger, payer, payee, **terms)
    assert seconds_between(hold["created_at"], hold["expires_at"]) == seconds


async def test_a_hold_expires_at_a_moment(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    moment = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=123456)
    zone = moment.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    hold = await open_hold(ledger, payer, payee, expires_at=zone.isoformat())
    assert hold["expires_at"] == moment.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    "terms",
    [
        {"expires_in_seconds": 31 * DAY + 1},
        {"expires_in_seconds": HOLD_SECONDS_MAX},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"expires_at": "9999-01-01T00:00:00Z"},
    ],
)
async def test_the_time_of_a_hold_is_bounded(ledger: LedgerClient, payer: JSON, payee: JSON, terms: JSON) -> None:
    refused = problem(await post_hold(ledger, payer, payee, **terms), 422, "time_out_of_range")
    assert refused["field"] == "expires_at"
    assert seconds_between(refused["earliest"], refused["latest"]) == 31 * DAY
    assert not refused["earliest"] < refused["value"] <= refused["latest"]
    assert await ledger.read_account(payer) == payer


@pytest.mark.parametrize(
    ("terms", "pointer"),
    [
        ({"expires_in_seconds": 5, "expires_at": "2030-01-01T00:00:00Z"}, "/expires_in_seconds"),
        ({"expires_in_seconds": 0}, "/expires_in_seconds"),
        ({"expires_in_seconds": HOLD_SECONDS_MAX + 1}, "/expires_in_seconds"),
        ({"expires_in_seconds": 1.5}, "/expires_in_seconds"),
        ({"expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-10:00"}, "/expires_at"),
        ({"amount": {"at_most": 1}}, "/amount"),
        ({"amount": 0}, "/amount"),
        ({"effective_at": "2030-01-01T00:00:00Z"}, "/effective_at"),
    ],
)
async def test_a_malformed_hold(ledger: LedgerClient, payer: JSON, payee: JSON, terms: JSON, pointer: str) -> None:
    assert pointers(await post_hold(ledger, payer, payee, **terms)) == [pointer]


# Each pair breaks its rule and, where it can, every rule after it: what is answered is the first in the order.
RULES = [
    ("same_account", 422, "unknown", "same", {"currency": "XXX", "expires_at": "2001-01-01T00:00:00Z"}),
    ("account_not_found", 404, "unknown", "closed", {"currency": "XXX", "expires_at": "2001-01-01T00:00:00Z"}),
    ("account_not_found", 404, "closed", "unknown", {}),
    ("account_not_found", 404, "foreign", "open", {}),
    ("account_closed", 409, "closed", "frozen", {"currency": "EUR"}),
    ("account_closed", 409, "frozen", "closed", {"currency": "EUR"}),
    ("account_frozen", 409, "frozen", "open", {"currency": "EUR"}),
    ("account_frozen", 409, "open", "frozen", {"currency": "EUR"}),
    ("currency_mismatch", 422, "full", "full", {"currency": "EUR", "expires_at": "2001-01-01T00:00:00Z"}),
    ("currency_mismatch", 422, "full", "full", {"currency": "XXX"}),
    ("time_out_of_range", 422, "full", "full", {"expires_at": "2001-01-01T00:00:00Z"}),
    ("balance_overflow", 422, "full", "open", {}),
    ("balance_overflow", 422, "open", "full", {}),
    ("insufficient_funds", 422, "poor", "limited", {}),
]


@pytest.mark.parametrize(("code", "status", "debit", "credit", "members"), RULES)
async def test_the_first_broken_rule_of_opening_is_named(
    ledger: LedgerClient, code: str, status: int, debit: str, credit: str, members: JSON
) -> None:
    parties = Parties(ledger)
    one = await getattr(parties, debit)()
    other = one if credit == "same" else await getattr(parties, credit)()
    refused = problem(await post_hold(ledger, one, other, **members), status, code)
    assert (refused["outcome"], refused["retryable"]) == ("not_applied", False)
    assert answer(await ledger.client.get(f"{ledger.path}/holds"))["items"] == []


async def test_a_hold_is_found_in_its_own_ledger_only(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee)
    other = await LedgerClient.open(ledger.client, unique("other"))
    for elsewhere in (other, ledger):
        missing = hold if elsewhere is other else await Parties(ledger).unknown()
        read = await ledger.client.get(f"{elsewhere.path}/holds/{missing['id']}")
        for response in (read, await post_capture(elsewhere, missing), await post_void(elsewhere, missing)):
            assert problem(response, 404, "hold_not_found")["hold_id"] == missing["id"]
    assert await read_hold(ledger, hold) == hold


async def _holds(ledger: LedgerClient, **query: Any) -> list[JSON]:
    """Walk the list of holds, two a page."""
    found: list[JSON] = []
    path: str | None = str(httpx.URL(f"{ledger.path}/holds", params=query | {"limit": 2}))
    while path is not None:
        response = await ledger.client.get(path)
        found += answer(response)["items"]
        path = response.links["next"]["url"] if "next" in response.links else None
    return found


async def test_holds_are_listed_newest_first_by_account_and_status(
    ledger: LedgerClient, payer: JSON, payee: JSON
) -> None:
    third = await funded(ledger, 10)
    pairs = [(payer, payee), (payee, payer), (payer, third), (third, payee), (payer, payee)]
    holds = [await open_hold(ledger, debit, credit) for debit, credit in pairs]
    await void(ledger, holds[0])
    await capture(ledger, holds[3])
    now = [await read_hold(ledger, hold) for hold in reversed(holds)]
    assert await _holds(ledger) == now
    for status in ("open", "captured", "voided", "expired"):
        assert await _holds(ledger, status=status) == [hold for hold in now if hold["status"] == status]
        for account in (payer, payee, third):
            sides = [hold for hold in now if account["id"] in (hold["debit_account_id"], hold["credit_account_id"])]
            assert await _holds(ledger, account_id=account["id"]) == sides
            of_both = [hold for hold in sides if hold["status"] == status]
            assert await _holds(ledger, account_id=account["id"], status=status) == of_both
    other = await LedgerClient.open(ledger.client, unique("other"))
    assert await _holds(other, account_id=payer["id"]) == []


async def test_an_account_is_shown_with_its_open_holds(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    holds = [
        await open_hold(ledger, payer, payee, 10),
        await open_hold(ledger, payee, payer),
        await open_hold(ledger, payer, payee),
    ]
    await void(ledger, holds[1])
    part = await capture(ledger, holds[0], amount=4, final=False)
    expected = [await read_hold(ledger, hold) for hold in (holds[2], holds[0])]
    for account in (payer, payee):
        shown = answer(await ledger.client.get(f"{ledger.accounts}/{account['id']}?expand=holds"))
        assert shown.pop("holds") == expected
        assert shown == await ledger.read_account(account)
    both = answer(await ledger.client.get(f"{ledger.accounts}/{payee['id']}?expand=holds&expand=transfers"))
    assert both["holds"] == expected
    assert [one["id"] for one in both["transfers"]] == [part["id"]]


async def test_a_hold_of_the_same_terms_is_another_hold(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    body = transfer(payer, payee, amount=60)
    first = await ledger.client.post(f"{ledger.path}/holds", json=body, headers=keyed())
    second = await ledger.client.post(f"{ledger.path}/holds", json=body, headers=keyed())
    assert first.status_code == 201
    problem(second, 422, "insufficient_funds")
