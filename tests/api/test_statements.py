"""Statements: every transfer of a period on one of two axes, between two balances."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from tests.api.busy import RawRows, make_busy
from tests.api.test_balances import NOBODY, read_balance
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, item, pointers, problem
from tests.support.log import serving_log
from tests.support.other_session import wait_until
from tests.support.servers import TestDatabase

EVER = {"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


@pytest.fixture
async def sealed_ledger(test_database: TestDatabase) -> AsyncIterator[LedgerClient]:
    """A ledger whose history is sealed."""
    async with (
        serving_log(test_database) as application,
        application.client(application.settings.admin_token) as client,
    ):
        yield await LedgerClient.open(client, "journal")


async def read_statement(ledger: LedgerClient, account: JSON, **query: Any) -> JSON:
    response = await ledger.client.get(f"{ledger.accounts}/{account['id']}/statement", params=EVER | query)
    assert response.status_code == 200, response.text
    return answer(response)


async def read_whole(ledger: LedgerClient, account: JSON, **query: Any) -> JSON:
    """All pages as one."""
    whole = page = await read_statement(ledger, account, **query)
    while page["next_cursor"] is not None:
        page = await read_statement(ledger, account, cursor=page["next_cursor"], **query)
        assert page["items"], "no page is empty but the only one"
        assert {**page, "items": 0, "next_cursor": 0} == {**whole, "items": 0, "next_cursor": 0}
        whole = {**whole, "items": whole["items"] + page["items"], "next_cursor": page["next_cursor"]}
    return whole


@pytest.mark.parametrize("axis", ["recorded", "value"])
async def test_every_statement_is_what_the_raw_rows_say(
    ledger: LedgerClient, application: Application, axis: str
) -> None:
    chance = Random(7)
    accounts = await make_busy(ledger, application.database, chance, 40)
    rows = await RawRows.read(ledger, application.database)
    name = {"recorded": "created_at", "value": "effective_at"}[axis]
    references = {account["id"]: account["reference"] for account in accounts}
    for asked in rows.times(chance, 25):
        start, end = sorted(rows.times(chance, 2))
        account = chance.choice(accounts)
        whole = await read_whole(
            ledger,
            account,
            axis=axis,
            limit=chance.choice([1, 3, 7, 1_000]),
            known_at=min(asked, datetime.now(UTC)).isoformat(),
            **{"from": start.isoformat(), "to": end.isoformat()},
        )
        known = [row for row in rows.of(account) if row["created_at"] <= datetime.fromisoformat(whole["known_at"])]
        expected = [row for row in known if start <= row[name] < end]
        expected.sort(key=lambda row: (row[name], row["id"]))
        balance = sum(row["signed"] for row in known if row[name] < start)
        assert whole["opening_balance"] == balance
        assert [line["transfer_id"] for line in whole["items"]] == [str(row["id"]) for row in expected]
        for line, row in zip(whole["items"], expected, strict=True):
            balance += row["signed"]
            assert (line["amount"], line["balance"]) == (row["signed"], balance)
            assert line["counterparty_id"] == str(row["counterparty"])
            assert line["counterparty_reference"] == references[line["counterparty_id"]]
            for member in ("reference", "description"):
                assert line[member] == row[member]
            for member in ("created_at", "effective_at"):
                assert datetime.fromisoformat(line[member]) == row[member]
            assert line["client"] == row["client_id"]
        assert whole["closing_balance"] == balance


@pytest.mark.parametrize("axis", ["recorded", "value"])
async def test_pages_show_one_moment_while_others_write(
    ledger: LedgerClient, payer: JSON, payee: JSON, axis: str
) -> None:
    dated = {"effective_at": datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).isoformat()}
    for number in range(10):
        await ledger.move(payer, payee, 1, **(dated if number % 2 else {}))
    first = await read_statement(ledger, payee, axis=axis, limit=3)
    for number in range(4):
        await ledger.move(payer, payee, 2, **(dated if number % 2 else {}))
    items, page = first["items"], first
    while page["next_cursor"] is not None:
        page = await read_statement(ledger, payee, axis=axis, limit=3, cursor=page["next_cursor"])
        assert page["closing_balance"] == first["closing_balance"] == 10
        items += page["items"]
    assert [line["balance"] for line in items] == list(range(1, 11))
    assert (await read_statement(ledger, payee, axis=axis))["closing_balance"] == 18


async def test_opening_and_closing_are_balances_at_a_time(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    await ledger.move(payer, payee, 30)
    middle = (await ledger.move(payer, payee, 20))["created_at"]
    found = await read_statement(ledger, payee, axis="value", **{"from": middle})
    before = (datetime.fromisoformat(middle) - timedelta(microseconds=1)).isoformat()
    assert found["opening_balance"] == (await read_balance(ledger, payee, as_of=before))["balance"] == 30
    assert found["closing_balance"] == (await read_balance(ledger, payee))["balance"] == 50
    assert found["known_at"] == middle


async def test_lines_say_where_they_are_sealed(sealed_ledger: LedgerClient) -> None:
    payer, payee = await sealed_ledger.account(), await sealed_ledger.account()
    for _ in range(2):  # the log's first tile, and its edge
        await sealed_ledger.batch(*(item(payer, payee) for _ in range(200)))
    found: JSON = {}

    async def is_sealed() -> bool:
        found.update(await read_statement(sealed_ledger, payee, limit=1_000))
        return None not in [line["log_index"] for line in found["items"]]

    await wait_until(is_sealed)
    log = f"{sealed_ledger.path}/log"
    entries = (await sealed_ledger.client.get(f"{log}/entries")).text.splitlines()
    for line in found["items"]:
        assert json.loads(entries[line["log_index"]])["id"] == line["transfer_id"]
    checkpoint = found["checkpoint"]
    note = (await sealed_ledger.client.get(f"{log}/checkpoint", params={"size": checkpoint["size"]})).text
    assert note.splitlines()[1:3] == [str(checkpoint["size"]), checkpoint["root"]]


async def test_a_statement_that_does_not_add_up_is_not_sent(
    ledger: LedgerClient, application: Application, payer: JSON, payee: JSON
) -> None:
    moved = await ledger.move(payer, payee, 30)
    await ledger.move(payer, payee, 5)
    superuser = await asyncpg.connect(application.database.superuser_url)
    damage = "UPDATE funds.transfers SET amount = amount + 1 WHERE id = $1"
    await superuser.execute(damage, moved["id"])
    await superuser.close()
    for axis in ("recorded", "value"):
        response = await ledger.client.get(f"{ledger.accounts}/{payee['id']}/statement", params=EVER | {"axis": axis})
        problem(response, 500, "internal_error")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"from": EVER["to"], "to": EVER["from"]}, "/query/to"),
        ({"axis": "time"}, "/query/axis"),
        ({"limit": "0"}, "/query/limit"),
        ({"known_at": "2099-01-01T00:00:00Z"}, "/query/known_at"),
        ({"from": "yesterday"}, "/query/from"),
    ],
)
async def test_what_is_wrong_is_named(ledger: LedgerClient, payee: JSON, query: JSON, pointer: str) -> None:
    response = await ledger.client.get(f"{ledger.accounts}/{payee['id']}/statement", params=EVER | query)
    assert pointers(response) == [pointer]


async def test_an_unknown_account_has_no_statement(ledger: LedgerClient) -> None:
    problem(await ledger.client.get(f"{ledger.accounts}/{NOBODY}/statement", params=EVER), 404, "account_not_found")


@pytest.mark.parametrize("axis", ["recorded", "value"])
@pytest.mark.parametrize("when", ["0001-01-01T00:00:00Z", "2050-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
@pytest.mark.parametrize("last", ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"])
async def test_a_forged_cursor_shows_nothing_that_is_not_so(
    ledger: LedgerClient, payer: JSON, payee: JSON, axis: str, when: str, last: str
) -> None:
    for _ in range(3):
        await ledger.move(payer, payee, 1)
    page = await read_statement(ledger, payee, axis=axis, limit=1)
    name, [known_at, _, _] = json.loads(urlsafe_b64decode(page["next_cursor"] + "=="))
    for forged in ([known_at, when, last], ["0001-01-01T00:00:00Z", when, last]):
        cursor = urlsafe_b64encode(json.dumps([name, forged]).encode()).decode().rstrip("=")
        found = await read_statement(ledger, payee, axis=axis, cursor=cursor)
        assert [line["balance"] for line in found["items"]] in ([], [1, 2, 3], [2, 3], [3])
    cursor = urlsafe_b64encode(json.dumps([name, ["9999-01-01T00:00:00Z", when, last]]).encode()).decode().rstrip("=")
    response = await ledger.client.get(
        f"{ledger.accounts}/{payee['id']}/statement", params=EVER | {"axis": axis, "cursor": cursor}
    )
    problem(response, 400, "cursor_invalid")


@pytest.mark.parametrize("axis", ["recorded", "value"])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("2050-01-01T00:00:00Z", "2050-01-01T00:00:00Z"),
    ],
)
async def test_any_period_will_do(
    ledger: LedgerClient, payer: JSON, payee: JSON, axis: str, start: str, end: str
) -> None:
    await ledger.move(payer, payee, 3)
    found = await read_statement(ledger, payee, axis=axis, **{"from": start, "to": end})
    assert found["closing_balance"] - found["opening_balance"] == sum(line["amount"] for line in found["items"])
    assert found["closing_balance"] == (0 if end < "2026" else 3)
