"""Transfers: posted, rejected by each rule in its order, read."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import pytest

from tests.api.moves import begin_earlier
from tests.api.parties import Parties
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, problem, transfer, unique

INT64_MAX = 2**63 - 1


async def test_a_posted_transfer_shows_both_sides(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(normal_side="debit"), await ledger.account()
    first = await ledger.move(debit, credit, 1050)
    second = await ledger.move(credit, debit, 50, reference="r", description="d", metadata={"k": "v"})

    assert first | {"id": "", "created_at": "", "effective_at": ""} == {
        "id": "",
        "ledger": ledger.name,
        "debit_account_id": debit["id"],
        "credit_account_id": credit["id"],
        "amount": 1050,
        "currency": "USD",
        "debit_account_version": 1,
        "credit_account_version": 1,
        "debit_balance_after": 1050,
        "credit_balance_after": 1050,
        "hold_id": None,
        "reverses_id": None,
        "group_id": None,
        "reference": None,
        "description": None,
        "metadata": {},
        "client": "admin",
        "effective_at": "",
        "created_at": "",
    }
    assert (second["debit_balance_after"], second["credit_balance_after"]) == (1000, 1000)
    assert (second["debit_account_version"], second["credit_account_version"]) == (2, 2)
    assert (second["reference"], second["description"], second["metadata"]) == ("r", "d", {"k": "v"})


async def test_a_transfer_moves_the_counters_of_both_accounts(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    await ledger.move(debit, credit, 7)
    debit, credit = await ledger.read_account(debit), await ledger.read_account(credit)
    assert (debit["debits_posted"], debit["credits_posted"], debit["balance"], debit["version"]) == (7, 0, -7, 1)
    assert (credit["debits_posted"], credit["credits_posted"], credit["balance"], credit["version"]) == (0, 7, 7, 1)


async def test_location_leads_to_the_transfer(ledger: LedgerClient) -> None:
    response = await ledger.post(await ledger.account(), await ledger.account())
    read = await ledger.client.get(response.headers["Location"])
    assert read.status_code == 200
    assert read.json() == response.json()


@pytest.mark.parametrize("amount", [1, INT64_MAX])
async def test_the_smallest_and_the_largest_amount_move(ledger: LedgerClient, amount: int) -> None:
    moved = await ledger.move(await ledger.account(), await ledger.account(), amount)
    assert (moved["amount"], moved["debit_balance_after"], moved["credit_balance_after"]) == (amount, -amount, amount)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=3, minutes=30))])
@pytest.mark.parametrize("days", [-300, 300])
async def test_a_value_date_is_kept_in_utc(
    ledger: LedgerClient, application: Application, zone: timezone, days: int
) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    await begin_earlier(ledger, application.database, 301)
    at = datetime.now(UTC) + timedelta(days=days)
    given, stored = at.astimezone(zone).isoformat(), at.isoformat().replace("+00:00", "Z")
    posted = await ledger.move(debit, credit, effective_at=given)
    assert posted["effective_at"] == stored
    read = await ledger.client.get(f"{ledger.transfers}/{posted['id']}")
    assert answer(read)["effective_at"] == stored


@pytest.mark.parametrize("members", [{}, {"effective_at": None}])
async def test_a_transfer_without_a_value_date_is_effective_when_it_is_posted(
    ledger: LedgerClient, members: JSON
) -> None:
    posted = await ledger.move(await ledger.account(), await ledger.account(), **members)
    assert posted["effective_at"] == posted["created_at"]
    assert datetime.fromisoformat(posted["created_at"]).tzinfo is not None


async def test_text_of_any_script_comes_back_as_it_was_sent(ledger: LedgerClient) -> None:
    name, text = 'Grüße, 汉字, 🏦, "\\', 'Grüße, 汉字, 🏦, "\\\n\t\u2028'
    posted = await ledger.move(
        await ledger.account(), await ledger.account(), reference=name, description=text, metadata={name: text}
    )
    read = answer(await ledger.client.get(f"{ledger.transfers}/{posted['id']}"))
    assert (read["reference"], read["description"], read["metadata"]) == (name, text, {name: text})


async def test_identifiers_rise_with_time(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    posted = [await ledger.move(debit, credit) for _ in range(3)]
    assert [one["id"] for one in posted] == sorted(one["id"] for one in posted)
    assert [one["created_at"] for one in posted] == sorted(one["created_at"] for one in posted)


# Each pair breaks its rule and, where it can, every rule after it: what is answered is the first in the order.
RULES = [
    ("same_account", 422, "unknown", "same", {"currency": "XXX"}),
    ("account_not_found", 404, "unknown", "closed", {"currency": "XXX", "effective_at": "2001-01-01T00:00:00Z"}),
    ("account_not_found", 404, "closed", "unknown", {}),
    ("account_not_found", 404, "foreign", "open", {}),
    ("account_not_found", 404, "open", "foreign", {}),
    ("account_closed", 409, "closed", "frozen", {"currency": "EUR"}),
    ("account_closed", 409, "open", "closed", {"currency": "EUR"}),
    ("account_frozen", 409, "frozen", "open", {"currency": "EUR"}),
    ("account_frozen", 409, "open", "frozen", {"currency": "EUR"}),
    ("currency_mismatch", 422, "full", "full", {"currency": "EUR", "effective_at": "2001-01-01T00:00:00Z"}),
    ("currency_mismatch", 422, "full", "full", {"currency": "XXX"}),
    ("currency_mismatch", 422, "full", "full", {"currency": "XAU"}),
    ("time_out_of_range", 422, "full", "full", {"effective_at": "2001-01-01T00:00:00Z"}),
    ("balance_overflow", 422, "full", "open", {}),
    ("balance_overflow", 422, "open", "full", {}),
    ("insufficient_funds", 422, "poor", "limited", {}),
    ("balance_limit_exceeded", 422, "open", "limited", {}),
]


@pytest.mark.parametrize(("code", "status", "debit", "credit", "members"), RULES)
async def test_the_first_broken_rule_is_named(
    ledger: LedgerClient, code: str, status: int, debit: str, credit: str, members: JSON
) -> None:
    parties = Parties(ledger)
    payer = await getattr(parties, debit)()
    payee = payer if credit == "same" else await getattr(parties, credit)()
    refused = problem(await ledger.post(payer, payee, **members), status, code)
    assert refused["outcome"] == "not_applied"
    assert refused["retryable"] is False


async def test_a_currency_is_compared_on_both_sides(ledger: LedgerClient) -> None:
    dollars, euros = await ledger.account(), await ledger.account(currency="EUR")
    refused = problem(await ledger.post(dollars, euros), 422, "currency_mismatch")
    assert (refused["account_id"], refused["account_currency"], refused["currency"]) == (euros["id"], "EUR", "USD")
    refused = problem(await ledger.post(euros, dollars), 422, "currency_mismatch")
    assert refused["account_id"] == euros["id"]


async def test_insufficient_funds_names_the_account_and_the_shortfall(ledger: LedgerClient) -> None:
    source, payer, payee = await ledger.account(), await ledger.account(minimum_balance=-5), await ledger.account()
    await ledger.move(source, payer, 100)
    refused = problem(await ledger.post(payer, payee, amount=106), 422, "insufficient_funds")
    explanation = {
        "account_id": payer["id"],
        "available_balance": 100,
        "minimum_balance": -5,
        "amount": 106,
        "shortfall": 1,
    }
    assert refused | explanation == refused
    await ledger.move(payer, payee, 105)


async def test_a_debit_normal_account_is_short_when_it_is_credited(ledger: LedgerClient) -> None:
    cash, payer = await ledger.account(normal_side="debit", minimum_balance=0), await ledger.account()
    refused = problem(await ledger.post(payer, cash), 422, "insufficient_funds")
    assert (refused["account_id"], refused["shortfall"]) == (cash["id"], 1)
    await ledger.move(cash, payer)


async def test_a_balance_limit_names_the_account_and_the_excess(ledger: LedgerClient) -> None:
    payer, payee = await ledger.account(), await ledger.account(maximum_balance=100)
    await ledger.move(payer, payee, 99)
    refused = problem(await ledger.post(payer, payee, amount=2), 422, "balance_limit_exceeded")
    explanation = {"account_id": payee["id"], "balance": 99, "maximum_balance": 100, "amount": 2}
    assert refused | explanation == refused
    await ledger.move(payer, payee, 1)


async def test_overflow_names_the_account_and_the_side(ledger: LedgerClient) -> None:
    payer, payee = await Parties(ledger).full(), await ledger.account()
    refused = problem(await ledger.post(payer, payee), 422, "balance_overflow")
    assert (refused["account_id"], refused["side"]) == (payer["id"], "debit")


async def test_a_rejected_transfer_changes_nothing(ledger: LedgerClient) -> None:
    payer, payee = await ledger.account(minimum_balance=0), await ledger.account()
    problem(await ledger.post(payer, payee), 422, "insufficient_funds")
    assert await ledger.read_account(payer) == payer
    assert await ledger.read_account(payee) == payee
    assert answer(await ledger.client.get(ledger.transfers))["items"] == []


async def test_an_account_of_another_ledger_is_not_told_from_none(ledger: LedgerClient) -> None:
    foreign, account = await Parties(ledger).foreign(), await ledger.account()
    unknown = await Parties(ledger).unknown()
    told = problem(await ledger.post(account, foreign), 404, "account_not_found")
    expected = problem(await ledger.post(account, unknown), 404, "account_not_found")
    assert told == expected | {
        "account_id": foreign["id"],
        "detail": expected["detail"].replace(unknown["id"], foreign["id"]),
    }


async def test_reading_with_expand_shows_both_accounts_as_they_are_now(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    posted = await ledger.move(debit, credit, 5)
    await ledger.move(debit, credit, 6)
    read = answer(await ledger.client.get(f"{ledger.transfers}/{posted['id']}?expand=accounts"))
    assert read.pop("debit_account") == await ledger.read_account(debit)
    assert read.pop("credit_account") == await ledger.read_account(credit)
    assert read == posted


@pytest.mark.parametrize("query", ["", "?expand=accounts"])
async def test_a_transfer_is_found_in_its_own_ledger_only(ledger: LedgerClient, query: str) -> None:
    other = await LedgerClient.open(ledger.client, unique("other"))
    posted = await other.move(await other.account(), await other.account())
    for transfer_id in (posted["id"], str(uuid4())):
        missing = problem(
            await ledger.client.get(f"{ledger.transfers}/{transfer_id}{query}"), 404, "transfer_not_found"
        )
        assert missing["transfer_id"] == transfer_id


async def test_a_ledger_that_is_not_there(ledger: LedgerClient) -> None:
    absent = LedgerClient(ledger.client, unique("absent"))
    body = transfer({"id": str(uuid4())}, {"id": str(uuid4())})
    problem(
        await absent.client.post(absent.transfers, json=body, headers={"Idempotency-Key": "k"}), 404, "ledger_not_found"
    )
    problem(await absent.client.get(absent.transfers), 404, "ledger_not_found")
    problem(await absent.client.get(f"{absent.transfers}/{uuid4()}"), 404, "ledger_not_found")
