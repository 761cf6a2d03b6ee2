"""Small histories of real services, concurrent and with faults, are linearizable: as porcupine judges, a checker of
others (``go/main.go``). Skipped where Go is absent, or its modules are, with the reason.
"""

import asyncio
import json
import random
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from funds_testing.histories import Call, Ending
from tests.support.bank import Bank, open_bank
from tests.support.commit_proxy import CommitProxy, Fault, commit_proxy
from tests.support.go import GO_SECONDS_MAX, go_program
from tests.support.journal import Journal
from tests.support.killing import kill_workers
from tests.support.orders import Look
from tests.support.servers import RunningService, TestDatabase
from tests.support.socket_client import Client

SOURCES = Path(__file__).parent / "go"
CALLERS = 5
TURNS = 10
BALANCE = 20
AMOUNT_MAX = 15
FAULTY_COMMITS = 4

pytestmark = pytest.mark.timeout(GO_SECONDS_MAX)

JSON = dict[str, Any]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[JSON]], list[str]]:
    """The program in Go, as a function of histories."""
    program = go_program(SOURCES, tmp_path_factory.mktemp("go") / "judge")

    def judged(histories: Sequence[JSON]) -> list[str]:
        told = json.dumps(histories)
        done = subprocess.run([program], input=told, capture_output=True, text=True, check=True, timeout=300)
        words: list[str] = json.loads(done.stdout)
        return words

    return judged


@pytest.fixture
async def proxy(test_database: TestDatabase) -> AsyncIterator[CommitProxy]:
    async with commit_proxy(test_database.service_url) as proxy:
        yield proxy


def as_porcupine_takes_it(bank: Bank, calls: Sequence[Call]) -> JSON:
    """Transfers and reads behind the funding, by places of accounts and keys; without what was not applied."""
    accounts = {account: place for place, account in enumerate(bank.customers)}
    keys: dict[str, int] = {}
    callers: dict[str, int] = {}
    asked = []
    for call in calls:
        if call.terms.get("debit_account_id") == bank.treasury or call.ending is Ending.NOT_APPLIED:
            continue
        times = {
            "Caller": callers.setdefault(call.caller, len(callers)),
            "Invoked": round(call.invoked * 1e9),
            "Completed": None if call.completed is None else round(call.completed * 1e9),
        }
        if call.operation == "read_account" and call.ending is Ending.SEEN:
            read = {"Kind": "read", "Account": accounts[call.told["id"]], "Balance": call.told["balance"]}
            asked.append(times | read)
        elif call.operation == "post_transfer":
            moved = {
                "Kind": "transfer",
                "Key": keys.setdefault(str(call.key), len(keys)),
                "Debit": accounts[call.terms["debit_account_id"]],
                "Credit": accounts[call.terms["credit_account_id"]],
                "Amount": call.terms["amount"],
                "Said": str(call.ending),
            }
            asked.append(times | moved)
    floors = [{"Balance": BALANCE, "Minimum": 0} for _ in accounts]
    return {"Accounts": floors, "Keys": len(keys), "Calls": asked}


async def recorded(clients: Sequence[Client], journal: Journal, seed: int) -> JSON:
    """Have callers post and read at once, some of it twice, each at either of ``clients``."""
    bank = await open_bank(clients[0], journal, customers=3, balance=BALANCE)
    before = len(journal.calls)

    async def call(dice: random.Random) -> None:
        for _ in range(TURNS):
            [order] = bank.random_orders(1, dice, AMOUNT_MAX)
            for _ in range(dice.choice((1, 1, 2))):
                await journal.post(dice.choice(clients), order)
            await journal.look(dice.choice(clients), Look.account(bank.ledger, dice.choice(bank.customers)))

    async with asyncio.TaskGroup() as group:
        for number in range(CALLERS):
            group.create_task(call(random.Random(f"{seed} {number}")))
    return as_porcupine_takes_it(bank, journal.calls[before:])


async def test_histories_of_real_services(
    judge: Callable[[Sequence[JSON]], list[str]],
    serve: Callable[..., RunningService],
    test_database: TestDatabase,
    proxy: CommitProxy,
) -> None:
    """Two processes at once: undisturbed, with commits that are cut off, with a worker that is killed. And were one
    answer another, it would be noticed.
    """
    one = serve()
    settings = {"FUNDS_DATABASE_URL": proxy.url, "FUNDS_ADMIN_TOKEN": one.admin_token}
    other = await asyncio.to_thread(lambda: serve(**settings))  # the proxy runs in this loop
    journal = Journal(faults_expected=True)
    histories = []
    async with Client(one.url, one.admin_token) as first, Client(other.url, one.admin_token) as second:
        histories.append(await recorded([first, second], journal, 1))
        for fault in (Fault.REQUEST_LOST, Fault.ANSWER_LOST, Fault.ANSWER_RACED):
            proxy.break_commits(fault, FAULTY_COMMITS)
            histories.append(await recorded([first, second], journal, 2))
            assert proxy.faults_met
        proxy.break_nothing()
        killing = asyncio.get_running_loop().call_later(0.1, kill_workers, one)
        histories.append(await recorded([second, first], journal, 3))
        killing.cancel()
        await asyncio.to_thread(one.wait_until_ready)
        await journal.decide_all([first, second])
    await journal.assert_ledgers_agree(test_database.service_url)
    assert judge(histories) == ["linearizable"] * len(histories)
    assert judge([_wrong(histories[0], what) for what in ("read", "applied", "rejected", "doubled")]) == ["illegal"] * 4


def _wrong(history: JSON, what: str) -> JSON:
    """The history with one answer that was not so: a balance, an outcome, a key that counted twice."""
    calls = [dict(call) for call in history["Calls"]]
    if what == "read":
        calls[-1 if calls[-1]["Kind"] == "read" else -2]["Balance"] += 1
    elif what == "doubled":
        call = next(call for call in calls if call["Kind"] == "transfer" and call["Said"] == "applied")
        return history | {"Keys": history["Keys"] + 1, "Calls": [*calls, call | {"Key": history["Keys"]}]}
    else:
        call = next(call for call in calls if call["Kind"] == "transfer" and call["Said"] == what)
        call["Said"] = "rejected" if what == "applied" else "applied"
    return history | {"Calls": calls}


def _transfer(key: int, said: str, invoked: int, completed: int | None, debit: int = 0, amount: int = 1) -> JSON:
    times = {"Caller": key, "Invoked": invoked, "Completed": completed}
    sides = {"Debit": debit, "Credit": 1 - debit, "Amount": amount}
    return times | sides | {"Kind": "transfer", "Key": key, "Said": said}


def _read(account: int, balance: int, invoked: int, completed: int) -> JSON:
    return {"Caller": 9, "Invoked": invoked, "Completed": completed, "Kind": "read", "Account": account,
            "Balance": balance}  # fmt: skip


@pytest.mark.parametrize(
    ("word", "calls"),
    [
        ("linearizable", [_transfer(0, "applied", 0, 9), _read(0, 1, 1, 2)]),
        ("linearizable", [_transfer(0, "applied", 0, 9), _read(0, 0, 1, 2)]),
        ("illegal", [_transfer(0, "applied", 0, 1), _read(0, 1, 2, 3)]),  # a stale read
        ("illegal", [_transfer(0, "applied", 0, 9), _read(0, 0, 1, 2), _read(0, 1, 3, 4)]),  # seen, and then not
        ("illegal", [_transfer(0, "applied", 0, 1), _transfer(1, "applied", 2, 3)]),  # below the floor
        ("illegal", [_transfer(0, "rejected", 0, 1)]),  # there was enough
        ("linearizable", [_transfer(0, "unknown", 0, None), _read(0, 0, 8, 9)]),
        ("linearizable", [_transfer(0, "unknown", 0, None), _read(0, 1, 8, 9)]),
        ("illegal", [_transfer(0, "unknown", 0, None), _read(0, 0, 2, 3), _read(0, 1, 4, 5)]),
        ("linearizable", [_transfer(0, "applied", 0, 1), _transfer(0, "applied", 2, 3), _read(0, 0, 4, 5)]),
        ("illegal", [_transfer(0, "applied", 0, 1), _transfer(0, "rejected", 2, 3)]),  # a replay that differs
    ],
)
def test_what_porcupine_refuses(judge: Callable[[Sequence[JSON]], list[str]], word: str, calls: list[JSON]) -> None:
    floors = [{"Balance": 1, "Minimum": 0}, {"Balance": 0, "Minimum": 0}]
    assert judge([{"Accounts": floors, "Keys": 2, "Calls": calls}]) == [word]
