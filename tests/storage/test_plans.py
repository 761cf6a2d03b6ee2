"""How many pages every query reads of a ledger of a million transfers: only a few more than it answers.

Each query runs as the repositories send it, on the service's own connections and with the worst parameters: with the
plan for these parameters and with the generic plan, on tables that were just filled and on tables with statistics.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import product
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.audit.overview import read_overview
from service.domain.balances import Viewpoint
from service.domain.overview import COUNTED_MAX
from service.settings import RetryLimits, Settings
from service.storage.database import Database
from service.storage.lists import ENTRIES_SCANNED_MAX, ListOrder
from service.storage.repositories.accounts import AccountRepository
from service.storage.repositories.balances import BalanceRepository
from service.storage.repositories.changes import ChangeRepository
from service.storage.repositories.codes import CodeRepository
from service.storage.repositories.decisions import DecisionRepository, Position
from service.storage.repositories.history import ALL, HistoryRepository
from service.storage.repositories.holds import HoldRepository
from service.storage.repositories.ledgers import LedgerRepository
from service.storage.repositories.statements import StatementRepository
from service.storage.repositories.tokens import TokenRepository
from service.storage.repositories.transfers import TransferRepository
from service.storage.transactions import Mode, Reader, Transactions
from service.storage.transfer_filters import ReferencePlace, TransferFilters
from tests.storage.paging import in_either_order, ordered, queries, rows_of
from tests.storage.planner import Planner, outline, pages_read, planning
from tests.support.application import serving
from tests.support.million_transfers import (
    ABSENT,
    ACCOUNTS,
    ALIKE,
    BUSY,
    CAPTURED,
    CLOSINGS,
    COMMON,
    CROWD,
    DATED_APART,
    ELSEWHERE,
    FEW,
    HOLDS,
    LATEST_ACCOUNTS_FROZEN,
    QUIET,
    RARE,
    REFUSALS,
    REVERSED,
    REVISIONS,
    TRANSFERS,
    at,
    fill,
    id_of,
)
from tests.support.rows import MAIN
from tests.support.servers import TestDatabase, TestPostgres

LIMIT = 20
PAGES_MAX = 40
"""What a query may read beside two pages for each row that it answers: the ways down its indexes."""

SEARCH_PAGES_MAX = 500
"""What it may read more to find the version of an account at a time: a way down an index for each halving."""


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


def lists(pages_max: int, /, *, filters: dict[str, list[Any]], **values: list[Any]) -> Cases:
    """Pages of transfers with every combination of ``filters`` and ``values``, which may have a ``window``. Each end of
    a window costs a search where the list goes along an account.
    """
    cases = []
    for chosen in choices(**values, **filters):
        window = chosen.pop("window", {})
        given = window | {name: chosen.pop(name) for name in filters}
        arguments = {"ledger_id": MAIN, "limit": LIMIT, "filters": TransferFilters(**given), **chosen}
        cases.append((arguments, pages_max + SEARCH_PAGES_MAX * len(window)))
    return cases


AFTERS = [None, id_of(TRANSFERS), id_of(TRANSFERS // 2), id_of(9)]
REFERENCES = [COMMON, ELSEWHERE, RARE, ABSENT]
SIFTED_PAGES_MAX = PAGES_MAX + 2 * ENTRIES_SCANNED_MAX
"""What is looked through comes to what is answered."""
RARE_VALUES: dict[str, Any] = {
    "amount_min": 2,
    "amount_max": 1,
    "currency": "EUR",
    "client_id": ABSENT,
    "description_words": [ABSENT],
    "metadata": [f"{ABSENT}:1"],
    "effective_to": at(5),
}
"""Filters that no index keeps to, all together: only the amount of the last one of them passes the first."""


def pages_of_transfers() -> dict[str, Cases]:
    """By the walk that the filters lead to."""
    shared: dict[str, list[Any]] = {"order": ORDERS, "after": AFTERS, "window": windows(TRANSFERS)}
    unlike = {name: [value] for name, value in RARE_VALUES.items()}
    versions = [None, TRANSFERS, TRANSFERS // 2, 9]
    accounts = {"account_id": [BUSY, QUIET, NOBODY]}
    names = ["account 1", "account 77", ABSENT]
    places = [
        None,
        *(
            ReferencePlace(reference, id_of(number))
            for reference, number in ((COMMON, TRANSFERS // 2), (ELSEWHERE, 9), ("reference 500", 500), (RARE, 11))
        ),
    ]
    prefixes = {"reference_prefix": ["c", COMMON, "e", "r", "reference 5", "reference 999998", "%", ABSENT]}
    by_prefix: dict[str, list[Any]] = {"order": ORDERS, "after": places}
    # What is sifted reads as much from wherever it begins.
    some: dict[str, list[Any]] = {
        "order": ORDERS,
        "after": [None, id_of(TRANSFERS // 2)],
        "window": windows(TRANSFERS)[:4:3],
    }
    searched_pages_max = SIFTED_PAGES_MAX + SEARCH_PAGES_MAX
    cases = {
        "all": lists(PAGES_MAX, **shared, filters={"reference": [None, *REFERENCES]}),
        "all, sifted": lists(
            SIFTED_PAGES_MAX,
            **shared,
            filters={name: [value] for name, value in RARE_VALUES.items() if "eff" not in name},
        ),
        "dated": lists(
            SIFTED_PAGES_MAX,
            **some,
            filters={"effective_from": [None, at(9), at(500_000), at(TRANSFERS - 5)], "effective_to": [at(500_030)]},
        ),
        "reference, sifted": lists(SIFTED_PAGES_MAX, **some, filters={"reference": REFERENCES, **unlike}),
        "account": lists(PAGES_MAX, order=ORDERS, after=versions, window=windows(TRANSFERS), filters=accounts),
        "account and reference": lists(searched_pages_max, **shared, filters=accounts | {"reference": REFERENCES}),
        "account, sifted": lists(searched_pages_max, **some, filters=accounts | unlike),
        "account and prefix": lists(searched_pages_max, **some, filters=accounts | {"reference_prefix": ["c", ABSENT]}),
        "two accounts": [
            *lists(searched_pages_max, **some, filters={"account_id": [BUSY], "counterparty_id": [QUIET, id_of(2)]}),
            *lists(searched_pages_max, **some, filters={"account_id": [QUIET, NOBODY], "counterparty_id": [BUSY]}),
        ],
        "prefix": lists(PAGES_MAX, **by_prefix, filters=prefixes),
        "prefix, sifted": lists(SIFTED_PAGES_MAX, **by_prefix, window=some["window"], filters=prefixes | unlike),
    }
    for side in ("debit", "credit"):
        by_name = {f"{side}_account_reference": names}
        cases[side] = lists(PAGES_MAX, order=ORDERS, after=versions, filters=by_name)
        cases[f"{side}, sifted"] = lists(
            searched_pages_max, **some, filters=by_name | unlike | {"counterparty_id": [None, BUSY]}
        )
    for key, many in (("hold_id", CAPTURED), ("reverses_id", REVERSED)):
        ids = {key: [many, id_of(9)]}
        cases[key] = lists(PAGES_MAX, **shared, filters=ids)
        cases[f"{key}, sifted"] = lists(SIFTED_PAGES_MAX, **some, filters=ids | {"reference": REFERENCES})
    return cases


def pages_of_groups() -> Cases:
    middle = ACCOUNTS // 2
    places: dict[str, list[Any]] = {
        "2000": [None, (CROWD, id_of(middle)), (f"{CROWD}:{middle + 6}", id_of(middle + 6))],
        CROWD: [None, (CROWD, id_of(2)), (CROWD, id_of(middle)), (f"{CROWD}:{middle + 6}", id_of(middle + 6))],
        FEW: [None, (FEW, id_of(48))],
        ABSENT: [None],
    }
    cases: Cases = []
    for group, after in places.items():
        shared: dict[str, list[Any]] = {"group": [group], "order": ORDERS, "after": after}
        cases += page(**shared, reference=[None, "account 1", ABSENT])
        # A currency or a status in a group: what is looked through comes to what is answered.
        cases += page(
            PAGES_MAX + 2 * ENTRIES_SCANNED_MAX, **shared, currency=[None, "EUR", "JPY"], status=[None, "closed"]
        )
    return cases


def pages_of_ledgers() -> Cases:
    names = [None, [], ["ledger-7", "ledger-4000", ABSENT], ["main"], [f"ledger-{n}" for n in range(1, 1_000)]]
    return [
        ({"limit": LIMIT, **chosen}, PAGES_MAX)
        for chosen in choices(order=ORDERS, after=[None, "a", "ledger-2500", "z"], names=names)
    ]


def look_up(pages_max: int = 20, /, **values: list[Any]) -> Cases:
    """Look-ups of a few rows, or of each of a list of keys: a way down an index for each."""
    return [
        ({"ledger_id": MAIN, **chosen}, pages_max + 3 * sum(map(len, filter(_is_list, chosen.values()))))
        for chosen in choices(**values)
    ]


def locking(cases: Cases) -> Cases:
    """Look-ups that lock what they find: that reads each page again, and to which of them all rows are visible."""
    return [(arguments, pages_max + 2 * len(arguments["hold_ids"])) for arguments, pages_max in cases]


def balances(pages_of_busy_max: int, viewpoints: list[Viewpoint], /) -> Cases:
    """Balances of accounts: a search for each, and of the busy one what is counted beside it."""
    some = [id_of(n) for n in range(200, 220)]
    return [
        (
            {"ledger_id": MAIN, **chosen},
            SEARCH_PAGES_MAX * len(chosen["account_ids"]) + pages_of_busy_max * (BUSY in chosen["account_ids"]),
        )
        for chosen in choices(account_ids=[[BUSY], [QUIET], [NOBODY], some], viewpoint=viewpoints)
    ]


def _is_list(value: object) -> bool:
    return isinstance(value, list)


NOBODY = id_of(-5)
OPEN_HOLDS_OF_BUSY = 10_000
VIEWPOINTS = [
    Viewpoint.at(at(as_of), at(known_at))
    for as_of, known_at in [(TRANSFERS, TRANSFERS), (TRANSFERS, TRANSFERS // 2), (TRANSFERS // 2, TRANSFERS), (9, 9)]
]
ORDERS = ["desc", "asc"]
SOME_IDS = [[id_of(1)], [id_of(n * 7) for n in range(1, LIMIT + 1)], [NOBODY], [id_of(n * 100) for n in range(500)]]
SOME_KEYS = [f"key {number}" for number in (1, 4, 0)]
POSITIONS = [Position(at(number), "client 1", "key") for number in (REFUSALS, REFUSALS // 2, 9)]


def refusals_of_clients(pages_max: int, /, **values: list[Any]) -> Cases:
    return page(
        pages_max,
        client_id=["client 1", ABSENT],
        outcome=["rejected", "fenced"],
        order=ORDERS,
        after=[None, POSITIONS[1]],
        window=windows(REFUSALS)[:4:3],
        **values,
    )


CHANGES: dict[str, list[Any]] = {
    "as_of": [at(9), at(TRANSFERS // 2), at(TRANSFERS)],
    "known_from": [at(0), at(TRANSFERS // 2), at(TRANSFERS - 9)],
    "known_to": [None, at(TRANSFERS // 2 + 100), at(TRANSFERS)],
    "order": ORDERS,
    "after": [None, id_of(TRANSFERS // 3), id_of(TRANSFERS - 50)],
}

QUERIES: dict[Callable[..., Any], Cases | dict[str, Cases]] = {
    AccountRepository.page: page(
        order=ORDERS,
        after=[None, id_of(ACCOUNTS), id_of(ACCOUNTS // 2), id_of(4)],
        currency=[None, "USD", "EUR", "JPY"],
        status=[None, "open", "frozen", "closed"],
        reference=[None, "account 1", "account 50000", ABSENT],
    )
    + page(
        PAGES_MAX + 2 * ENTRIES_SCANNED_MAX,
        order=ORDERS,
        after=[None],
        currency=[None, "EUR"],
        status=[None, "closed"],
        code=[CROWD, ABSENT],
    )
    + page(order=["desc"], after=[None], code=[CROWD], reference=["account 1"])
    + page(order=ORDERS, after=[None, id_of(ACCOUNTS // 2), id_of(4)], code=[CROWD, FEW, ABSENT]),
    AccountRepository.page_of_group: pages_of_groups(),
    # Three searches for each code, and two for one that is found again. Some have tens of thousands of accounts.
    CodeRepository.page: page(
        250,
        group=[None, "2000", CROWD, FEW, ABSENT],
        after=[None, ("1000", False), (CROWD, True), (f"{CROWD}-50007", True), (f"{CROWD}:50006", True)],
    ),
    AccountRepository.by_ids: look_up(account_ids=SOME_IDS),
    AccountRepository.with_recent_transfers: look_up(150, account_id=[BUSY, QUIET, NOBODY]),
    AccountRepository.next_currency: look_up(after=["", "EUR", "USD"]),
    AccountRepository.references_in_use: look_up(
        references=[["account 1", ABSENT], [f"account {n * 100}" for n in range(500)]]
    ),
    AccountRepository.ids_by_references: look_up(
        references=[["account 1", ABSENT], [f"account {n * 100}" for n in range(500)]]
    ),
    AccountRepository.for_revision: look_up(account_id=[BUSY, NOBODY]),
    BalanceRepository.posted: balances(TRANSFERS // DATED_APART, VIEWPOINTS),
    BalanceRepository.posted_from: look_up(
        (SEARCH_PAGES_MAX + TRANSFERS // DATED_APART) * len(VIEWPOINTS),
        account_id=[BUSY, QUIET, NOBODY],
        viewpoints=[VIEWPOINTS],
    ),
    BalanceRepository.held: balances(OPEN_HOLDS_OF_BUSY // 4, VIEWPOINTS),
    AccountRepository.named: look_up(account_ids=SOME_IDS),
    TransferRepository.page: pages_of_transfers(),
    StatementRepository.recorded: page(
        PAGES_MAX + 2 * SEARCH_PAGES_MAX,
        account_id=[BUSY, QUIET, NOBODY],
        start=[id_of(-1), id_of(TRANSFERS // 2), id_of(TRANSFERS)],
        end=[id_of(9), id_of(TRANSFERS // 2 + 9), id_of(TRANSFERS + 1)],
    ),
    # The account's two walks are sorted by identifier before they are merged.
    ChangeRepository.page_of_ledger: page(PAGES_MAX + 2 * ENTRIES_SCANNED_MAX, **CHANGES),
    ChangeRepository.page_of_account: page(
        PAGES_MAX + 2 * SEARCH_PAGES_MAX + 2 * ENTRIES_SCANNED_MAX, account_id=[BUSY, QUIET, NOBODY], **CHANGES
    ),
    # What was dated apart stands in between, a few to a page.
    StatementRepository.value_dated: page(
        2 * PAGES_MAX + 2 * SEARCH_PAGES_MAX,
        account_id=[BUSY, QUIET, NOBODY],
        viewpoint=[*VIEWPOINTS, Viewpoint(at(TRANSFERS // 2), id_of(TRANSFERS), id_of(TRANSFERS // 3))],
        dated_to=[at(9), at(TRANSFERS // 2), at(TRANSFERS + 1)],
    ),
    TransferRepository.by_ids: look_up(transfer_ids=SOME_IDS),
    TransferRepository.with_accounts: look_up(transfer_id=[id_of(4), NOBODY]),
    HoldRepository.page: page(
        order=ORDERS,
        after=[None, id_of(HOLDS), id_of(HOLDS // 2), id_of(9)],
        account_id=[None, BUSY, QUIET, NOBODY],
        status=[None, "open", "captured", "voided", "expired"],
    ),
    HoldRepository.by_ids: look_up(hold_ids=SOME_IDS),
    HoldRepository.untouched: locking(look_up(hold_ids=SOME_IDS)),
    # Ledgers are named where tables are distributed and a node is away: then all their open holds may be read.
    HoldRepository.expired: [
        ({"limit": limit, "ledger_ids": ledger_ids}, pages)
        for limit in (2, 500)
        for ledger_ids, pages in ((None, 20), ([1], 1_000), ([1, 2], 1_000))
    ],
    HoldRepository.expired_of: look_up(
        account_ids=[[BUSY], [QUIET, NOBODY]], known=[[], [id_of(180_001)]], limit=[1, 100]
    ),
    DecisionRepository.not_applied: page(
        outcome=["rejected", "fenced"],
        order=ORDERS,
        after=[None, *POSITIONS],
        account_id=[None, BUSY, QUIET, NOBODY],
        window=windows(REFUSALS),
    )
    + refusals_of_clients(PAGES_MAX, account_id=[None])
    + refusals_of_clients(SIFTED_PAGES_MAX, account_id=[BUSY, NOBODY]),
    DecisionRepository.by_key: look_up(client_id=["client 1"], idempotency_key=["key 1", ABSENT]),
    DecisionRepository.by_keys: look_up(client_id=["client 1"], idempotency_keys=[SOME_KEYS]),
    HistoryRepository.entries: look_up(
        source=["/v1"], after=[ALL, id_of(REVISIONS), id_of(TRANSFERS - 5), id_of(TRANSFERS)], limit=[LIMIT]
    ),
    HistoryRepository.leaves: look_up(
        source=["/v1"], after=[ALL, id_of(REVISIONS), id_of(TRANSFERS - 5), id_of(TRANSFERS)], limit=[LIMIT]
    ),
    HistoryRepository.page: look_up(
        source=["/v1"],
        after=[ALL, id_of(REVISIONS), id_of(TRANSFERS - 5), id_of(TRANSFERS)],
        limit=[LIMIT],
        not_applied_of=[None, ABSENT],
    ),
    HistoryRepository.page_of_subject: page(
        source=["/v1"],
        subject_id=[BUSY, QUIET, NOBODY],
        order=ORDERS,
        after=[None, id_of(REVISIONS), id_of(REVISIONS // 2), id_of(9)],
    ),
    HistoryRepository.closings: page(order=ORDERS, after=[None, id_of(CLOSINGS), id_of(CLOSINGS // 2), id_of(9)]),
    # What belongs to no ledger is read from end to end, and most of it are the 5,000 ledgers.
    HistoryRepository.of_tokens: [({"source": "/v1", "after": ALL, "limit": LIMIT}, 400)],
    LedgerRepository.page: pages_of_ledgers(),
    LedgerRepository.by_name: [({"name": "main"}, 10), ({"name": ABSENT}, 10)],
    LedgerRepository.known_names: [({"names": ["main"]}, 10), ({"names": [ABSENT, "main"]}, 20)],
    LedgerRepository.by_names: [({"names": ["main"]}, 10), ({"names": [ABSENT, "main"]}, 20)],
    TokenRepository.active: [({"token_hashes": [b"absent"]}, 10), ({"token_hashes": [b"absent", b"neither"]}, 20)],
}

WRITES = {
    AccountRepository.add,
    AccountRepository.revise,
    DecisionRepository.add,
    HistoryRepository.add,
    LedgerRepository.add,
}
"""What adds rows, or changes one by its key."""

REPOSITORIES = (
    AccountRepository,
    BalanceRepository,
    ChangeRepository,
    CodeRepository,
    StatementRepository,
    TransferRepository,
    HoldRepository,
    DecisionRepository,
    HistoryRepository,
    LedgerRepository,
)


def test_every_query_is_measured() -> None:
    """With every filter that it has."""
    methods = {
        method
        for repository in REPOSITORIES
        for name, method in inspect.getmembers(repository, inspect.isfunction)
        if not name.startswith("_")
    }
    assert methods - WRITES == QUERIES.keys() - {TokenRepository.active}
    for query, cases in QUERIES.items():
        all_arguments = [arguments for kind in _kinds(cases).values() for arguments, _ in kind]
        given = {name for arguments in all_arguments for name, value in arguments.items() if value is not None}
        assert inspect.signature(query).parameters.keys() - {"self", "session"} == given, query
        filters = [arguments["filters"] for arguments in all_arguments if "filters" in arguments]
        for name in filters[0].__struct_fields__ if filters else ():
            assert any(getattr(one, name) is not None for one in filters), name


def _kinds(cases: Cases | dict[str, Cases]) -> dict[str, Cases]:
    return cases if isinstance(cases, dict) else {"": cases}


MEASURED = [
    pytest.param(query, kind, id=f"{query.__qualname__}{name and f'-{name}'}")
    for query, cases in QUERIES.items()
    for name, kind in _kinds(cases).items()
]


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
async def planner(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[Planner]:
    async with planning(database, request.param) as planner:
        yield planner


async def ask(session: AsyncSession, query: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Call ``query`` and read all of its answer."""
    name = query.__qualname__.split(".")[0]
    repository = next((one for one in (*REPOSITORIES, TokenRepository) if one.__name__ == name), None)
    result = query(session if repository is None else repository(session), **arguments)
    if inspect.isawaitable(result):
        await result
    else:
        await rows_of(result)


@pytest.mark.parametrize(("query", "cases"), MEASURED)
async def test_a_query_reads_little_more_than_it_answers(
    database: Database, planner: Planner, query: Callable[..., Any], cases: Cases
) -> None:
    for arguments, pages_max in cases:
        with queries(database) as sent:
            async with database.sessions() as session:
                await ask(session, query, arguments)
        plans = [await planner.measure(*one) for one in sent]
        assert plans
        pages, rows = sum(map(pages_read, plans)), int(plans[-1]["Actual Rows"])
        assert pages <= pages_max + 2 * rows, "\n\n".join([f"{arguments}: {rows} rows", *map(outline, plans)])


async def test_an_overview_reads_as_much_as_it_counts(database: Database, planner: Planner) -> None:
    """Transfers, accounts of each status, accounts once more for the totals; the latest transfers; no more. Rows of
    one page come one after the other.
    """
    reader = Reader(Transactions(database, RetryLimits(1, 60), Mode.SNAPSHOT))
    with queries(database) as sent:
        overview = await reader(lambda session: read_overview(session, MAIN))
    plans = [await planner.measure(*one) for one in sent if one[0].startswith(("SELECT", "WITH"))]
    assert len(plans) >= 5
    assert sum(map(pages_read, plans)) <= COUNTED_MAX // 4

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
    async with postgres.fresh_database() as made:
        superuser = await asyncpg.connect(made.superuser_url)
        await fill(superuser, ALIKE)
        await superuser.execute("VACUUM ANALYZE")
        await superuser.close()
        database = Database.connect(made.service_url, Settings())
        yield database
        await database.close()


@pytest.mark.parametrize(
    ("query", "filters"),
    [
        (AccountRepository.page, {"status": "closed"}),
        (AccountRepository.page, {"currency": "EUR"}),
        (AccountRepository.page, {"code": ABSENT}),
        (AccountRepository.page_of_group, {"group": ABSENT}),
        (AccountRepository.page, {"currency": "USD", "status": "closed"}),
        (HoldRepository.page, {"status": "expired"}),
        (HoldRepository.page, {"status": "expired", "account_id": BUSY}),
        (TransferRepository.page, {"filters": TransferFilters(reference=ABSENT)}),
        (TransferRepository.page, {"filters": TransferFilters(reference_prefix=ABSENT)}),
        (TransferRepository.page, {"filters": TransferFilters(hold_id=QUIET)}),
        (TransferRepository.page, {"filters": TransferFilters(reverses_id=QUIET)}),
        (TransferRepository.page, {"filters": TransferFilters(effective_to=at(-1))}),
        (DecisionRepository.not_applied, {"outcome": "fenced"}),
        (DecisionRepository.not_applied, {"outcome": "fenced", "account_id": BUSY}),
        (HistoryRepository.page_of_subject, {"source": "/v1", "subject_id": QUIET}),
        (HistoryRepository.closings, {}),
    ],
    ids=lambda value: getattr(value, "__qualname__", str(value)),
)
@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
@in_either_order
async def test_a_value_that_is_new_to_the_planner_is_looked_up_all_the_same(
    alike: Database, plans: str, query: Callable[..., Any], filters: dict[str, Any], order: ListOrder
) -> None:
    """The planner expects that every row has the value, and that any index in the order of the list is good."""
    async with planning(alike, plans) as planner:
        with queries(alike) as sent:
            async with alike.sessions() as session:
                await ask(session, query, {"ledger_id": MAIN, "limit": LIMIT, "order": order, "after": None} | filters)
        carried_out = [await planner.measure(*one) for one in sent]
    assert sum(map(pages_read, carried_out)) <= PAGES_MAX, "\n\n".join(map(outline, carried_out))


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
@in_either_order
async def test_following_cursors_finds_everything_once(
    client: httpx.AsyncClient, filters: str, order: ListOrder
) -> None:
    """Pages may be short or empty on the way."""
    path = f"/v1/ledgers/main/transfers?limit=1000&order={order}&{filters}"
    found: list[str] = []
    asked, cursor = None, ""
    while cursor != asked and cursor is not None:
        asked = cursor
        page = (await client.get(path + (cursor and f"&cursor={cursor}"))).raise_for_status().json()
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert found == ordered([str(id_of(n)) for n in range(TRANSFERS, 0, -1) if WALKS[filters](n)], order)
