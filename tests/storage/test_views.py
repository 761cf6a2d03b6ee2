"""The views for people who ask in SQL (docs/views.md): they say what the API says, to the role that reads them."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.api.moves import open_hold
from tests.storage.privileges import VIEWS
from tests.support.application import Application, serving
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, problem, unique
from tests.support.rows import insert
from tests.support.servers import ROOT, TestDatabase

KEY = "secret-key-"
PAGE = ROOT / "service" / "docs" / "views.md"


class Scene:
    """A ledger in which something of every kind happened, every time under a key that begins with KEY."""

    def __init__(self, application: Application, ledger: LedgerClient, reader: asyncpg.Connection) -> None:
        self.application, self.ledger, self.reader = application, ledger, reader

    def key(self) -> dict[str, str]:
        return keyed(unique(KEY))

    async def fill(self) -> None:
        ledger = self.ledger
        cash = await ledger.account(reference="cash", normal_side="debit", code="1000:cash", name="Till")
        ada = await ledger.account(reference="ada", minimum_balance=0, metadata={"shop": "17"})
        other = await ledger.account()
        posted = answer(await ledger.post(cash, ada, unique(KEY), amount=1_000, reference="r", description="d"))
        closing = {"closed_until": posted["created_at"], "late_entries": "forward"}
        closed = await ledger.client.post(f"{ledger.path}/closings", json=closing, headers=self.key())
        assert closed.status_code == 201, closed.text
        late = f"{posted['created_at'][:10]}T00:00:00Z"
        forwarded = answer(await ledger.post(cash, ada, unique(KEY), amount=5, effective_at=late, metadata={"a": "b"}))
        assert forwarded["requested_effective_at"] == late
        path = f"{ledger.transfers}/{posted['id']}/reversals"
        answer(await ledger.client.post(path, json={"amount": 100}, headers=self.key()))
        holds = [await open_hold(ledger, ada, other) for _ in range(3)]
        for hold, end in ((holds[0], "captures"), (holds[1], "void")):
            answer(await ledger.client.post(f"{ledger.path}/holds/{hold['id']}/{end}", json={}, headers=self.key()))
        problem(await ledger.post(ada, other, unique(KEY), amount=9_999), 422, "insufficient_funds")
        items = [
            {
                "idempotency_key": unique(KEY),
                "debit_account_id": ada["id"],
                "credit_account_id": other["id"],
                "amount": amount,
                "currency": "USD",
            }
            for amount in (1, 9_999)
        ]
        assert (await ledger.batch(*items, mode="atomic")).status_code == 422
        fence = f"{ledger.path}/idempotency-keys/{unique(KEY)}/fence"
        assert (await ledger.client.post(fence)).status_code in {200, 201}
        assert (await ledger.revise(ada, name="Ada", minimum_balance=None)).status_code == 200

    async def rows(self, view: str, order: str = "id") -> list[JSON]:
        """The rows of a view as JSON has them, in this ledger, latest first."""
        found = await self.reader.fetch(
            f"SELECT to_jsonb(shown) AS row FROM funds_audit.{view} AS shown WHERE ledger = $1 ORDER BY {order} DESC",
            self.ledger.name,
        )
        return [json.loads(row["row"]) for row in found]

    async def listed(self, path: str) -> list[JSON]:
        page = answer(await self.ledger.client.get(f"{self.ledger.path}/{path}", params={"limit": 1000}))
        assert isinstance(page["items"], list)
        return page["items"]


@pytest.fixture(scope="module")
async def scene(shared_database: TestDatabase) -> AsyncIterator[Scene]:
    superuser = await asyncpg.connect(shared_database.superuser_url)
    token: dict[str, Any] = {"ledger_id": 0, "id": uuid4(), "type": "token.created", "client_id": None, "data": "{}"}
    await insert(superuser, "history", **token, created_at=datetime.now(UTC))
    await superuser.close()
    async with serving(shared_database) as application, application.client(application.settings.admin_token) as client:
        reader = await asyncpg.connect(shared_database.reader_url)
        scene = Scene(application, await LedgerClient.open(client, unique("views")), reader)
        await scene.fill()
        yield scene
        await reader.close()


def told(listed: list[JSON], *left_out: str) -> list[JSON]:
    return [{name: _value(value) for name, value in one.items() if name not in left_out} for one in listed]


def _value(value: Any) -> Any:
    """A time as PostgreSQL writes it in JSON."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value):
        return re.sub(r"\.(\d*?)0*$", r".\1", value[:-1]).rstrip(".") + "+00:00"
    return value


@pytest.mark.parametrize(
    ("view", "path", "more"),
    [
        ("accounts", "accounts", {"ledger_id"}),
        (
            "transfers",
            "transfers",
            {
                "ledger_id",
                "debit_account_reference",
                "credit_account_reference",
                "debit_balance_change",
                "credit_balance_change",
                "request_id",
            },
        ),
        ("holds", "holds", {"ledger_id", "debit_account_reference", "credit_account_reference", "request_id"}),
    ],
)
async def test_a_view_says_what_a_list_says(scene: Scene, view: str, path: str, more: set[str]) -> None:
    rows = await scene.rows(view)
    assert len(rows) >= 3
    assert all(more <= row.keys() for row in rows)
    for row in rows:
        if row.get("requested_effective_at", "") is None:  # the API leaves it out
            del row["requested_effective_at"]
    assert told(rows, *more) == told(await scene.listed(path))


async def test_postings_are_the_transfers_by_side(scene: Scene) -> None:
    transfers = {row["id"]: row for row in await scene.rows("transfers")}
    accounts = {row["id"]: row for row in await scene.rows("accounts")}
    postings = await scene.rows("postings", "transfer_id")
    assert len(postings) == 2 * len(transfers)
    assert {(row["transfer_id"], row["side"]) for row in postings} == {
        (transfer_id, side) for transfer_id in transfers for side in ("debit", "credit")
    }
    balances: dict[str, int] = {}
    for row in reversed(postings):
        transfer, side = transfers[row["transfer_id"]], row["side"]
        other = "credit" if side == "debit" else "debit"
        account = accounts[row["account_id"]]
        assert row["account_id"] == transfer[f"{side}_account_id"]
        assert row["counterparty_id"] == transfer[f"{other}_account_id"]
        assert row["account_reference"] == account["reference"] == transfer[f"{side}_account_reference"]
        assert row["counterparty_reference"] == transfer[f"{other}_account_reference"]
        assert row["account_code"] == account["code"]
        assert row["signed_amount"] == transfer["amount"] * (1 if side == "debit" else -1)
        change = transfer["amount"] * (1 if account["normal_side"] == side else -1)
        assert row["balance_change"] == change == transfer[f"{side}_balance_change"]
        balances[account["id"]] = balances.get(account["id"], 0) + change
        assert row["balance_after"] == balances[account["id"]] == transfer[f"{side}_balance_after"]
        assert row["account_version"] == transfer[f"{side}_account_version"]
        same = (
            "ledger_id",
            "requested_effective_at",
            "amount",
            "currency",
            "reference",
            "description",
            "client",
            "effective_at",
            "created_at",
        )
        assert {name: row[name] for name in same} == {name: transfer[name] for name in same}
    for account_id, balance in balances.items():
        assert accounts[account_id]["balance"] == balance
    assert await scene.reader.fetchval("SELECT sum(signed_amount) FROM funds_audit.postings") == 0


async def test_decisions_are_those_of_the_list_without_keys(scene: Scene) -> None:
    rows = await scene.rows("decisions", "decided_at")
    rejected = sorted(
        (one["decided_at"], one["client"], one["operation"], one["problem"]["code"], one["problem"]["detail"])
        for one in told(await scene.listed("decisions"))
    )
    shown = [row for row in rows if row["outcome"] == "rejected"]
    assert rejected == sorted(
        (row["decided_at"], row["client"], row["operation"], row["code"], row["detail"]) for row in shown
    )
    numbers = next(
        row["members"] for row in shown if row["code"] == "insufficient_funds" and "shortfall" in row["members"]
    )
    assert {"available_balance", "amount", "shortfall"} <= numbers.keys()
    assert [row["code"] for row in rows if row["outcome"] == "fenced"] == [None]
    made = {row["resource_id"] for row in rows if row["operation"] == "post_transfer" and row["outcome"] == "applied"}
    assert made <= {row["id"] for row in await scene.rows("transfers")}


async def test_entries_are_the_feed(scene: Scene) -> None:
    feed = answer(await scene.ledger.client.get(f"{scene.ledger.path}/events", params={"limit": 1000}))["items"]
    rows = (await scene.rows("entries"))[::-1]
    alone = {"funds.transfer.posted", "funds.hold.opened"}
    assert await scene.rows("history") == [row for row in reversed(rows) if row["type"] not in alone]
    assert [row["id"] for row in rows] == [one["id"] for one in feed]
    assert sum("requested_effective_at" in row["data"] for row in rows) == 1
    assert {row["type"] for row in rows} >= {"funds.transfer.posted", "funds.hold.opened", "funds.command.rejected"}
    for row, one in zip(rows, feed, strict=True):
        assert (row["type"], row["subject"], row["client"]) == (one["type"], one["subject"], one["client"])
        assert row["created_at"] == _value(one["time"])
        assert row["request_id"] == one["requestid"]
        data = one["data"]
        data.get("problem", {}).get("members", {}).pop("refused_idempotency_key", None)
        assert row["data"] == data


async def test_checkpoints_are_those_of_the_log(scene: Scene, shared_database: TestDatabase) -> None:
    superuser = await asyncpg.connect(shared_database.superuser_url)
    ledger_id = (await scene.rows("ledgers", "ledger"))[0]["ledger_id"]
    await superuser.execute(
        "INSERT INTO funds.log_checkpoints (ledger_id, size, root, last_entry_id, note)"
        " SELECT one, 3, sha256('root'), gen_random_uuid(), 'note' FROM unnest(ARRAY[0, $1]) AS one",
        ledger_id,
    )
    await superuser.close()
    [row] = await scene.rows("checkpoints", "size")
    assert (row["size"], row["note"]) == (3, "note")
    assert await scene.reader.fetchval("SELECT count(*) FROM funds_audit.checkpoints WHERE ledger_id = 0") == 0


async def test_no_key_and_no_token_is_shown(scene: Scene, shared_database: TestDatabase) -> None:
    """Not in any column of any view; and the tables have them."""
    superuser = await asyncpg.connect(shared_database.superuser_url)
    tables = [row[0] for row in await superuser.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'funds'")]
    stored = 0
    for table in tables:
        stored += await superuser.fetchval(
            f"SELECT count(*) FROM funds.{table} AS one WHERE one::text LIKE '%' || $1 || '%'",
            KEY,
        )
    await superuser.close()
    assert stored > 10
    for view in VIEWS:
        columns = await scene.reader.fetch(f"SELECT to_jsonb(one)::text AS row FROM funds_audit.{view} AS one")
        assert columns or view == "checkpoints", view
        for row in columns:
            assert KEY not in row["row"], view
            assert "token_hash" not in row["row"], view
            assert '"funds.token' not in row["row"], view


@pytest.mark.parametrize(
    ("view", "column", "value"),
    [
        ("history", "type", "funds.token.created"),
        ("entries", "type", "funds.token.created"),
        ("decisions", "operation", "create_ledger"),
    ],
)
async def test_what_is_left_out_is_not_told_by_an_error(
    scene: Scene, shared_database: TestDatabase, view: str, column: str, value: str
) -> None:
    """Of a view, functions of a query are run on what it shows alone: a cast would tell of what it leaves out."""
    told = f"CASE WHEN {column} = '{value}' THEN {column}::integer = 1 ELSE false END"
    assert await scene.reader.fetch(f"SELECT * FROM funds_audit.{view} WHERE {told}") == []
    superuser = await asyncpg.connect(shared_database.superuser_url)
    barrier = "history" if view == "entries" else view
    await superuser.execute(f"ALTER VIEW funds_audit.{barrier} SET (security_barrier = false)")
    try:
        with pytest.raises(asyncpg.InvalidTextRepresentationError, match=value):
            await scene.reader.fetch(f"SELECT * FROM funds_audit.{view} WHERE {told}")
    finally:
        await superuser.execute(f"ALTER VIEW funds_audit.{barrier} SET (security_barrier = true)")
        await superuser.close()


async def test_the_page_has_every_column(scene: Scene) -> None:
    documented: dict[str, list[str]] = {}
    for view, table in re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        names = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
        documented[view] = [name for cell in names for name in re.findall(r"`(\w+)`", cell)]
    rows = await scene.reader.fetch(
        "SELECT table_name, array_agg(column_name::text) AS names FROM information_schema.columns"
        " WHERE table_schema = 'funds_audit' GROUP BY table_name"
    )
    assert {name: sorted(columns) for name, columns in documented.items()} == {
        row["table_name"]: sorted(row["names"]) for row in rows
    }


async def test_the_queries_of_the_page_run(scene: Scene) -> None:
    queries = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(queries) >= 3
    for query in queries:
        await scene.reader.fetch(query)
