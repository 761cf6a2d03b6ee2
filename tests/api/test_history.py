"""The history of a ledger: everything that happens is in it, with its author, in documents of one form."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, problem
from tests.support.log import latest_checkpoint, log_lines, serving_log
from tests.support.servers import ROOT, TestDatabase

MEMBERS = ["client", "data", "id", "idempotencykey", "requestid", "source", "specversion", "subject", "time", "type"]
AWKWARD = '\u00fc\U0001f600 "quoted" \\\\ / \''


@pytest.fixture
async def logged(test_database: TestDatabase) -> AsyncIterator[Application]:
    async with serving_log(test_database) as application:
        yield application


@pytest.fixture
async def ledger(logged: Application) -> AsyncIterator[LedgerClient]:
    async with logged.client(logged.settings.admin_token) as client:
        yield await LedgerClient.open(client, "journal")


def canonical(document: Any) -> str:
    """The encoder of docs/history.md, written without the service."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def documented_types(*, always: bool = False) -> Iterator[tuple[str, list[str]]]:
    """The types of entries with the members of their data, as docs/history.md lists them; or those that are ``always``
    there.
    """
    page = (ROOT / "service" / "docs" / "history.md").read_text()
    for types, text in re.findall(r"(?m)^\| ((?:`funds\.[a-z.]+`[, †]*)+)\| (.*) \|$", page):
        described = re.sub(r"\([^)]*\)", "", text).partition("of `")[0]
        for entry_type in re.findall(r"`([a-z.]+)`", types):
            yield entry_type, re.findall(r"`([a-z_]+)`(?! ‡)" if always else r"`([a-z_]+)`", described)


async def history(ledger: LedgerClient, *, size: int) -> list[JSON]:
    """The entries of the ledger, once there are ``size``."""
    await latest_checkpoint(ledger, size=size)
    lines = await log_lines(ledger)
    assert len(lines) == size
    return [json.loads(line) for line in lines]


async def test_everything_is_in_it_in_one_form(ledger: LedgerClient) -> None:
    headers = {"X-Request-Id": "request-7"}
    debit = await ledger.account(name=AWKWARD, metadata={"z": "1", "\uff21": "2", "\U0001f600": AWKWARD, "a": ""})
    credit = await ledger.account(minimum_balance=0, reference="till")
    await ledger.move(debit, credit, 500, description=AWKWARD, metadata={"b": AWKWARD, "a": "1"}, reference="r")
    holds = [answer(await post(ledger, "/holds", hold(credit, debit), headers)) for _ in range(2)]
    await post(ledger, "/holds", hold(credit, debit) | {"expires_in_seconds": 1}, headers)
    await post(ledger, f"/holds/{holds[0]['id']}/captures", {"amount": 3, "final": True}, headers)
    await post(ledger, f"/holds/{holds[1]['id']}/void", None, headers)
    problem(await ledger.post(credit, debit, amount=10**12), 422, "insufficient_funds")
    problem(
        await ledger.client.post(ledger.accounts, json={"currency": "USD", "reference": "till"}, headers=keyed()),
        409,
        "reference_taken",
    )
    await post(ledger, "/idempotency-keys/never/fence", None, headers)
    await ledger.revise(credit, status="frozen", name="n")
    entries = await history(ledger, size=15)
    await latest_checkpoint(ledger, size=15)
    types = [entry["type"].removeprefix("funds.") for entry in entries]
    assert Counter(types) == {
        "ledger.created": 1,
        "account.opened": 2,
        "account.revised": 1,
        "transfer.posted": 2,
        "hold.opened": 3,
        "hold.captured": 1,
        "hold.voided": 1,
        "hold.expired": 1,
        "command.rejected": 2,
        "key.fenced": 1,
    }
    ids = [entry["id"] for entry in entries]
    assert ids == sorted(set(ids))
    documented = dict(documented_types(always=True))
    for entry, line in zip(entries, await log_lines(ledger), strict=True):
        assert line == canonical(entry)
        assert list(entry) == MEMBERS
        assert (entry["source"], entry["specversion"]) == (ledger.path, "1.0")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["time"])
        assert list(entry["data"]) == documented[entry["type"]]


async def post(ledger: LedgerClient, path: str, body: Any, headers: dict[str, str]) -> Any:
    response = await ledger.client.post(f"{ledger.path}{path}", json=body, headers=keyed() | headers)
    assert response.status_code < 300, response.text
    return response


def hold(debit: JSON, credit: JSON) -> JSON:
    return {"debit_account_id": debit["id"], "credit_account_id": credit["id"], "amount": 10, "currency": "USD"}


async def trail(ledger: LedgerClient, account: JSON, **query: Any) -> JSON:
    """A page of the history of ``account``."""
    return answer(await ledger.client.get(f"{ledger.accounts}/{account['id']}/history", params=query))


async def test_who_changed_which_bound_when(ledger: LedgerClient) -> None:
    """One request answers it, in the documents of the feed."""
    account, other = await ledger.account(minimum_balance=0), await ledger.account()
    await ledger.move(other, account)
    headers = {"If-Match": "*", "X-Request-Id": "raise-7"}
    path = f"{ledger.accounts}/{account['id']}"
    answer(await ledger.client.patch(path, json={"minimum_balance": -500}, headers=headers | keyed("raise")))
    answer(await ledger.client.patch(path, json={"minimum_balance": -500}, headers=headers))  # changes nothing
    await ledger.revise(account, minimum_balance=0, status="frozen")
    await ledger.revise(other, name="n")
    page = await trail(ledger, account)
    assert page["next_cursor"] is None
    assert [(one["type"], one["data"].get("before"), one["data"].get("after")) for one in page["items"]] == [
        (
            "funds.account.revised",
            {"minimum_balance": -500, "status": "open"},
            {"minimum_balance": 0, "status": "frozen"},
        ),
        ("funds.account.revised", {"minimum_balance": 0}, {"minimum_balance": -500}),
        ("funds.account.opened", None, None),
    ]
    raised = page["items"][1]
    assert (raised["client"], raised["idempotencykey"], raised["requestid"]) == ("admin", "raise", "raise-7")
    fed = answer(await ledger.client.get(f"{ledger.path}/events"))["items"]
    assert page["items"] == [one for one in reversed(fed) if one["subject"] == account["id"]]


async def test_an_accounts_history_in_pages(ledger: LedgerClient) -> None:
    account = await ledger.account()
    for number in range(4):
        await ledger.revise(account, name=f"name {number}")
    everything = (await trail(ledger, account))["items"]
    for order, expected in (("desc", everything), ("asc", everything[::-1])):
        walked: list[JSON] = []
        page = await trail(ledger, account, order=order, limit=2)
        while page["items"]:
            assert len(page["items"]) <= 2
            walked += page["items"]
            if page["next_cursor"] is None:
                break
            page = await trail(ledger, account, order=order, limit=2, cursor=page["next_cursor"])
        assert walked == expected
    last = page["next_cursor"]
    await ledger.revise(account, name="later")
    [later] = (await trail(ledger, account, order="asc", limit=2, cursor=last))["items"]
    assert later["data"] == {"after": {"name": "later"}, "before": {"name": "name 3"}}


async def test_the_history_of_no_account(ledger: LedgerClient) -> None:
    elsewhere = await (await LedgerClient.open(ledger.client, "elsewhere")).account()
    for account_id in (elsewhere["id"], "01a21aea-60e3-7976-9023-bf7e009e1183"):
        problem(await ledger.client.get(f"{ledger.accounts}/{account_id}/history"), 404, "account_not_found")
