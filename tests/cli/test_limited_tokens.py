"""``funds tokens create --debit … --debit-code …``: what is taken, shown and recorded, and what is not taken."""

import json
import os
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner, Result

from service.cli import main
from tests.support.servers import TestDatabase, run_funds

CREATE = ("tokens", "create", "--client", "billing", "--scope", "transfers:write")
ACCOUNT = "019b76da-a801-7000-8000-0000000000a0"
OTHER = "019b76da-a801-7000-8000-0000000000b0"


async def test_a_limited_token_is_stored_listed_and_recorded(test_database: TestDatabase) -> None:
    operator = {
        "FUNDS_DATABASE_URL": test_database.service_url,
        "FUNDS_OPERATOR_DATABASE_URL": test_database.operator_url,
    }
    given = (
        "--debit",
        OTHER,
        "--debit",
        ACCOUNT,
        "--debit",
        OTHER,
        "--debit-code",
        "2000",
        "--debit-code",
        "1000:cash",
    )
    for arguments in (given, ("--debit-code", "1000"), ()):
        made = run_funds(*CREATE, *arguments, settings=operator)
        assert made.returncode == 0, made.stderr
    listed = [line.split("  ") for line in run_funds("tokens", "list", settings=operator).stdout.splitlines()]
    assert [line[4] for line in listed[:2]] == [f"debits {ACCOUNT},{OTHER},1000:cash,2000", "debits 1000"]
    assert listed[2][4].startswith("active until")

    connection = await asyncpg.connect(test_database.auditor_url)
    rows = await connection.fetch("SELECT debit_accounts::text[], debit_codes FROM funds.tokens ORDER BY id")
    entries = await connection.fetch("SELECT data FROM funds.history WHERE type = 'token.created' ORDER BY id")
    await connection.close()
    stored = [(row["debit_accounts"], row["debit_codes"]) for row in rows]
    assert stored == [([ACCOUNT, OTHER], ["1000:cash", "2000"]), ([], ["1000"]), (None, None)]
    data: list[Any] = [json.loads(entry["data"]) for entry in entries]
    assert [(one["debit_accounts"], one["debit_codes"]) for one in data] == stored
    assert run_funds("verify", settings=operator).returncode == 0


def _create(*arguments: str) -> Result:
    """Run the command where no database is: what is wrong with its arguments is told before one is asked."""
    return CliRunner().invoke(
        main, [*CREATE, *arguments], env={"FUNDS_DATABASE_URL": "postgresql://nobody@/?host=/none"}
    )


@pytest.mark.parametrize(
    "account_id",
    [
        "",
        "x",
        "*",
        "1000:cash",
        ACCOUNT.upper(),
        ACCOUNT.replace("-", ""),
        f"{{{ACCOUNT}}}",
        f"urn:uuid:{ACCOUNT}",
        f" {ACCOUNT}",
        f"{ACCOUNT}\n",
        f"{ACCOUNT},{OTHER}",
        f"{ACCOUNT[:-1]}\u0660",
        "'; DROP TABLE funds.tokens; --",
        "a" * 100_000,
        os.fsdecode(b"\xff"),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_what_is_no_account_is_not_taken(account_id: str) -> None:
    refused = _create("--debit", account_id)
    assert refused.exit_code == 2
    assert "is no account's ID" in " ".join(refused.output.replace("│", " ").split())
    assert len(refused.output) < 2_000


@pytest.mark.parametrize(
    "code",
    [
        "",
        ":",
        "1000:",
        ":1000",
        "1000::cash",
        "1000 ",
        "1000\n",
        "-1000",
        "1000:*",
        "%",
        "é",
        "1" * 256,
        ":".join(["1"] * 11),
        os.fsdecode(b"\xff"),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_what_is_no_code_is_not_taken(code: str) -> None:
    refused = _create("--debit-code", code)
    assert refused.exit_code == 2
    assert "is no code of accounts" in " ".join(refused.output.replace("│", " ").split())


@pytest.mark.parametrize("scope", ["accounts:write", "admin"])
@pytest.mark.parametrize("limit", [("--debit", ACCOUNT), ("--debit-code", "1000")])
def test_a_limit_beside_a_scope_that_could_change_it_is_not_taken(scope: str, limit: tuple[str, str]) -> None:
    refused = _create("--scope", scope, *limit)
    assert refused.exit_code == 2
    assert "go with the scopes audit, read, transfers:write only" in " ".join(refused.output.replace("│", " ").split())
