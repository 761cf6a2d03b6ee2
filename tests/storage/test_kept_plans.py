"""Plans that are kept: whose transactions have them, and what that costs in messages."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.balances import Viewpoint
from service.settings import RetryLimits, Settings
from service.storage import plans as plans_module
from service.storage.database import Database
from service.storage.plans import Plans
from service.storage.repositories.balances import BalanceRepository
from service.storage.transactions import Mode, Reader, Transactions
from tests.storage.paging import queries, statements
from tests.storage.planner import pages_read, planning
from tests.support.application import serving
from tests.support.citus import claim_citus
from tests.support.http_ledger import LedgerClient
from tests.support.million_transfers import at, id_of, identifier_of
from tests.support.rows import MAIN
from tests.support.servers import TestDatabase

_TIMES = 7
"""PostgreSQL plans a statement for its parameters five times before it thinks of another plan."""
STATEMENTS_MAX = {"balance": 3, "statement": 7, "statement?axis=value": 7}
"""What each sends beside BEGIN and COMMIT, however many lines it has; three more where they are in a log."""

ACCOUNTS = f"""
    INSERT INTO funds.accounts (ledger_id, id, currency, normal_side, created_at, updated_at)
    SELECT {MAIN}, {identifier_of("n")}, 'USD', 'credit', now(), now() FROM generate_series(1, 3) AS n
"""
DATED_APART = f"""
    INSERT INTO funds.transfers (ledger_id, id, debit_account_id, credit_account_id, amount, currency,
                                 debit_account_version, credit_account_version, debit_balance_after,
                                 credit_balance_after, metadata, effective_at, created_at, client_id, idempotency_key)
    SELECT {MAIN}, {identifier_of("n")}, '{id_of(2)}', '{id_of(3)}', 1, 'USD', n, n, 0, 0, '{{}}',
           '2020-01-01Z', now(), 'client', 'transfer ' || n
    FROM generate_series(1, 20000) AS n
"""
"""Of two accounts, none of them the first."""


@pytest.fixture
async def single(shared_database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of one connection."""
    database = Database.connect(shared_database.service_url, Settings(pool_size=1, pool_max_overflow=0))
    yield database
    await database.close()


async def plan_cache_mode(session: AsyncSession) -> str:
    return str((await session.execute(text("SHOW plan_cache_mode"))).scalar_one())


async def planned(database: Database, table: str) -> dict[str, tuple[int, int]]:
    """How often the connection has carried out each prepared statement on ``table``: by a kept plan, by another."""
    found = "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE :table"
    async with database.engine.connect() as connection:
        rows = await connection.execute(text(found), {"table": f"%funds.{table}%"})
        return {row.statement: (row.generic_plans, row.custom_plans) for row in rows}


@pytest.mark.parametrize("mode", [Mode.READ_WRITE, Mode.READ_ONLY, Mode.SNAPSHOT])
async def test_a_transaction_has_the_plans_that_it_asks_for_and_the_next_one_its_own(
    single: Database, mode: Mode
) -> None:
    transactions = Transactions(single, RetryLimits(1, 60), mode)
    for plans, expected in ((Plans.KEPT, "force_generic_plan"), (Plans.CHOSEN, "auto")) * 2:
        assert await transactions.run(plan_cache_mode, plans=plans) == expected
        assert await transactions.run_once(plan_cache_mode, plans=plans) == expected
        assert await Reader(transactions)(plan_cache_mode, plans=plans) == expected
    with pytest.raises(ZeroDivisionError):
        await transactions.run(_fail, plans=Plans.KEPT)
    async with single.sessions() as session:
        assert await plan_cache_mode(session) == "auto"


async def _fail(session: AsyncSession) -> None:
    assert await plan_cache_mode(session) == "force_generic_plan"
    raise ZeroDivisionError


@pytest.mark.parametrize("old", [False, True])
async def test_it_is_said_with_begin_in_one_message(
    single: Database, monkeypatch: pytest.MonkeyPatch, *, old: bool
) -> None:
    """So it is that plans which were kept for long are dropped."""
    monkeypatch.setattr(plans_module, "PLAN_SECONDS_MAX", 0.0 if old else 3600.0)
    transactions = Transactions(single, RetryLimits(1, 60), Mode.READ_ONLY)
    sent: list[str] = []
    async with single.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
    await transactions.run(plan_cache_mode, plans=Plans.KEPT)
    driver.add_query_logger(lambda record: sent.append(record.query))
    await transactions.run(plan_cache_mode, plans=Plans.KEPT)
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;SET LOCAL plan_cache_mode = force_generic_plan"
    dropped = ";DISCARD PLANS" if old else ""
    assert [one for one in sent if "SHOW" not in one] == [begin + dropped, "COMMIT;"]


async def test_a_plan_of_an_empty_table_is_not_kept(test_database: TestDatabase) -> None:
    """It would go on looking through what is dated apart in the whole ledger for each account, until PostgreSQL
    analyzes the table.
    """
    database = Database.connect(test_database.service_url, Settings())
    with queries(database) as sent:
        async with database.sessions() as session:
            await BalanceRepository(session).posted(MAIN, [id_of(1)], Viewpoint.at(at(1), at(1)))
    superuser = await asyncpg.connect(test_database.superuser_url)
    await superuser.execute(ACCOUNTS)
    async with planning(database, "force_generic_plan") as planner:
        await planner.measure(*sent[0])
        await superuser.execute(DATED_APART)
        kept = pages_read(await planner.measure(*sent[0]))
        await planner.drop_plans()
        made_anew = pages_read(await planner.measure(*sent[0]))
    await superuser.close()
    await database.close()
    assert made_anew <= 40 < kept, (made_anew, kept)


@pytest.mark.parametrize("plans", Plans)
async def test_postgresql_plans_once_or_for_each_time(single: Database, plans: Plans) -> None:
    """As it counts itself. What it would choose are plans for each time: the reason why it is told otherwise."""

    async def read(session: AsyncSession) -> None:
        await BalanceRepository(session).held(MAIN, [id_of(1)], Viewpoint.at(at(1), at(1)))

    for _ in range(_TIMES):
        await Transactions(single, RetryLimits(1, 60), Mode.READ_ONLY).run(read, plans=plans)
    [counted] = (await planned(single, "holds")).values()
    assert counted == ((_TIMES, 0) if plans is Plans.KEPT else (0, _TIMES))


async def test_where_tables_may_be_distributed_nothing_has_a_kept_plan(test_database: TestDatabase) -> None:
    """Which node has the ledger is known with the parameters only. Here the server just says that it has Citus."""
    superuser = await asyncpg.connect(test_database.superuser_url)
    await claim_citus(superuser)
    await superuser.close()
    settings = Settings()
    for connect in (Database.connect, Database.connect_batches, Database.connect_dry_runs):
        database = connect(test_database.service_url, settings)
        for plans in Plans:
            mode = await Transactions(database, RetryLimits(1, 60)).run(plan_cache_mode, plans=plans)
            assert mode == "force_custom_plan"
        await database.close()


async def test_balances_and_statements_have_kept_plans_and_lists_have_not(test_database: TestDatabase) -> None:
    one = {"pool_size": 1, "pool_max_overflow": 0}
    async with serving(test_database, **one) as application:
        pool: Database = application.app.state.services.pools.reads
        async with application.client(application.settings.admin_token) as client:
            ledger = LedgerClient(client, "main")
            payer, payee = await ledger.account(), await ledger.account()
            await ledger.move(payer, payee)
            own = f"{ledger.accounts}/{payee['id']}"
            period = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
            for path in (f"{own}/balance", f"{own}/statement?{period}", f"{own}/statement?axis=value&{period}"):
                with statements(pool) as sent:
                    assert (await client.get(path)).status_code == 200
                name = path.removeprefix(f"{own}/").replace(period, "").rstrip("?&")
                assert len(sent) <= STATEMENTS_MAX[name], sent
            assert {custom for _, custom in (await planned(pool, "")).values()} == {0}
            before = await planned(pool, "transfers")
            assert (await client.get(f"{ledger.transfers}?account_id={payee['id']}")).status_code == 200
            after = await planned(pool, "transfers")
            assert [after[one] for one in after.keys() - before.keys()] == [(0, 1)]
