"""What every query reads of a ledger of a million transfers: a few pages more than it answers.

Each is run as the repositories send it, on the service's own connections, with the worst parameters, with the plan that
PostgreSQL makes for them and with the one that it makes for all, on tables that were just filled and on tables that it
knows well.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.audit.overview import COUNTED_MAX, read_overview
from service.settings import Settings
from service.storage import decisions, tokens
from service.storage.accounts import AccountRepository
from service.storage.database import Database
from service.storage.decisions import DecisionRepository, Key, Position
from service.storage.holds import HoldRepository
from service.storage.ledgers import LedgerRepository
from service.storage.lists import ENTRIES_SCANNED_MAX
from service.storage.retry import Reader
from service.storage.transfers import TransferRepository
from tests.api.conftest import serving
from tests.rows import MAIN
from tests.servers import TestDatabase, TestPostgres
from tests.storage.million import (
    ABSENT,
    ACCOUNTS,
    ALIKE,
    BUSY,
    CAPTURED,
    COMMON,
    ELSEWHERE,
    HOLDS,
    LATEST_ACCOUNTS_FROZEN,
    QUIET,
    RARE,
    REFUSALS,
    REVERSED,
    TRANSFERS,
    at,
    fill,
    id_of,
)
from tests.storage.paging import queries, rows_of

LIMIT = 20
PAGES_MAX = 40
"""What a query may read beside two pages for each row that it answers: the ways down its indexes."""

SEARCH_PAGES_MAX = 500
"""What it may read more to find the version of an account at a time: a way down an index for each halving."""


@pytest.fixture(scope="module", params=["just filled", "well known"])
async def million(request: pytest.FixtureRequest, filled: TestDatabase) -> TestDatabase:
    """The ledger, before and after PostgreSQL has looked at it."""
    if request.param == "well known":
        superuser = await asyncpg.connect(filled.superuser_url)
        await superuser.execute("VACUUM ANALYZE")
        await superuser.close()
    return filled


@pytest.fixture(scope="module")
async def filled(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    name, database = await postgres.make_database()
    superuser = await asyncpg.connect(database.superuser_url)
    await fill(superuser)
    await superuser.close()
    yield database
    await postgres.drop_database(name)


@pytest.fixture
async def database(million: TestDatabase) -> AsyncIterator[Database]:
    """The service's connections to it."""
    database = Database.connect(million.service_url, Settings())
    yield database
    await database.close()


Cases = list[tuple[dict[str, Any], int]]
"""Arguments of one call, and how many pages it may read beside two for each row."""


def choices(**values: list[Any]) -> Iterator[dict[str, Any]]:
    """Every combination of one value for each name."""
    for chosen in product(*values.values()):
        yield dict(zip(values, chosen, strict=True))


def windows(latest: int) -> list[dict[str, Any]]:
    """Times: none, the first ones, the last ones, a few in the middle, before all and after all."""
    middle = latest // 2
    return [
        {},
        {"created_to": at(12)},
        {"created_from": at(latest - 10)},
        {"created_from": at(middle), "created_to": at(middle + 30)},
        {"created_to": at(-1)},
        {"created_from": at(latest + 1)},
    ]


def page(pages_max: int = PAGES_MAX, /, **values: list[Any]) -> Cases:
    """Pages of a ledger with every combination of ``values``; ``window`` is a choice of times."""
    return [
        ({"ledger_id": MAIN, "limit": LIMIT, **chosen.pop("window", {}), **chosen}, pages_max)
        for chosen in choices(**values)
    ]


def pages_of_transfers() -> Cases:
    befores = [None, id_of(TRANSFERS), id_of(TRANSFERS // 2), id_of(9)]
    references = [COMMON, ELSEWHERE, RARE, ABSENT]
    shared: dict[str, list[Any]] = {"before": befores, "window": windows(TRANSFERS)}
    cases = page(**shared, reference=[None, *references])
    for key, many in (("hold_id", CAPTURED), ("reverses_id", REVERSED)):
        ids = {key: [many, id_of(9)]}
        cases += page(**shared, **ids)
        # A reference among captures or reversals: what is looked through comes to what is answered.
        cases += page(PAGES_MAX + 2 * ENTRIES_SCANNED_MAX, **shared, **ids, reference=references)
    return cases


def pages_of_an_account() -> Cases:
    cases = page(
        account_id=[BUSY, QUIET, NOBODY],
        before_version=[None, TRANSFERS, TRANSFERS // 2, 9],
        window=windows(TRANSFERS),
    )
    return [
        (arguments, pages_max + SEARCH_PAGES_MAX * len(arguments.keys() & {"created_from", "created_to"}))
        for arguments, pages_max in cases
    ]


def pages_of_ledgers() -> Cases:
    names = [None, [], ["ledger-7", "ledger-4000", ABSENT], ["main"], [f"ledger-{n}" for n in range(1, 1_000)]]
    return [
        ({"limit": LIMIT, **chosen}, PAGES_MAX)
        for chosen in choices(after=[None, "a", "ledger-2500", "z"], names=names)
    ]


def look_up(pages_max: int = 20, /, **values: list[Any]) -> Cases:
    """Look-ups of a few rows, or of each of a list of keys: a way down an index for each."""
    return [
        ({"ledger_id": MAIN, **chosen}, pages_max + 3 * sum(map(len, filter(_is_list, chosen.values()))))
        for chosen in choices(**values)
    ]


def _is_list(value: object) -> bool:
    return isinstance(value, list)


NOBODY = id_of(-5)
SOME_IDS = [[id_of(1)], [id_of(n * 7) for n in range(1, LIMIT + 1)], [NOBODY], [id_of(n * 100) for n in range(500)]]
SOME_KEYS = [
    Key(ledger_id=MAIN, client_id="client 1", idempotency_key=f"key {number}", fingerprint=b"", operation="")
    for number in (1, 4, 0)
]
POSITIONS = [Position(at(number), "client 1", "key") for number in (REFUSALS, REFUSALS // 2, 9)]

QUERIES: dict[Callable[..., Any], Cases] = {
    AccountRepository.page: page(
        before=[None, id_of(ACCOUNTS), id_of(ACCOUNTS // 2), id_of(4)],
        currency=[None, "USD", "EUR", "JPY"],
        status=[None, "open", "frozen", "closed"],
        reference=[None, "account 1", "account 50000", ABSENT],
    ),
    AccountRepository.by_ids: look_up(account_ids=SOME_IDS),
    AccountRepository.with_recent_transfers: look_up(150, account_id=[BUSY, QUIET, NOBODY]),
    AccountRepository.references_in_use: look_up(
        references=[["account 1", ABSENT], [f"account {n * 100}" for n in range(500)]]
    ),
    AccountRepository.for_revision: look_up(account_id=[BUSY, NOBODY]),
    TransferRepository.page: pages_of_transfers(),
    TransferRepository.page_of_account: pages_of_an_account(),
    TransferRepository.page_of_account_and_reference: page(
        PAGES_MAX + 2 * ENTRIES_SCANNED_MAX,
        account_id=[BUSY, QUIET, NOBODY],
        reference=[COMMON, ELSEWHERE, RARE, ABSENT],
        before=[None, id_of(TRANSFERS // 2), id_of(9)],
        window=windows(TRANSFERS),
    ),
    TransferRepository.page_of_account_reference: page(
        side=["debit", "credit"],
        account_reference=["account 1", "account 77", ABSENT],
        before_version=[None, TRANSFERS, TRANSFERS // 2, 9],
    ),
    TransferRepository.by_ids: look_up(transfer_ids=SOME_IDS),
    TransferRepository.with_accounts: look_up(transfer_id=[id_of(4), NOBODY]),
    HoldRepository.page: page(
        before=[None, id_of(HOLDS), id_of(HOLDS // 2), id_of(9)],
        account_id=[None, BUSY, QUIET, NOBODY],
        status=[None, "open", "captured", "voided", "expired"],
    ),
    HoldRepository.by_ids: look_up(hold_ids=SOME_IDS),
    HoldRepository.expired: [({"limit": 2}, 20), ({"limit": 500}, 20)],
    HoldRepository.expired_of: look_up(
        account_ids=[[BUSY], [QUIET, NOBODY]], known=[[], [id_of(180_001)]], limit=[1, 100]
    ),
    DecisionRepository.refused: page(
        outcome=["rejected", "fenced"],
        before=[None, *POSITIONS],
        account_id=[None, BUSY, QUIET, NOBODY],
        window=windows(REFUSALS),
    ),
    DecisionRepository.by_key: look_up(client_id=["client 1"], idempotency_key=["key 1", ABSENT]),
    LedgerRepository.page: pages_of_ledgers(),
    LedgerRepository.by_name: [({"name": "main"}, 10), ({"name": ABSENT}, 10)],
    LedgerRepository.by_names: [({"names": ["main"]}, 10), ({"names": [ABSENT, "main"]}, 20)],
    decisions.taken: [({"keys": SOME_KEYS}, 30)],
    tokens.find_active: [({"token_hashes": [b"absent"]}, 10), ({"token_hashes": [b"absent", b"neither"]}, 20)],
}

REPOSITORIES = (AccountRepository, TransferRepository, HoldRepository, DecisionRepository, LedgerRepository)


def test_every_query_is_measured() -> None:
    """With every filter that it has."""
    methods = {
        method
        for repository in REPOSITORIES
        for name, method in inspect.getmembers(repository, inspect.isfunction)
        if not name.startswith("_")
    }
    assert methods <= QUERIES.keys()
    for query, cases in QUERIES.items():
        given = {name for arguments, _ in cases for name, value in arguments.items() if value is not None}
        assert inspect.signature(query).parameters.keys() - {"self", "session"} == given, query


class Planner:
    """Runs queries as they were sent and counts the pages that they touch."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver
        self._prepared: dict[str, str] = {}

    async def measure(self, statement: str, parameters: tuple[Any, ...]) -> dict[str, Any]:
        """Return the plan of ``statement``, as it was carried out."""
        name = self._prepared.get(statement)
        if name is None:
            name = self._prepared[statement] = f"query_{len(self._prepared)}"
            await self._driver.execute(f"PREPARE {name} AS {statement}")
        values = f"({', '.join(map(_literal, parameters))})" if parameters else ""
        [explained] = await self._driver.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {name}{values}")
        plan: dict[str, Any] = explained["Plan"]
        return plan


def _pages(node: dict[str, Any]) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def _shape(node: dict[str, Any], depth: int = 0) -> str:
    """The plan in short: what each node does, with which index, how many rows came out and were thrown away."""
    shown = [node["Node Type"], node.get("Index Name", ""), f"rows {node['Actual Rows']} x {node['Actual Loops']}"]
    shown += [f"{name}: {node[name]}" for name in ("Index Cond", "Filter", "Rows Removed by Filter") if name in node]
    shown.append(f"pages {_pages(node)}")
    return "\n".join(
        ["  " * depth + ", ".join(filter(None, shown)), *(_shape(one, depth + 1) for one in node.get("Plans", []))]
    )


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        if value and isinstance(value[0], bytes):
            return f"ARRAY[{', '.join(map(_literal, value))}]::bytea[]"
        return "'{" + ",".join(f'"{one}"' for one in value) + "}'"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    return "'" + str(value).replace("'", "''") + "'"


@asynccontextmanager
async def planning(database: Database, plans: str) -> AsyncIterator[Planner]:
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute(f"SET plan_cache_mode = {plans}")
        yield Planner(driver)
        await connection.invalidate()  # what was prepared and set goes with it


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
async def planner(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[Planner]:
    async with planning(database, request.param) as planner:
        yield planner


async def ask(session: AsyncSession, query: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Call ``query`` and read all of its answer."""
    repository = next((one for one in REPOSITORIES if one.__name__ == query.__qualname__.split(".")[0]), None)
    result = query(session if repository is None else repository(session), **arguments)
    if inspect.isawaitable(result):
        await result
    else:
        await rows_of(result)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.__qualname__)
async def test_a_query_reads_little_more_than_it_answers(
    database: Database, planner: Planner, query: Callable[..., Any]
) -> None:
    for arguments, pages_max in QUERIES[query]:
        with queries(database) as sent:
            async with database.sessions() as session:
                await ask(session, query, arguments)
        plans = [await planner.measure(*one) for one in sent]
        assert plans
        pages, rows = sum(map(_pages, plans)), int(plans[-1]["Actual Rows"])
        assert pages <= pages_max + 2 * rows, "\n\n".join([f"{arguments}: {rows} rows", *map(_shape, plans)])


async def test_an_overview_reads_as_much_as_it_counts(database: Database, planner: Planner) -> None:
    """Transfers, accounts of each status, accounts once more for the totals; the latest transfers; no more. Rows of
    one page come one after the other.
    """
    reader = Reader(database, attempts_max=1, deadline_seconds=60, snapshots=True)
    with queries(database) as sent:
        overview = await reader(lambda session: read_overview(session, MAIN))
    plans = [await planner.measure(*one) for one in sent if one[0].startswith(("SELECT", "WITH"))]
    assert len(plans) >= 5
    assert sum(map(_pages, plans)) <= COUNTED_MAX // 4

    assert overview.transfer_count == COUNTED_MAX
    assert overview.account_counts == {"open": COUNTED_MAX, "frozen": 5 + LATEST_ACCOUNTS_FROZEN}
    assert not overview.transfer_count_complete
    assert not overview.account_counts_complete
    assert overview.totals is None
    assert [one.id for one in overview.latest_transfers] == [id_of(TRANSFERS - n) for n in range(10)]
    assert (overview.busiest_accounts[0].id, overview.busiest_accounts[0].recent_transfer_count) == (BUSY, 500)


@pytest.fixture(scope="module")
async def client(filled: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    """The application on the ledger."""
    async with serving(filled) as application, application.client(application.settings.admin_token) as client:
        yield client


@pytest.fixture(scope="module")
async def alike(postgres: TestPostgres) -> AsyncIterator[Database]:
    """The service's connections to a ledger whose rows are all alike, as PostgreSQL knows."""
    name, made = await postgres.make_database()
    superuser = await asyncpg.connect(made.superuser_url)
    await fill(superuser, ALIKE)
    await superuser.execute("VACUUM ANALYZE")
    await superuser.close()
    database = Database.connect(made.service_url, Settings())
    yield database
    await database.close()
    await postgres.drop_database(name)


@pytest.mark.parametrize(
    ("query", "filters"),
    [
        (AccountRepository.page, {"status": "closed"}),
        (AccountRepository.page, {"currency": "EUR"}),
        (AccountRepository.page, {"currency": "USD", "status": "closed"}),
        (HoldRepository.page, {"status": "expired"}),
        (HoldRepository.page, {"status": "expired", "account_id": BUSY}),
        (TransferRepository.page, {"reference": ABSENT}),
        (TransferRepository.page, {"hold_id": QUIET}),
        (TransferRepository.page, {"reverses_id": QUIET}),
        (DecisionRepository.refused, {"outcome": "fenced"}),
        (DecisionRepository.refused, {"outcome": "fenced", "account_id": BUSY}),
    ],
    ids=lambda value: getattr(value, "__qualname__", str(value)),
)
@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
async def test_a_value_that_is_new_to_the_planner_is_looked_up_all_the_same(
    alike: Database, plans: str, query: Callable[..., Any], filters: dict[str, Any]
) -> None:
    """Though it believes that every row has it, and that any index in the order of the list would do."""
    async with planning(alike, plans) as planner:
        with queries(alike) as sent:
            async with alike.sessions() as session:
                await ask(session, query, {"ledger_id": MAIN, "limit": LIMIT, "before": None} | filters)
        carried_out = [await planner.measure(*one) for one in sent]
    assert sum(map(_pages, carried_out)) <= PAGES_MAX, "\n\n".join(map(_shape, carried_out))


def _time(number: int) -> str:
    return at(number).strftime("%Y-%m-%dT%H:%M:%SZ")


WALKS: dict[str, Callable[[int], bool]] = {
    # 100,000 captures are looked through for every third, for one, and for none.
    f"hold_id={CAPTURED}&reference={COMMON}&created_from={_time(900_000)}": lambda n: n % 30 == 0 and n >= 900_000,
    f"hold_id={CAPTURED}&reference={RARE}": lambda n: n == 10,
    f"reverses_id={REVERSED}&reference={ELSEWHERE}": lambda _: False,
    # A long history: the transfers that have the reference are looked through. A short one is itself.
    f"account_id={BUSY}&reference={RARE}": lambda n: n in {2, 4, 6, 8, 10},
    f"account_id={BUSY}&reference={ELSEWHERE}": lambda _: False,
    f"account_id={BUSY}&reference={COMMON}&created_to={_time(1_000)}": lambda n: n % 6 == 0 and 12 <= n < 1_000,
    f"account_id={BUSY}&created_from={_time(700_000)}&created_to={_time(701_000)}": lambda n: (
        n % 2 == 0 and 700_000 <= n < 701_000
    ),
}


@pytest.mark.parametrize("filters", WALKS)
async def test_who_follows_cursors_finds_everything_once(client: httpx.AsyncClient, filters: str) -> None:
    """Though a page may be short, or empty."""
    path = f"/v1/ledgers/main/transfers?limit=1000&{filters}"
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get(path + (cursor and f"&cursor={cursor}"))).raise_for_status().json()
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert found == [str(id_of(n)) for n in range(TRANSFERS, 0, -1) if WALKS[filters](n)]
