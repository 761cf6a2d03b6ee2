"""What the log says when the database refuses what a caller sent: where and why, and nothing of what was sent."""

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from service.telemetry.logs import configure_logging
from tests.support.application import Application, serving
from tests.support.database_faults import execute
from tests.support.http_ledger import JSON, LedgerClient, item, keyed, transfer, unique
from tests.support.servers import TestDatabase

PLANTED = "S3cr-4111111111111111"

# Refused by a rule of the row (its DETAIL shows the row), and by data that cannot be read (its message repeats it).
RULES = (
    "CHECK ({column}::text NOT LIKE '%4111%') NOT VALID",
    "CHECK (({column}::text)::integer > 0) NOT VALID",
)
COLUMNS = (
    ("accounts", "name"),
    ("accounts", "reference"),
    ("accounts", "metadata"),
    ("transfers", "reference"),
    ("transfers", "description"),
    ("transfers", "metadata"),
    ("holds", "description"),
    ("holds", "metadata"),
    ("decisions", "idempotency_key"),
    ("ledgers", "description"),
)


@pytest.fixture
async def watched(test_database: TestDatabase) -> AsyncIterator[Application]:
    async with serving(test_database) as application:
        yield application


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("debug", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


async def sent(ledger: LedgerClient, debit: JSON, credit: JSON) -> list[httpx.Response]:
    """Every writing request, with the secret wherever it may stand."""
    fields = {"reference": unique(PLANTED), "metadata": {"card": PLANTED}}
    account = {"currency": "USD", "name": PLANTED} | fields
    moved = transfer(debit, credit, description=PLANTED, **fields)
    return [
        await ledger.client.post("/v1/ledgers", json={"name": unique("l"), "description": PLANTED}, headers=keyed()),
        await ledger.client.post(ledger.accounts, json=account, headers=keyed()),
        await ledger.revise(debit, name=PLANTED, metadata={"card": PLANTED}),
        await ledger.client.post(ledger.transfers, json=moved, headers=keyed(unique(PLANTED))),
        await ledger.client.post(f"{ledger.path}/holds", json=moved, headers=keyed(unique(PLANTED))),
        await ledger.batch(item(debit, credit, unique(PLANTED), description=PLANTED, **fields)),
    ]


@pytest.mark.parametrize("rule", RULES)
async def test_nothing_of_a_request_is_logged(watched: Application, log: io.StringIO, rule: str) -> None:
    async with watched.client(watched.settings.admin_token) as client:
        ledger = await LedgerClient.open(client, unique("ledger"))
        debit, credit = await ledger.account(), await ledger.account()
        for table, column in COLUMNS:
            await execute(
                watched.database,
                f"ALTER TABLE funds.{table} ADD CONSTRAINT planted_rule_{column} {rule.format(column=column)}",
            )
        answers = await sent(ledger, debit, credit)
        assert {500, 207} >= {answered.status_code for answered in answers}
    said = log.getvalue()
    assert "4111" not in said
    assert not [
        answered.text for answered in answers if "invalid input" in answered.text or "Failing row" in answered.text
    ]
    logged = [json.loads(line) for line in said.splitlines()]
    assert [line for line in logged if "SQLSTATE 2" in line.get("exception", "")]
