"""What changed in a period that was looked at before."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from tests.api.busy import RawRows, make_busy
from tests.api.test_balances import NOBODY, read_balance
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, item, pointers, problem


async def read_all(ledger: LedgerClient, path: str, **query: Any) -> list[JSON]:
    """All pages of a list that has an end."""
    items: list[JSON] = []
    cursor: dict[str, str] = {}
    while True:
        response = await ledger.client.get(path, params=query | cursor)
        assert response.status_code == 200, response.text
        page = answer(response)
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = {"cursor": page["next_cursor"]}


async def test_every_change_is_what_the_raw_rows_say(ledger: LedgerClient, application: Application) -> None:
    chance = Random(5)
    accounts = await make_busy(ledger, application.database, chance, 30)
    rows = await RawRows.read(ledger, application.database)
    for as_of in rows.times(chance, 40):
        first, last = sorted(rows.times(chance, 2))
        account = chance.choice(accounts)
        times = {"as_of": as_of, "known_from": first, "known_to": last}
        query: dict[str, Any] = {name: time.isoformat() for name, time in times.items()}
        query |= {"order": chance.choice(["asc", "desc"]), "limit": chance.choice([1, 4, 1_000])}
        changed = {
            "": [row for row in rows.transfers if row["effective_at"] <= as_of and first < row["created_at"] <= last],
            f"/accounts/{account['id']}": [
                row for row in rows.of(account) if row["effective_at"] <= as_of and first < row["created_at"] <= last
            ],
        }
        for path, expected in changed.items():
            expected.sort(key=lambda row: row["id"], reverse=query["order"] == "desc")
            found = await read_all(ledger, f"{ledger.path}{path}/changes", **query)
            assert [item["id"] for item in found] == [str(row["id"]) for row in expected]
        moved = sum(row["signed"] for row in changed[f"/accounts/{account['id']}"])
        assert rows.balance(account, as_of, last) - rows.balance(account, as_of, first) == moved


async def test_a_closed_period_is_looked_at_again(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """The difference between two looks at the same value date is what changed."""
    await ledger.move(payer, payee, 10)
    as_of = datetime.now(UTC).isoformat()
    before = await read_balance(ledger, payee, as_of=as_of)
    path = f"{ledger.accounts}/{payee['id']}/changes"
    query = {"as_of": as_of, "known_from": before["known_at"]}
    assert answer(await ledger.client.get(path, params=query))["items"] == []

    await ledger.move(payer, payee, 20)
    late = await ledger.move(payer, payee, 3, effective_at=payee["created_at"])
    [item] = answer(await ledger.client.get(path, params=query))["items"]
    assert item == late
    after = await read_balance(ledger, payee, as_of=as_of)
    assert after["balance"] - before["balance"] == 3
    assert answer(await ledger.client.get(path, params=query | {"known_to": before["known_at"]}))["items"] == []


async def test_changes_are_followed(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    as_of = datetime.now(UTC).isoformat()
    dated = {"effective_at": payee["created_at"]}
    query = {"as_of": as_of, "known_from": as_of, "order": "asc"}
    path = f"{ledger.path}/changes"
    first = await ledger.move(payer, payee, 1, **dated)
    page = answer(await ledger.client.get(path, params=query))
    assert page["items"] == [first]
    second = await ledger.move(payer, payee, 2, **dated)
    await ledger.move(payer, payee, 3)
    page = answer(await ledger.client.get(path, params=query | {"cursor": page["next_cursor"]}))
    assert page["items"] == [second]


@pytest.mark.parametrize("of_account", [True, False])
@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"known_to": "2026-01-01T00:00:00Z"}, "/query/known_to"),
        ({"as_of": "today"}, "/query/as_of"),
        ({"known_from": "2026-01-02"}, "/query/known_from"),
        ({"limit": "1001"}, "/query/limit"),
    ],
)
async def test_what_is_wrong_is_named(
    ledger: LedgerClient, payee: JSON, query: JSON, pointer: str, *, of_account: bool
) -> None:
    path = f"{ledger.accounts}/{payee['id']}/changes" if of_account else f"{ledger.path}/changes"
    times = {"as_of": "2026-01-01T00:00:00Z", "known_from": "2026-01-02T00:00:00Z"}
    assert pointers(await ledger.client.get(path, params=times | query)) == [pointer]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_what_is_dated_later_is_skipped(ledger: LedgerClient, payer: JSON, payee: JSON, order: str) -> None:
    first = await ledger.move(payer, payee, 1)
    ahead = {"effective_at": (datetime.now(UTC) + timedelta(days=2)).isoformat()}
    await ledger.batch(*(item(payee, payer, **ahead) for _ in range(1_100)))
    last = await ledger.move(payer, payee, 1)
    times = {"as_of": last["created_at"], "known_from": payee["created_at"], "known_to": last["created_at"]}
    for path in (ledger.path, f"{ledger.accounts}/{payee['id']}"):
        found = await read_all(ledger, f"{path}/changes", order=order, limit=10, **times)
        assert found == ([first, last] if order == "asc" else [last, first])


async def test_what_is_missing_is_named(ledger: LedgerClient, payee: JSON) -> None:
    for path in (ledger.path, f"{ledger.accounts}/{payee['id']}"):
        assert pointers(await ledger.client.get(f"{path}/changes")) == ["/query/as_of"]
        times = {"as_of": "2026-01-01T00:00:00Z"}
        assert pointers(await ledger.client.get(f"{path}/changes", params=times)) == ["/query/known_from"]
    assert pointers(await ledger.client.get(f"{ledger.accounts}/{payee['id']}/statement")) == ["/query/from"]


async def test_an_unknown_account_has_no_changes(ledger: LedgerClient) -> None:
    times = {"as_of": "2026-01-01T00:00:00Z", "known_from": "2026-01-02T00:00:00Z"}
    response = await ledger.client.get(f"{ledger.accounts}/{NOBODY}/changes", params=times)
    problem(response, 404, "account_not_found")


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
async def test_any_times_will_do(ledger: LedgerClient, payer: JSON, payee: JSON, time: str) -> None:
    await ledger.move(payer, payee, 1, effective_at=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    for path in (ledger.path, f"{ledger.accounts}/{payee['id']}"):
        found = await read_all(ledger, f"{path}/changes", as_of=time, known_from="0001-01-01T00:00:00Z", known_to=time)
        assert len(found) == (0 if time < "2026" else 2 - ("accounts" in path))
