"""``funds export``: other people's programs read what is written, and their balances are the service's."""

import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.ledger_at_work import fill_ledger
from tests.support.ledger_in_time import DAYS, FIRST_DAY, LedgerInTime, fill_in_time
from tests.support.servers import FUNDS, ROOT, TestDatabase, TestPostgres, clean_environment, run_funds

EXPONENTS = {"USD": 2, "JPY": 0, "KWD": 3, "CLF": 4}
BEGINNING, MIDDLE, END = FIRST_DAY, FIRST_DAY + timedelta(days=200, hours=5), FIRST_DAY + timedelta(days=DAYS)
PERIODS: dict[str, tuple[datetime | None, datetime | None]] = {
    "all": (None, None),
    "first half": (None, MIDDLE),
    "second half": (MIDDLE, None),
    "a month": (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)),
    "before all": (FIRST_DAY - timedelta(days=9), FIRST_DAY - timedelta(days=8)),
}

READ_BEANCOUNT = """
import json, sys
from collections import defaultdict
from beancount import loader
entries, errors, _ = loader.load_file(sys.argv[1])
sums, known, said = defaultdict(int), {}, []
for entry in entries:
    if type(entry).__name__ == "Open":
        known[entry.account] = entry.meta["account-id"]
    if type(entry).__name__ == "Transaction":
        said.append([entry.narration, {name: value for name, value in entry.meta.items() if "-" in name or name in
                                       ("reference", "client", "metadata")}])
        for posting in entry.postings:
            sums[posting.account] += posting.units.number
print(json.dumps([[str(error.message) for error in errors], {known[name]: str(value) for name, value in sums.items()},
                  said]))
"""


@pytest.fixture(scope="module")
async def shared(postgres: TestPostgres) -> AsyncIterator[tuple[TestDatabase, LedgerInTime]]:
    async with postgres.fresh_database() as database:
        yield database, await fill_in_time(database.service_url)


def export(database: TestDatabase, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command under the auditor's role."""
    return run_funds("export", *arguments, settings={"FUNDS_DATABASE_URL": database.auditor_url})


def exported(database: TestDatabase, form: str, period: str, path: Path) -> Path:
    """Export ``period`` to ``path``."""
    start, end = PERIODS[period]
    bounds = [*(("--from", start.isoformat()) if start else ()), *(("--to", end.isoformat()) if end else ())]
    done = export(database, "--format", form, "--output", str(path), *bounds)
    assert done.returncode == 0, done.stderr
    return path


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def closing(ledger: LedgerInTime, period: str) -> dict[str, Decimal]:
    """What every account has at the end of a period in major units, debits less credits; without those that have 0."""
    sums = ledger.balances(before=PERIODS[period][1] or datetime.max.replace(tzinfo=UTC))
    return {
        str(account_id): Decimal(amount).scaleb(-EXPONENTS[ledger.accounts[account_id].currency])
        for account_id, amount in sums.items()
        if amount
    }


def in_period(ledger: LedgerInTime, period: str) -> list[Any]:
    start, end = PERIODS[period]
    return [
        transfer
        for transfer in ledger.transfers
        if (start is None or transfer.effective_at >= start) and (end is None or transfer.effective_at < end)
    ]


def without_zeros(balances: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {name: amount for name, amount in balances.items() if amount}


def hledger(path: Path, *arguments: str) -> str:
    done = subprocess.run(
        [program("hledger"), "-f", str(path), *arguments],
        capture_output=True, text=True, check=False, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def hledger_accounts(path: Path) -> dict[str, str]:
    """The identifier of every account by its name, as the directives say."""
    return dict(re.findall(r"^account (.+?)  ; account-id: ([0-9a-f-]{36})", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("period", PERIODS)
def test_hledger_adds_up_the_same_balances(
    shared: tuple[TestDatabase, LedgerInTime], tmp_path: Path, period: str
) -> None:
    database, ledger = shared
    path = exported(database, "hledger", period, tmp_path / "main.journal")

    rows = list(csv.reader(io.StringIO(hledger(path, "balance", "--flat", "--no-total", "-O", "csv"))))[1:]
    names = hledger_accounts(path)

    assert len(names) == len(set(names.values())) == len(ledger.accounts)
    added_up = {names[name]: Decimal(balance.split()[0]) for name, balance in rows}
    assert without_zeros(added_up) == closing(ledger, period)
    for name, balance in rows:
        assert balance.split()[1] == next(
            account.currency for account in ledger.accounts.values() if str(account.id) == names[name]
        )


def test_hledger_reads_every_text_as_it_was_sent(shared: tuple[TestDatabase, LedgerInTime], tmp_path: Path) -> None:
    database, ledger = shared
    path = exported(database, "hledger", "all", tmp_path / "main.journal")

    assert set(re.findall(r"code: ([^,]*), name", path.read_text())) == {"1000:cash"}
    read = {one["tcode"]: one for one in json.loads(hledger(path, "print", "-O", "json"))}

    assert len(read) == len(ledger.transfers) + 1, "and the closing balances"
    for transfer in ledger.transfers:
        one = read[str(transfer.id)]
        tags = {name: unquote(value) for name, value in one["ttags"]}
        assert one["tdate"] == transfer.effective_at.date().isoformat()
        assert one["tdate2"] is None
        assert unquote(one["tdescription"]) == (transfer.description or "")
        assert [posting["pdate"] for posting in one["tpostings"]] == [None, None]
        assert tags["client"] == transfer.client_id
        assert tags.get("reference") == transfer.reference
        assert json.loads(tags.get("metadata", "{}")) == transfer.metadata
        assert tags["effective"] == transfer.effective_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert tags["recorded"] == transfer.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_hledger_finds_a_balance_that_was_changed(shared: tuple[TestDatabase, LedgerInTime], tmp_path: Path) -> None:
    """The balances that the file asserts are the service's; the postings are what hledger adds up."""
    path = exported(shared[0], "hledger", "second half", tmp_path / "main.journal")
    lines = path.read_text().splitlines()
    place = next(
        place
        for place, line in enumerate(lines)
        if re.match(r"    .*  -?[0-9.]+ JPY$", line) and lines[place - 1].startswith("    ; ")
    )
    amount = lines[place].split()[-2]
    lines[place] = lines[place].replace(f"  {amount} JPY", f"  {int(amount) + 1} JPY")
    lines[place + 1] = re.sub(r"  -?[0-9]+ JPY$", "", lines[place + 1])  # hledger balances the transaction
    path.write_text("\n".join(lines) + "\n")

    found = subprocess.run([program("hledger"), "-f", str(path), "balance"], capture_output=True, check=False)

    assert found.returncode != 0
    assert b"balance assertion" in found.stderr


@pytest.mark.parametrize("period", ["all", "a month"])
def test_beancount_adds_up_the_same_balances(
    shared: tuple[TestDatabase, LedgerInTime], tmp_path: Path, period: str
) -> None:
    program("bean-check")
    database, ledger = shared
    path = exported(database, "beancount", period, tmp_path / "main.beancount")

    read = subprocess.run(
        ["/usr/bin/python3", "-c", READ_BEANCOUNT, str(path)], capture_output=True, text=True, check=True
    )

    errors, sums, said = json.loads(read.stdout)
    assert errors == []
    assert without_zeros({name: Decimal(value) for name, value in sums.items()}) == closing(ledger, period)
    told = {meta["transfer-id"]: (narration, meta) for narration, meta in said if "transfer-id" in meta}
    assert told.keys() == {str(transfer.id) for transfer in in_period(ledger, period)}
    for transfer in in_period(ledger, period):
        narration, meta = told[str(transfer.id)]
        assert narration == (transfer.description or "")
        assert meta.get("reference") == transfer.reference
        assert meta["client"] == transfer.client_id
        assert json.loads(meta.get("metadata", "{}")) == transfer.metadata


def test_a_beancount_file_is_what_its_syntax_allows(shared: tuple[TestDatabase, LedgerInTime], tmp_path: Path) -> None:
    """Read by a parser of these few kinds of lines, where Beancount is not installed."""
    database, ledger = shared
    text = exported(database, "beancount", "second half", tmp_path / "main.beancount").read_text()
    name = r"(?:Assets|Liabilities)(?::[A-Z0-9][A-Za-z0-9-]*)+"
    string = r'"(?:[^"\\\n]|\\.)*"'
    kinds = [
        rf"option {string} {string}", r"", r";.*", rf"\d{{4}}-\d\d-\d\d open {name} [A-Z]{{3}}",
        rf"\d{{4}}-\d\d-\d\d \* {string}", rf"  [a-z][a-z-]+: {string}", rf"  {name}  -?\d+(?:\.\d+)? [A-Z]{{3}}",
    ]  # fmt: skip
    assert [line for line in text.split("\n") if not any(re.fullmatch(kind, line) for kind in kinds)] == []
    names = dict(re.findall(rf'^\S+ open ({name}) \w+\n  account-id: "(.+)"$', text, re.MULTILINE))
    sums: Counter[str] = Counter()
    for account, amount in re.findall(rf"^  ({name})  (\S+) [A-Z]{{3}}$", text, re.MULTILINE):
        sums[names[account]] += Decimal(amount)  # type: ignore[assignment]
    assert without_zeros(sums) == closing(ledger, "second half")  # type: ignore[arg-type]


@pytest.mark.parametrize("period", PERIODS)
def test_audit_data_roll_forward(shared: tuple[TestDatabase, LedgerInTime], tmp_path: Path, period: str) -> None:
    """Beginning and all lines make the ending of every account; debits and credits are equal in every journal."""
    database, ledger = shared
    exported(database, "ads", period, tmp_path)
    files = {path.name.rpartition("_")[0].rpartition("_")[0]: read_flat(path) for path in tmp_path.iterdir()}
    assert files.keys() == {"GL_Detail", "Chart_Of_Accounts", "Trial_Balance"}
    details, balances = files["GL_Detail"], files["Trial_Balance"]
    chart = {row["GL_Account_Number"]: row["Account_ID"] for row in files["Chart_Of_Accounts"]}

    moved: dict[str, Decimal] = defaultdict(Decimal)
    journals: dict[str, Decimal] = defaultdict(Decimal)
    for row in details:
        signed = Decimal(row["Amount"]) * (1 if row["Amount_Credit_Debit_Indicator"] == "D" else -1)
        moved[row["GL_Account_Number"]] += signed
        journals[row["Journal_ID"]] += signed
    assert not any(journals.values())
    assert journals.keys() == {str(transfer.id) for transfer in in_period(ledger, period)}
    assert len(balances) == len(chart) == len(ledger.accounts)
    for row in balances:
        assert Decimal(row["Amount_Beginning"]) + moved[row["GL_Account_Number"]] == Decimal(row["Amount_Ending"])
        net = Decimal(row["Amount_Debits"]) - Decimal(row["Amount_Credits"])
        assert net == moved[row["GL_Account_Number"]]
    ending = {chart[row["GL_Account_Number"]]: Decimal(row["Amount_Ending"]) for row in balances}
    assert without_zeros(ending) == closing(ledger, period)
    told = {row["Journal_ID"]: row for row in details}
    for transfer in in_period(ledger, period):
        row = told[str(transfer.id)]
        assert unquote(row["JE_Header_Description"]) == (transfer.description or "")
        assert unquote(row["JE_Line_Description"]) == (transfer.reference or "")
        assert unquote(row["Entered_By"]) == transfer.client_id
        assert row["Effective_Date"] == transfer.effective_at.date().isoformat()


def read_flat(path: Path) -> list[dict[str, str]]:
    names, *lines = [line.split("|") for line in path.read_text().split("\n")[:-1]]
    return [dict(zip(names, line, strict=True)) for line in lines]


def test_standard_output(shared: tuple[TestDatabase, LedgerInTime]) -> None:
    done = export(shared[0], "--format", "hledger", "--from", "2026-03-01", "--to", "2026-03-02")
    count = sum(transfer.effective_at.date().isoformat() == "2026-03-01" for transfer in shared[1].transfers)
    assert (done.returncode, done.stderr) == (0, f"{count} transfers written.\n")
    assert done.stdout.startswith("; Ledger main: transfers with value dates from 2026-03-01T00:00:00.000000Z, before")
    assert done.stdout.endswith(f"; End: {count} transfers.\n")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--format", "xml"], 2, "'xml' is not one of"),
        (["--format", "ads"], 2, "say into which directory with --output"),
        (["--format", "hledger", "--ledger", "other"], 2, "There is no ledger 'other'."),
        (["--format", "hledger", "--from", "yesterday"], 2, "write a day, such as"),
        (["--format", "hledger", "--from", "2026-02-30"], 2, "write a day, such as"),
        (["--format", "hledger", "--from", "2026-02-03", "--to", "2026-02-03"], 2, "it must lie after --from"),
        (["--format", "hledger", "--output", "/nowhere/main.journal"], 1, "/nowhere/main.journal cannot be written"),
        (["--format", "ads", "--output", "/dev/null"], 1, "cannot be written: Not a directory"),
        (["--format", "beancount", "--output", "/dev/full/x"], 1, "cannot be written"),
    ],
)
def test_what_cannot_be_written(
    shared: tuple[TestDatabase, LedgerInTime], arguments: list[str], code: int, sentence: str
) -> None:
    done = export(shared[0], *arguments)
    assert done.returncode == code
    assert sentence in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_whole_does_not_get_its_name(
    shared: tuple[TestDatabase, LedgerInTime], tmp_path: Path
) -> None:
    path = tmp_path / "main.journal"
    (tmp_path / "main.journal.partial").symlink_to("/dev/full")
    done = export(shared[0], "--format", "hledger", "--output", str(path))
    assert (done.returncode, "No space left on device" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_without_anything(test_database: TestDatabase, tmp_path: Path) -> None:
    for form in ("hledger", "beancount", "ads"):
        (tmp_path / form).mkdir()
        done = export(
            test_database, "--format", form, "--output", str(tmp_path / form / ("" if form == "ads" else "file"))
        )
        assert (done.returncode, done.stderr) == (0, "0 transfers written.\n")
    if shutil.which("hledger"):
        assert hledger(tmp_path / "hledger" / "file", "balance", "--no-total") == ""


async def test_captures_and_reversals_are_told_as_such(test_database: TestDatabase, tmp_path: Path) -> None:
    made = await fill_ledger(test_database)
    assert export(test_database, "--format", "ads", "--output", str(tmp_path)).returncode == 0
    rows = read_flat(next(tmp_path.glob("GL_Detail_*")))
    sources = {row["Journal_ID"]: row["Source"] for row in rows}
    assert Counter(source for source in sources.values() if source != "transfer") == {"capture": 2, "reversal": 1}
    assert sources[str(made.capture)] == "capture"
    reversal = next(row for row in rows if row["Source"] == "reversal")
    assert (reversal["Journal_ID"], reversal["Reversed_Journal_ID"]) == (str(made.reversal), str(made.transfer))
    if shutil.which("hledger"):
        path = tmp_path / "main.journal"
        assert export(test_database, "--format", "hledger", "--output", str(path)).returncode == 0
        assert hledger(path, "check") == ""


def test_progress_is_shown_on_a_terminal(shared: tuple[TestDatabase, LedgerInTime], tmp_path: Path) -> None:
    """With how many there are, which is counted for a terminal alone."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*FUNDS, "export", "--format", "hledger", "--output", str(tmp_path / "file")], cwd=ROOT, stderr=theirs,
        env=clean_environment({"FUNDS_DATABASE_URL": shared[0].auditor_url, "TERM": "xterm"}),
    )  # fmt: skip
    assert process.wait(60) == 0
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    count = len(shared[1].transfers)
    assert f"{count}/{count}" in shown
