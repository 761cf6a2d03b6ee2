"""The examples of the client's README run as they stand."""

import asyncio
import re
import sqlite3
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from funds_client import ClientSettings, FundsClient
from tests.client.conftest import Accounts, Stage
from tests.support.servers import ROOT

README = (ROOT / "service" / "client" / "README.md").read_text()
EXAMPLES = dict(re.findall(r"(?s)### ([^\n]+)\n.*?```python\n(.*?)```", README))


def test_there_are_five() -> None:
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("title", EXAMPLES)
async def test_an_example_runs(
    stage: Stage, ledger: str, accounts: Accounts, title: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(":memory:") as database:
        names: dict[str, Any] = {
            "url": stage.service.url, "token": stage.service.admin_token, "ledger": ledger,
            "outbox": tmp_path / "outbox",
            "bank": accounts.bank, "customer": accounts.customer, "database": database,
        }  # fmt: skip
        async with FundsClient(stage.service.url, token=stage.service.admin_token, ledger=ledger) as funds:
            await funds.transfer(debit=accounts.bank, credit=accounts.customer, amount=400, currency="USD")
            exec(f"async def example():\n{textwrap.indent(EXAMPLES[title], '    ')}", names)
            running = asyncio.create_task(names["example"]())
            if "follow" in EXAMPLES[title]:
                while _total(database) != 400:
                    await asyncio.sleep(0.02)
                    assert not running.done(), running
                running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            customer = await funds.get_account(accounts.customer)
    told = capsys.readouterr().out
    assert (customer.balance, told) == _EXPECTED[title](told)


def _total(database: sqlite3.Connection) -> int | None:
    try:
        row = database.execute("SELECT amount FROM totals").fetchone()
    except sqlite3.OperationalError:  # there is no table yet
        return None
    return None if row is None else int(row[0])


def _same(balance: int, pattern: str) -> Any:
    def expected(told: str) -> tuple[int, str]:
        assert re.fullmatch(pattern, told), told
        return balance, told

    return expected


_UUID = "[0-9a-f-]{36}"
_EXPECTED = {
    "Move money": _same(1450, rf"{_UUID} 1450\n1450 550\n"),
    "Survive a crash": _same(900, ""),
    "Many transfers": _same(400 + 2_001_000, ""),
    "Reserve first": _same(250, rf"400 None None\n200 {_UUID} None\n50 None {_UUID}\n"),
    "Follow what happens": _same(400, ""),
}


def test_the_table_of_settings_is_that_of_the_settings() -> None:
    told = dict(re.findall(r"(?m)^\| `(\w+)` \| ([\w.]+) \|", README))
    defaults = {name: getattr(ClientSettings(), name) for name in ClientSettings.__slots__}
    assert {name: float(text) if text != "true" else True for name, text in told.items()} == defaults
