"""What operators do by forms: once, with a reason, in their own name, and only what they may."""

from typing import Any

import httpx
import pytest

from tests.console.browsing import Browser
from tests.console.conftest import MakeToken
from tests.support.http_ledger import JSON, LedgerClient, keyed


def _page(ledger: LedgerClient, *segments: str) -> str:
    return "/".join(["/console/ledgers", ledger.name, *segments])


@pytest.fixture
async def hold(ledger: LedgerClient, payer: JSON, payee: JSON) -> JSON:
    body = {"debit_account_id": payer["id"], "credit_account_id": payee["id"], "amount": 500, "currency": "USD"}
    answer = await ledger.client.post(f"{ledger.path}/holds", json=body, headers=keyed())
    content: JSON = answer.json()
    return content


async def _history(ledger: LedgerClient, account: JSON) -> list[JSON]:
    answer = await ledger.client.get(f"{ledger.accounts}/{account['id']}/history")
    items: list[JSON] = answer.json()["items"]
    return items


async def _change(browser: Browser, ledger: LedgerClient, account: JSON, to: str, **fields: str) -> httpx.Response:
    page = await browser.open(_page(ledger, "accounts", account["id"], f"change?to={to}"))
    return await browser.send(page.form("/change"), **fields)


async def test_an_account_is_frozen_thawed_and_closed_with_reason_and_author(
    browser: Browser, ledger: LedgerClient, payee: JSON
) -> None:
    for to, status in (("freeze", "frozen"), ("thaw", "open"), ("close", "closed")):
        answer = await _change(browser, ledger, payee, to, reason=f"to {to} it")
        assert answer.status_code == 303, answer.text
        latest = (await _history(ledger, payee))[0]
        assert latest["client"] == "admin"
        assert latest["idempotencykey"].startswith("console-")
        assert latest["data"]["after"]["status"] == status
        assert latest["data"]["after"]["metadata"]["reason"] == f"to {to} it"
    page = (await browser.get(_page(ledger, "accounts", payee["id"]))).text
    assert "Status: open → closed" in page
    assert "reason=to close it" in page
    assert "Freeze…" not in page


async def test_bounds_are_written_in_major_units(browser: Browser, ledger: LedgerClient, payee: JSON) -> None:
    answer = await _change(browser, ledger, payee, "bounds", minimum="-1,000.50", maximum="", reason="agreed")
    assert answer.status_code == 303, answer.text
    account = await ledger.read_account(payee)
    assert (account["minimum_balance"], account["maximum_balance"]) == (-100_050, None)
    page = await browser.open(_page(ledger, "accounts", payee["id"], "change?to=bounds"))
    assert page.form("/change")["minimum"] == "-1000.50"


@pytest.mark.parametrize("minimum", ["x", "1.005", "1e5", "1,00.5"])
async def test_an_amount_that_is_none_changes_nothing(
    browser: Browser, ledger: LedgerClient, payee: JSON, minimum: str
) -> None:
    answer = await _change(browser, ledger, payee, "bounds", minimum=minimum, reason="agreed")
    assert answer.status_code == 400
    assert (await ledger.read_account(payee))["minimum_balance"] is None


async def test_nothing_is_done_without_a_reason(browser: Browser, ledger: LedgerClient, payee: JSON) -> None:
    answer = await _change(browser, ledger, payee, "freeze", reason="  ")
    assert answer.status_code == 400
    assert (await ledger.read_account(payee))["status"] == "open"


async def test_a_form_that_is_sent_twice_is_done_once(
    browser: Browser, ledger: LedgerClient, payer: JSON, payee: JSON
) -> None:
    transfer = await ledger.move(payer, payee, 1000)
    page = await browser.open(_page(ledger, "transfers", transfer["id"], "reverse"))
    form = page.form("/reverse") | {"amount": "4.00", "reason": "a mistake"}
    first, second = [await browser.send(dict(form)) for _ in range(2)]
    assert first.status_code == second.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    reversals = (await ledger.client.get(f"{ledger.transfers}?reverses_id={transfer['id']}")).json()["items"]
    assert [(one["amount"], one["description"], one["client"]) for one in reversals] == [(400, "a mistake", "admin")]

    change = (await browser.open(_page(ledger, "accounts", payee["id"], "change?to=freeze"))).form("/change")
    change["reason"] = "twice"
    assert [(await browser.send(dict(change))).status_code for _ in range(2)] == [303, 303]
    assert len(await _history(ledger, payee)) == 2


async def test_a_page_that_is_out_of_date_changes_nothing(browser: Browser, ledger: LedgerClient, payee: JSON) -> None:
    page = await browser.open(_page(ledger, "accounts", payee["id"], "change?to=freeze"))
    await ledger.revise(payee, name="Another")
    answer = await browser.send(page.form("/change"), reason="late")
    assert answer.status_code == 412
    assert (await ledger.read_account(payee))["status"] == "open"


async def test_a_hold_is_voided(browser: Browser, ledger: LedgerClient, hold: JSON) -> None:
    page = await browser.open(_page(ledger, "holds", hold["id"], "void"))
    answer = await browser.send(page.form("/void"))
    assert answer.headers["location"] == _page(ledger, "holds", hold["id"])
    assert "voided" in (await browser.get(answer.headers["location"])).text


async def test_what_the_rules_reject_is_told(browser: Browser, ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    transfer = await ledger.move(payer, payee, 1000)
    page = await browser.open(_page(ledger, "transfers", transfer["id"], "reverse"))
    answer = await browser.send(page.form("/reverse"), amount="10.01", reason="too much")
    assert answer.status_code == 422
    assert "reversal_exceeds_transfer" in answer.text


@pytest.mark.parametrize("scope", ["read", "audit"])
async def test_what_a_token_may_not_do_is_not_offered_and_refused(
    browser: Browser, ledger: LedgerClient, payer: JSON, payee: JSON, hold: JSON, make_token: MakeToken, scope: str
) -> None:
    transfer = await ledger.move(payer, payee, 1000)
    targets: list[tuple[tuple[str, ...], str, dict[str, Any]]] = [
        (("accounts", payee["id"]), "change?to=freeze", {"reason": "x"}),
        (("holds", hold["id"]), "void", {}),
        (("transfers", transfer["id"]), "reverse", {"amount": "1.00", "reason": "x"}),
    ]
    forms = [
        (await browser.open(_page(ledger, *target, action))).form(f"/{action.partition('?')[0]}")
        for target, action, _ in targets
    ]
    await browser.sign_in(await make_token(scope))
    for (target, action, fields), form in zip(targets, forms, strict=True):
        page = await browser.open(_page(ledger, *target))
        assert not [one for one in page.addresses if one.endswith(("/void", "/reverse")) or "/change" in one]
        await browser.get(_page(ledger, *target, action), 403)
        form["session"] = page.form("/sign-out")["session"]
        answer = await browser.send(form, **fields)
        assert answer.status_code == 403, answer.text
    assert (await ledger.read_account(payee))["status"] == "open"


async def test_tokens_are_for_the_administrator(browser: Browser, anonymous: Browser, make_token: MakeToken) -> None:
    token = await make_token("read", client="listed", ledgers=["main"])
    page = (await browser.get("/console/tokens")).text
    assert "listed" in page
    assert token not in page
    for scopes, ledgers in ((["audit"], None), (["admin"], ["main"])):
        await anonymous.sign_in(await make_token(*scopes, ledgers=ledgers))
        assert "/console/tokens" not in (await anonymous.open("/console")).addresses
        await anonymous.get("/console/tokens", 403)
