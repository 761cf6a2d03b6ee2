"""``funds demo``: a small bank that is sound, the same for the same seed, and has something of everything."""

import re
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from service.app import create_app
from service.domain.overview import COUNTED_MAX
from service.settings import Settings
from service.storage.database import Database
from service.storage.rows import AccountRow, DecisionRow, LedgerRow, TransferRow
from tests.support.servers import run_funds

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(database_url: str) -> Run:
    """Run ``funds demo`` to its end."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_funds("demo", *arguments, settings={"FUNDS_DATABASE_URL": database_url}, seconds_max=30)

    return run


async def transfers_of(database: Database, ledger: str) -> Sequence[TransferRow]:
    query = (
        select(TransferRow)
        .join(LedgerRow, LedgerRow.id == TransferRow.ledger_id)
        .where(LedgerRow.name == ledger)
        .order_by(TransferRow.id)
        .options(joinedload(TransferRow.debit_account), joinedload(TransferRow.credit_account))
    )
    async with database.sessions() as session:
        return (await session.scalars(query)).all()


async def count_transfers(database: Database) -> int:
    async with database.sessions() as session:
        return (await session.scalars(select(func.count()).select_from(TransferRow))).one()


async def test_the_bank_is_sound_and_varied(run: Run, database: Database) -> None:
    done = run()

    assert (done.returncode, done.stderr) == (0, "")
    transfers = await transfers_of(database, "demo")
    assert 2_000 < len(transfers) < 6_000
    days = {transfer.effective_at.date() for transfer in transfers}
    today = datetime.now(UTC).date()
    assert len(days) == 14
    assert today - timedelta(days=15) <= min(days)
    assert max(days) < today
    async with database.sessions() as session:
        accounts = (await session.scalars(select(AccountRow))).all()
        rejected = await session.scalar(select(func.count()).where(DecisionRow.outcome == "rejected"))
    assert {account.currency for account in accounts} == {"USD", "EUR", "JPY"}
    assert rejected
    for currency in ("USD", "EUR", "JPY"):
        of_currency = [account for account in accounts if account.currency == currency]
        assert sum(one.debits_posted for one in of_currency) == sum(one.credits_posted for one in of_currency) > 0
        settlement = next(one for one in of_currency if one.reference == f"settlement-{currency.lower()}")
        assert settlement.credits_posted == settlement.debits_posted > 0, "the merchants are paid every evening"
    assert f"{len(accounts)} accounts (EUR, JPY, USD), {len(transfers):,} transfers" in done.stdout
    assert f"{rejected:,} payments refused" in done.stdout


async def test_the_same_seed_makes_the_same_bank(run: Run, database: Database) -> None:
    for ledger, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        assert run("--ledger", ledger, "--seed", seed).returncode == 0

    one, two, three = [
        [
            (row.debit_account.reference, row.credit_account.reference, row.amount, row.effective_at, row.reference)
            for row in await transfers_of(database, ledger)
        ]
        for ledger in ("one", "two", "three")
    ]
    assert one == two
    assert one != three


async def test_a_ledger_in_use_is_filled_only_when_asked(run: Run, database: Database) -> None:
    run()
    first = await count_transfers(database)

    refused = run()
    assert refused.returncode == 1
    assert refused.stderr == (
        f"Error: The ledger 'demo' already has {first:,} transfers: --more adds to them,"
        " --ledger NAME fills another one.\n"
    )
    assert await count_transfers(database) == first
    count = first
    while count <= COUNTED_MAX + 2_000:  # also when an overview counts no further
        assert run("--more").returncode == 0
        count, before = await count_transfers(database), count
        assert count > before + 2_000
    assert f"already has {COUNTED_MAX:,} or more transfers" in run().stderr

    other_bank = run("--more", "--seed", "2")
    assert other_bank.returncode == 1
    assert "has accounts of another kind or seed" in other_bank.stderr
    assert "Traceback" not in other_bank.stderr


def test_a_name_that_no_ledger_can_have_is_refused(run: Run) -> None:
    done = run("--ledger", "My Bank")
    assert done.returncode == 2
    assert "--ledger" in done.stderr


async def test_the_lines_it_prints_show_what_it_made(run: Run, settings: Settings) -> None:
    lines = re.findall(
        r'^  curl -H "Authorization: Bearer \$TOKEN" "http://127.0.0.1:8000(/v1/.*)"$', run().stdout, re.MULTILINE
    )

    assert len(lines) == 4
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {settings.admin_token}"}
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://funds", headers=headers) as http:
        answers = [await http.get(line) for line in lines]
    assert [answer.status_code for answer in answers] == [200] * 4
    overview, busiest, account, salaries = [answer.json() for answer in answers]
    assert overview["transfer_count"] > 2_000
    assert len(busiest["transfers"]) > 10
    assert account["items"][0]["reference"] == "customer-001"
    assert len(salaries["items"]) == 5
    assert {item["description"] for item in salaries["items"]} == {"Salary"}
