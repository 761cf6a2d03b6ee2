"""An installation from before there was a history (schema 0004), migrated: what it had is in the history, in the same
form and order as what is done today, sealed, sound, and its keys are answered as they were.

``upgraded/rows.sql`` is what that version wrote, as pg_dump printed it: holds in every state, captures, reversals,
groups, rejections, a fence, accounts that were frozen, closed and revised, odd characters, a ledger with nothing in it,
tokens that live and one that was revoked. ``upgraded/answers.jsonl`` is what it was asked, and what it answered.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.audit.integrity import verify_ledger
from service.domain.history import INSTALLATION
from service.domain.identifiers import first_identifier
from service.domain.integrity import Finding
from service.settings import RetryLimits, Settings
from service.storage.database import Database, Session
from service.storage.migrations import downgrade, upgrade
from service.storage.schema import SCHEMA_REVISION
from service.storage.transactions import Mode, Transactions
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, problem
from tests.support.log import latest_checkpoint, log_lines, serving_log
from tests.support.log_verifier import ReferenceTree, check_checkpoint
from tests.support.servers import TestDatabase

WRITTEN = Path(__file__).parent / "upgraded"
OLD_SCHEMA = "0004"
SIZES = {"main": 27, "empty": 1, "odd-1": 1}
ADDED = ("client", "replayed")
LEDGER_IDS = (1, 3, 4)
TABLES = ("decisions", "reversed_transfers", "transfers", "holds", "accounts", "tokens", "ledgers")


@pytest.fixture
async def old_database(test_database: TestDatabase) -> TestDatabase:
    """A database as that version left it."""
    await downgrade(test_database.owner_url, OLD_SCHEMA)
    connection = await asyncpg.connect(test_database.owner_url)
    await connection.execute(f"TRUNCATE {', '.join(f'funds.{table}' for table in TABLES)}")
    await connection.execute((WRITTEN / "rows.sql").read_text())
    await connection.close()
    return test_database


@pytest.fixture
async def upgraded(old_database: TestDatabase) -> AsyncIterator[Application]:
    assert await upgrade(old_database.owner_url) == (OLD_SCHEMA, SCHEMA_REVISION)
    async with serving_log(old_database) as application:
        yield application


def canonical(document: Any) -> str:
    """The encoder of docs/history.md, written without the service."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.fixture
async def auditor(old_database: TestDatabase) -> AsyncIterator[Transactions]:
    pool = Database.connect_verification(old_database.auditor_url, Settings())
    yield Transactions(pool, RetryLimits(1, 60.0), Mode.SNAPSHOT)
    await pool.close()


async def test_its_history_has_the_form_and_the_order_of_today(upgraded: Application) -> None:
    async with upgraded.client(upgraded.settings.admin_token) as client:
        for name, size in SIZES.items():
            ledger = LedgerClient(client, name)
            note = await latest_checkpoint(ledger, size=size)
            lines = await log_lines(ledger)
            entries = [json.loads(line) for line in lines]
            assert lines == [canonical(entry) for entry in entries]
            assert [entry["id"] for entry in entries] == sorted({entry["id"] for entry in entries})
            for entry in entries:
                beginning = str(first_identifier(datetime.fromisoformat(entry["time"])))
                assert entry["id"][:18] == beginning[:18], "the identifier is of the entry's time"
            key = (await client.get(f"{ledger.path}/log/key")).text.strip()
            head, _ = check_checkpoint(note.encode(), key)
            assert (head.size, head.root) == (size, ReferenceTree([line.encode() for line in lines]).root(size))
            assert entries[0]["type"] == "funds.ledger.created"


async def test_its_facts_have_their_authors(upgraded: Application) -> None:
    async with upgraded.client(upgraded.settings.admin_token) as client:
        await latest_checkpoint(LedgerClient(client, "main"), size=SIZES["main"])
        entries = [json.loads(line) for line in await log_lines(LedgerClient(client, "main"))]
        installation = answer(await client.get("/v1/events"))["items"]
    made = [entry for entry in entries if entry["type"] != "funds.ledger.created"]
    assert Counter(entry["type"] for entry in made) == {
        "funds.account.opened": 5,
        "funds.hold.opened": 6,
        "funds.transfer.posted": 15,
    }
    asked = read_answers()
    keys = {one["headers"].get("Idempotency-Key") for one in asked}
    keys |= {item["idempotency_key"] for one in asked for item in (one["body"] or {}).get("transfers", ())}
    assert {entry["client"] for entry in made} == {"admin"}
    assert {entry["idempotencykey"] for entry in made} <= keys
    assert len({entry["idempotencykey"] for entry in made}) == len(made)
    assert Counter(entry["type"] for entry in installation) == {
        "funds.ledger.created": 3,
        "funds.token.created": 4,
        "funds.token.revoked": 1,
    }


async def test_its_keys_are_answered_as_they_were(upgraded: Application) -> None:
    async with upgraded.client(upgraded.settings.admin_token) as client:
        for asked in read_answers():
            headers = {name: value for name, value in asked["headers"].items() if value}
            given = await client.request(asked["method"], asked["path"], json=asked["body"], headers=headers)
            assert given.status_code == asked["status"], given.text
            assert without(answer(given), *ADDED) == without(asked["answer"], *ADDED)
        assert len(await log_lines(LedgerClient(client, "main"))) == SIZES["main"]


async def test_it_is_sound(upgraded: Application, auditor: Transactions) -> None:
    """As it was left, and after work has gone on in it."""
    async with upgraded.client(upgraded.settings.admin_token) as client:
        ledger = LedgerClient(client, "main")
        await latest_checkpoint(ledger, size=SIZES["main"])
        assert await auditor.run_once(findings) == []
        accounts = {one["reference"]: one for one in answer(await client.get(ledger.accounts))["items"]}
        await ledger.move(accounts["cash"], accounts["a"], 5)
        await ledger.revise(accounts["a"], minimum_balance=-6)
        [open_hold] = answer(await client.get(f"{ledger.path}/holds?status=open"))["items"]
        answer(await client.post(f"{ledger.path}/holds/{open_hold['id']}/void", headers=keyed()))
        await latest_checkpoint(ledger, size=SIZES["main"] + 3)
        problem(await client.post("/v1/ledgers", json={"name": "main"}, headers=keyed()), 409, "reference_taken")
    assert await auditor.run_once(findings) == []


async def findings(session: Session) -> list[Finding]:
    steps = [step for ledger_id in (INSTALLATION.id, *LEDGER_IDS) async for step in verify_ledger(session, ledger_id)]
    return [finding for step in steps for finding in step.findings]


async def test_it_goes_back(old_database: TestDatabase) -> None:
    await upgrade(old_database.owner_url)
    assert await downgrade(old_database.owner_url, OLD_SCHEMA) == (SCHEMA_REVISION, OLD_SCHEMA)
    assert await upgrade(old_database.owner_url) == (OLD_SCHEMA, SCHEMA_REVISION)


def read_answers() -> list[JSON]:
    return [json.loads(line) for line in (WRITTEN / "answers.jsonl").read_bytes().splitlines()]


def without(content: Any, *names: str) -> Any:
    """``content`` without the members ``names``, and a ``code`` that is null, at every depth: later versions added
    them.
    """
    if isinstance(content, dict):
        return {
            name: without(value, *names)
            for name, value in content.items()
            if name not in names and (name, value) != ("code", None)
        }
    return [without(one, *names) for one in content] if isinstance(content, list) else content
