"""``funds import accounts`` as an operator uses it: files, pages, interruptions, reports, exit codes."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import func, insert, select, text

from service.domain.integrity import Finding, Pass
from service.storage.database import Database
from service.storage.rows import AccountRow, DecisionRow
from tests.support.servers import FUNDS, ROOT, clean_environment, run_funds

SECONDS_MAX = 30

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def run(database_url: str) -> Run:
    """Run ``funds import accounts`` to its end."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run_funds("import", "accounts", *map(str, arguments), settings={"FUNDS_DATABASE_URL": database_url})

    return run


@pytest.fixture
def start(database_url: str) -> Iterator[Start]:
    """Start ``funds import accounts``, its lines written to its standard input."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*FUNDS, "import", "accounts", *map(str, arguments)],
            cwd=ROOT,
            env=clean_environment({"FUNDS_DATABASE_URL": database_url}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def csv_file(path: Path, references: Sequence[str]) -> Path:
    path.write_text("reference,currency\n" + "".join(f"{reference},USD\n" for reference in references))
    return path


def write(process: subprocess.Popen[bytes], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text.encode())
    process.stdin.flush()


async def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    output, errors = await asyncio.to_thread(process.communicate, timeout=SECONDS_MAX)
    return process.returncode, output.decode(), errors.decode()


async def accounts_in(database: Database) -> list[AccountRow]:
    async with database.sessions() as session:
        return list(await session.scalars(select(AccountRow).order_by(AccountRow.id)))


async def decision_count(database: Database) -> int:
    async with database.sessions() as session:
        return (await session.scalars(select(func.count()).select_from(DecisionRow))).one()


async def until_decided(database: Database, count: int) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while await decision_count(database) < count:
        assert time.monotonic() < deadline, "the page was not committed"
        await asyncio.sleep(0.02)


async def test_a_file_is_opened_line_by_line(run: Run, database: Database, tmp_path: Path) -> None:
    file = tmp_path / "accounts.csv"
    file.write_text(
        "reference,currency,name,normal_side,minimum_balance,maximum_balance,metadata.branch,metadata.tier\n"
        "cash,EUR,Cash,debit,,,,\n"
        'ada,EUR,"Lovelace, Ada",,-500,100000,north,gold\n'
    )

    done = run(file)

    assert (done.returncode, done.stdout, done.stderr) == (0, "2 opened, 0 already there, 0 refused.\n", "")
    cash, ada = await accounts_in(database)
    assert (cash.reference, cash.normal_side, cash.minimum_balance, cash.metadata_) == ("cash", "debit", None, {})
    assert (ada.name, ada.normal_side, ada.minimum_balance, ada.maximum_balance) == (
        "Lovelace, Ada",
        "credit",
        -500,
        100_000,
    )
    assert ada.metadata_ == {"branch": "north", "tier": "gold"}
    async with database.sessions() as session:
        decisions = list(await session.scalars(select(DecisionRow)))
    assert {decision.client_id for decision in decisions} == {"import"}
    assert {decision.operation for decision in decisions} == {"create_account"}
    assert {decision.resource_id for decision in decisions} == {cash.id, ada.id}


def test_rows_that_a_spreadsheet_left_empty_are_skipped_and_said(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "accounts.csv"
    file.write_bytes(b"\xef\xbb\xbfreference,currency,name\r\n,,\r\na,USD,\r\n,,\r\n")

    done = run(file)

    assert (done.returncode, done.stdout) == (0, "1 opened, 0 already there, 0 refused.\n")
    assert done.stderr == "Rows of nothing but empty cells were skipped: 2.\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("reference,currency\na,USD\n".encode("utf-16"), "not UTF-8"),
        (b"reference,currency\ra,USD\r", "a carriage return alone"),
        (b"reference;currency\na;USD\n", "separate them by commas"),
    ],
)
def test_a_file_of_another_kind_ends_with_2_and_a_sentence(
    run: Run, tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = tmp_path / "accounts.csv"
    file.write_bytes(content)

    done = run(file)

    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in " ".join(done.stderr.replace("│", " ").split())


async def test_the_same_content_in_another_format_is_already_there(
    run: Run, database: Database, tmp_path: Path
) -> None:
    rows = tmp_path / "accounts.csv"
    rows.write_text("currency,reference,name\nUSD,a,\nUSD,b,Bea\n")
    objects = tmp_path / "accounts.jsonl"
    objects.write_text(
        '{"reference":"b","name":"Bea","currency":"USD","metadata":{}}\n{"currency":"USD","reference":"a"}'
    )

    assert run(rows).stdout == "2 opened, 0 already there, 0 refused.\n"
    again = run(objects)

    assert (again.returncode, again.stdout) == (0, "0 opened, 2 already there, 0 refused.\n")
    assert len(await accounts_in(database)) == 2


def test_a_changed_line_for_a_taken_reference_is_refused(run: Run, tmp_path: Path) -> None:
    run(csv_file(tmp_path / "accounts.csv", ["a", "b"]))
    changed = tmp_path / "changed.csv"
    changed.write_text("reference,currency\na,USD\nb,EUR\n")

    done = run(changed)

    assert (done.returncode, done.stdout) == (1, "0 opened, 1 already there, 1 refused.\n")
    assert done.stderr == "line 3: reference_taken: Another account of this ledger has the reference 'b'.\n"
    assert run(changed).stdout == done.stdout, "a refusal is remembered"


def test_refused_lines_of_every_kind_are_reported(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "accounts.csv"
    file.write_text(
        "reference,currency,minimum_balance,maximum_balance\n"
        "a,USD,,\n"
        "b,usd,,\n"
        "c,XXX,,\n"
        "d,USD,1,\n"
        "e,USD,,-1\n"
        "a,EUR,,\n"
        ",USD,,\n"
        'f,"U"SD,,\n'
        "g,USD\n"
        "h,USD,,\n"
    )
    report = tmp_path / "report.jsonl"

    done = run(file, "--report", report, "--page-lines", "3")

    assert (done.returncode, done.stdout) == (1, "2 opened, 0 already there, 8 refused.\n")
    refused: list[dict[str, Any]] = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(line["line"], line["reference"], line["code"]) for line in refused] == [
        (3, None, "malformed_request"),
        (4, "c", "currency_unknown"),
        (5, "d", "insufficient_funds"),
        (6, "e", "balance_limit_exceeded"),
        (7, "a", "reference_taken"),
        (8, None, "malformed_request"),
        (9, None, "malformed_request"),
        (10, None, "malformed_request"),
    ]
    assert done.stderr.splitlines() == [f"line {line['line']}: {line['code']}: {line['reason']}" for line in refused]


def test_the_first_refused_lines_are_shown_and_all_of_them_written(run: Run, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"

    done = run(csv_file(tmp_path / "accounts.csv", [""] * 50), "--report", report)

    assert len(done.stderr.splitlines()) == 21
    assert done.stderr.splitlines()[-1] == "and 30 more; --report FILE writes them all."
    assert len(report.read_text().splitlines()) == 50


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.csv"], "No such file"),
        (["accounts.txt"], "say --format csv or --format jsonl"),
        (["-"], "say --format csv or --format jsonl"),
        (["accounts.csv", "--format", "xml"], "'xml' is not one of"),
        (["accounts.csv", "--page-lines", "0"], "--page-lines"),
        (["accounts.csv", "--ledger", "nowhere"], "There is no ledger 'nowhere'"),
        (["accounts.txt", "--format", "csv"], "There is no column 'hello'"),
    ],
)
def test_a_command_that_cannot_run_ends_with_2(run: Run, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    csv_file(tmp_path / "accounts.csv", ["a"])
    (tmp_path / "accounts.txt").write_text("hello\n")
    file = arguments[0] if arguments[0] == "-" else str(tmp_path / arguments[0])

    done = run(file, *arguments[1:])

    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_page_is_committed_before_more_is_read_and_ctrl_c_says_how_to_go_on(
    run: Run, start: Start, database: Database, tmp_path: Path
) -> None:
    process = start("-", "--format", "csv", "--page-lines", "2")
    write(process, "reference,currency\na,USD\nb,USD\nc,USD\n")
    await until_decided(database, 2)
    process.send_signal(signal.SIGINT)
    code, output, errors = await ended(process)

    assert (code, output) == (1, "2 opened, 0 already there, 0 refused.\n")
    assert errors == "Stopped after line 3. To go on, run the same command again: what is done is skipped.\n"
    done = run(csv_file(tmp_path / "accounts.csv", ["a", "b", "c"]))
    assert (done.returncode, done.stdout) == (0, "1 opened, 2 already there, 0 refused.\n")
    assert [account.reference for account in await accounts_in(database)] == ["a", "b", "c"]


async def test_ctrl_c_in_a_page_waits_for_its_end(start: Start, database: Database) -> None:
    """The page waits for a reference that an open transaction has taken. The interruption must not cancel the page."""
    async with database.sessions() as other, other.begin():
        now = await other.scalar(select(func.clock_timestamp()))
        taken = {"ledger_id": 1, "id": UUID(int=1), "reference": "b", "currency": "EUR", "normal_side": "credit"}
        await other.execute(insert(AccountRow).values(**taken, created_at=now, updated_at=now))
        process = start("-", "--format", "csv", "--page-lines", "2")
        write(process, "reference,currency\na,USD\nb,USD\nc,USD\nd,USD\n")
        waiting = text("SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted")
        async with database.sessions() as observer:
            while not await observer.scalar(waiting):  # noqa: ASYNC110 - the event is the database's
                await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.2)
    code, output, errors = await ended(process)

    assert (code, output) == (1, "1 opened, 0 already there, 1 refused.\n")
    assert "Stopped after line 3." in errors
    assert await decision_count(database) == 2


async def test_after_a_crash_the_same_command_opens_the_rest(
    run: Run, start: Start, database: Database, tmp_path: Path
) -> None:
    references = [f"r{number}" for number in range(25)]
    process = start("-", "--format", "csv", "--page-lines", "10")
    write(process, csv_file(tmp_path / "accounts.csv", references).read_text())
    await until_decided(database, 20)
    process.kill()
    process.wait()

    done = run(tmp_path / "accounts.csv", "--page-lines", "10")

    assert (done.returncode, done.stdout) == (0, "5 opened, 20 already there, 0 refused.\n")
    assert [account.reference for account in await accounts_in(database)] == references


async def test_two_imports_of_one_file_at_once_open_every_account_once(
    start: Start, database: Database, tmp_path: Path
) -> None:
    references = [f"r{number:04}" for number in range(1500)]
    file = csv_file(tmp_path / "accounts.csv", references)
    results = await asyncio.gather(
        ended(start(file, "--page-lines", "100")), ended(start(file, "--page-lines", "70")), ended(start(file))
    )

    counts = [[int(word) for word in output.replace(",", "").split() if word.isdigit()] for _, output, _ in results]
    assert [code for code, _, _ in results] == [0, 0, 0], results
    assert sum(opened for opened, _, _ in counts) == 1500
    assert [opened + already_there for opened, already_there, _ in counts] == [1500] * 3
    assert sorted(account.reference or "" for account in await accounts_in(database)) == references


async def test_a_damaged_ledger_takes_no_more_where_the_settings_say_so(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    damage = "INSERT INTO funds.verifications (ledger_id, damaged, complete) VALUES (1, true, CAST(:complete AS json))"
    finding = Finding("rule", "accounts", "1", "wrong")
    known = Pass(datetime.now(UTC), finding_count=1, findings=[finding])
    async with database.sessions() as session, session.begin():
        await session.execute(text(damage), {"complete": msgspec.json.encode(known).decode()})
    file = csv_file(tmp_path / "accounts.csv", ["a", "b"])

    def imported(**settings: str) -> subprocess.CompletedProcess[str]:
        return run_funds("import", "accounts", str(file), settings={"FUNDS_DATABASE_URL": database_url, **settings})

    try:
        refused = imported(FUNDS_STOP_ON_DAMAGE="true")
        assert refused.returncode == 1
        assert "Stopped after line 0: Verification found damage in the ledger" in " ".join(refused.stderr.split())
        assert refused.stdout == "0 opened, 0 already there, 0 refused.\n"
        assert imported().stdout == "2 opened, 0 already there, 0 refused.\n"
    finally:
        async with database.sessions() as session, session.begin():
            await session.execute(text("UPDATE funds.verifications SET damaged = false, complete = NULL"))
