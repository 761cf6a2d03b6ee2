"""``funds import transfers`` as those use it who come from another ledger."""

import asyncio
import csv
import io
import json
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from service.storage.database import Database
from service.storage.rows import AccountRow, DecisionRow, TransferRow
from tests.support.servers import FUNDS, ROOT, TestDatabase, clean_environment, run_funds

Run = Callable[..., subprocess.CompletedProcess[str]]

JOURNAL = """\
2024-01-01 opening balances
    assets:bank:checking        1,000.00 EUR
    assets:cash                    50.00 EUR
    equity:opening

2024-01-15 ! (inv-7) Café Müller | consulting  ; paid: late
    assets:bank:checking        2500.50 EUR
    liabilities:tax              -400.08 EUR
    income:consulting

2024-01-16 * weekly shopping
    expenses:food                 10 EUR
    expenses:household            20.5 EUR
    assets:bank:checking         -25 EUR
    assets:cash

2024-01-17 coffee
    expenses:food                  2.40 EUR
    assets:cash

2024-01-17 coffee
    expenses:food                  2.40 EUR
    assets:cash

2024-02-01 exchange
    assets:bank:usd              100 USD @@ 90 EUR
    assets:bank:checking         -90 EUR

2024-02-02 in and out of one account
    assets:cash                    5 EUR
    assets:cash                   -3 EUR
    income:gifts                  -2 EUR

2024-02-03 yen
    assets:wallet:jpy           1050 JPY
    equity:opening             -1050 JPY
"""


def funds(database: TestDatabase, *arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return run_funds(
        *map(str, arguments),
        settings={
            "FUNDS_DATABASE_URL": database.service_url, "FUNDS_EFFECTIVE_PAST_DAYS_MAX": "36600", **settings
        },
    )  # fmt: skip


@pytest.fixture
def run(test_database: TestDatabase) -> Run:
    """Run ``funds import transfers`` to its end."""

    def run(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        return funds(test_database, "import", "transfers", *arguments, **settings)

    return run


@pytest.fixture
def open_accounts(test_database: TestDatabase, tmp_path: Path) -> Callable[..., None]:
    """Open accounts with these references, each with a currency, and perhaps columns more, as of 2020."""

    def open_accounts(*rows: str, columns: str = "reference,currency") -> None:
        path = tmp_path / "accounts.csv"
        path.write_text("\n".join([columns, *rows]) + "\n")
        done = funds(test_database, "import", "accounts", path, "--opened-at", "2020-01-01")
        assert done.returncode == 0, done.stderr

    return open_accounts


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


async def balances(database: Database) -> dict[tuple[str | None, str], int]:
    """Debits less credits by reference and currency, of accounts that have any."""
    async with database.sessions() as session:
        accounts = (await session.scalars(select(AccountRow))).all()
    nets = {(one.reference, one.currency): one.debits_posted - one.credits_posted for one in accounts}
    return {account: net for account, net in nets.items() if net}


async def posted(database: Database) -> Sequence[TransferRow]:
    accounts = [joinedload(TransferRow.debit_account), joinedload(TransferRow.credit_account)]
    async with database.sessions() as session:
        return (await session.scalars(select(TransferRow).order_by(TransferRow.id).options(*accounts))).all()


def hledger(*arguments: str | Path) -> str:
    program = shutil.which("hledger")
    if program is None:
        pytest.skip("hledger is not installed")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def added_up(journal: Path) -> dict[tuple[str, str], Decimal]:
    """Every balance by account and commodity, as hledger adds it up."""
    sums: dict[tuple[str, str], Decimal] = {}
    rows = csv.reader(
        io.StringIO(hledger("-f", journal, "balance", "--flat", "--no-total", "--layout", "bare", "-O", "csv"))
    )
    for name, commodity, amount in list(rows)[1:]:
        if Decimal(amount):
            sums[(name, commodity)] = Decimal(amount)
    return sums


async def test_a_journal_is_migrated_and_hledger_agrees_on_every_balance(
    test_database: TestDatabase, database: Database, run: Run, open_accounts: Callable[..., None], tmp_path: Path
) -> None:
    """From a journal to the ledger, and from there by an export to hledger again."""
    journal = written(tmp_path / "old.journal", JOURNAL)
    entries = written(tmp_path / "entries.csv", hledger("-f", journal, "print", "-x", "--infer-equity", "-O", "csv"))
    before = added_up(written(tmp_path / "whole.journal", hledger("-f", journal, "print", "-x", "--infer-equity")))
    options = ("--from", "hledger", "--account", "{account}:{currency}")
    missing = tmp_path / "missing.csv"
    checked = run(entries, *options, "--check", "--missing-accounts", missing)
    assert checked.stdout == "0 checked, 0 already there, 8 refused.\n"
    columns, *rows = missing.read_text().splitlines()
    debit = ("assets", "expenses")
    open_accounts(
        *(f"{row},{'debit' if row.startswith(debit) else 'credit'}" for row in rows), columns=f"{columns},normal_side"
    )

    done = run(entries, *options)

    assert (done.returncode, done.stdout, done.stderr) == (0, "8 posted, 0 already there, 0 refused.\n", "")
    exported = tmp_path / "new.journal"
    assert funds(test_database, "export", "--format", "hledger", "--output", exported).returncode == 0
    after = {(name.rpartition(":")[0], code): amount for (name, code), amount in added_up(exported).items()}
    assert after == before
    transfers = await posted(database)
    assert Counter(transfer.effective_at.date().isoformat() for transfer in transfers)["2024-01-17"] == 2
    income = [transfer for transfer in transfers if transfer.reference == "inv-7"]
    assert [transfer.description for transfer in income] == ["Café Müller | consulting"] * 2
    assert len({transfer.group_id for transfer in income}) == 1
    assert funds(test_database, "verify").returncode == 0

    again = run(entries, *options)
    assert (again.returncode, again.stdout) == (0, "0 posted, 8 already there, 0 refused.\n")
    assert len(await posted(database)) == len(transfers)


async def test_transfers_as_a_spreadsheet_writes_them(
    run: Run, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    open_accounts("kasse,EUR", "miete,EUR", "dinar,KWD", "tresor,KWD")
    path = tmp_path / "buchungen.csv"
    path.write_bytes(
        "\ufeffBeleg;Datum;Soll;Haben;Betrag;Währung;Text;metadata.kst\r\n"
        '17;31.01.2024;miete;kasse;1.234,50;EUR;"Miete; Januar";100\r\n'
        "18;01.02.2024;dinar;tresor;0,001;KWD;;\r\n".encode()
    )
    options = [
        "--delimiter", ";", "--major-units", "--decimal-comma", "--date-format", "%d.%m.%Y", "--source", "lexware",
        "--column", "number=Beleg", "--column", "effective_at=Datum", "--column", "debit_account=Soll",
        "--column", "credit_account=Haben", "--column", "amount=Betrag", "--column", "currency=Währung",
        "--column", "description=Text",
    ]  # fmt: skip

    done = run(path, *options)

    assert (done.returncode, done.stdout, done.stderr) == (0, "2 posted, 0 already there, 0 refused.\n", "")
    first, second = await posted(database)
    assert (first.debit_account.reference, first.credit_account.reference) == ("miete", "kasse")
    assert (first.amount, second.amount) == (123_450, 1)
    assert first.effective_at.isoformat() == "2024-01-31T00:00:00+00:00"
    assert first.description == "Miete; Januar"
    assert first.metadata_ == {"import_number": "17", "import_source": "lexware", "kst": "100"}
    assert first.client_id == "import"


async def test_objects_a_line_are_the_same_as_rows(
    run: Run, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    open_accounts("a,USD", "b,USD", "c,USD")
    rows = written(
        tmp_path / "rows.csv",
        "number,effective_at,account,debit,credit,currency,description\n"
        "1,2024-01-01,a,100,,USD,split\n1,2024-01-01,b,,60,USD,split\n1,2024-01-01,c,,40,USD,split\n"
        "2,2024-01-02T10:00:00+01:00,b,5,,USD,\n2,2024-01-02T10:00:00+01:00,c,,5,USD,\n",
    )
    objects = written(
        tmp_path / "objects.jsonl",
        '{"number":"1","effective_at":"2024-01-01","description":"split","postings":[{"account":"a","amount":100,'
        '"currency":"USD"},{"account":"b","amount":-60,"currency":"USD"},{"account":"c","amount":"-40",'
        '"currency":"USD"}]}\n'
        '{"number":"2","effective_at":"2024-01-02T09:00:00Z","debit_account":"b","credit_account":"c","amount":5,'
        '"currency":"USD"}\n',
    )

    assert run(rows).stdout == "2 posted, 0 already there, 0 refused.\n"
    assert run(objects).stdout == "0 posted, 2 already there, 0 refused.\n"
    assert await balances(database) == {("a", "USD"): 100, ("b", "USD"): -55, ("c", "USD"): -45}


async def test_transactions_of_formance(
    run: Run, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    open_accounts("world,USD", "users:1,USD", "fees,USD")
    path = written(
        tmp_path / "transactions.jsonl",
        '{"id":0,"timestamp":"2024-01-01T10:00:00Z","reference":"dep-1","metadata":{"k":"v"},"reverted":false,'
        '"postings":[{"source":"world","destination":"users:1","amount":10050,"asset":"USD/2"},'
        '{"source":"users:1","destination":"fees","amount":1,"asset":"USD"}]}\n'
        '{"id":1,"timestamp":"2024-01-01T10:00:00Z","postings":[{"source":"world","destination":"fees","amount":1,'
        '"asset":"USD/3"}]}\n',
    )

    done = run(path, "--from", "formance")

    assert (done.returncode, done.stdout) == (1, "1 posted, 0 already there, 1 refused.\n")
    assert "line 2: malformed_request: 1 with 3 decimal places has more than USD, which has 2" in done.stderr
    assert await balances(database) == {("world", "USD"): 10_050, ("users:1", "USD"): -9_950, ("fees", "USD"): -100}
    assert len({transfer.group_id for transfer in await posted(database)}) == 1


async def test_a_csv_of_gnucash(
    run: Run, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    """Only the first row of a transaction says what belongs to all of it."""
    open_accounts("Assets:Bank,EUR", "Expenses:Food,EUR", "Expenses:Rent,EUR")
    path = written(
        tmp_path / "gnucash.csv",
        '"Date","Transaction ID","Number","Description","Notes","Commodity/Currency","Void Reason","Action","Memo",'
        '"Full Account Name","Account Name","Amount With Sym","Amount Num.","Value With Sym","Value Num.",'
        '"Reconcile","Reconcile Date","Rate/Price"\n'
        '"31/01/2024","f00d","","Shop","","CURRENCY::EUR","","","","Expenses:Food","Food","10,00 €","10,00","10,00 €",'
        '"10,00","n","","1,00"\n'
        '"","","","","","CURRENCY::EUR","","","","Expenses:Rent","Rent","1.000,00 €","","","1.000,00","n","",""\n'
        '"","","","","","CURRENCY::EUR","","","","Assets:Bank","Bank","","","","-1.010,00","n","",""\n',
    )
    done = run(path, "--from", "gnucash", "--decimal-comma", "--date-format", "%d/%m/%Y")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 posted, 0 already there, 0 refused.\n", "")
    assert await balances(database) == {
        ("Assets:Bank", "EUR"): -101_000, ("Expenses:Food", "EUR"): 1_000, ("Expenses:Rent", "EUR"): 100_000
    }  # fmt: skip


async def test_a_table_of_beancount(
    run: Run, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    open_accounts("Assets:Bank,EUR", "Expenses:Food,EUR")
    path = written(
        tmp_path / "table.csv",
        "id,date,payee,narration,account,number,currency\n"
        "5f97,2024-01-03,Baker,Bread,Expenses:Food,  2.50,EUR\n5f97,2024-01-03,Baker,Bread,Assets:Bank  , -2.50,EUR\n",
    )
    assert run(path, "--from", "beancount").stdout == "1 posted, 0 already there, 0 refused.\n"
    [transfer] = await posted(database)
    assert (transfer.amount, transfer.description, transfer.metadata_) == (250, "Bread", {"payee": "Baker"})


async def test_opening_balances(
    run: Run, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    open_accounts("cash,USD", "ada,USD", "equity-USD,USD", "yen,JPY", "equity-JPY,JPY")
    path = written(tmp_path / "balances.csv", "account,debit,credit,currency\ncash,100,,USD\nada,,30,USD\nyen,7,,JPY\n")
    done = run(path, "--opening-account", "equity-{currency}", "--effective-at", "2024-01-01")
    assert (done.returncode, done.stdout) == (0, "3 posted, 0 already there, 0 refused.\n")
    assert await balances(database) == {
        ("cash", "USD"): 100, ("ada", "USD"): -30, ("equity-USD", "USD"): -70,
        ("yen", "JPY"): 7, ("equity-JPY", "JPY"): -7,
    }  # fmt: skip


def test_what_is_refused_is_told_with_its_line(run: Run, open_accounts: Callable[..., None], tmp_path: Path) -> None:
    open_accounts("a,USD,", "b,USD,", "low,USD,0", "eur,EUR,", columns="reference,currency,minimum_balance")
    path = written(
        tmp_path / "rows.csv",
        "number,effective_at,account,amount,currency\n"
        "1,2024-01-01,a,100,USD\n1,2024-01-01,b,-90,USD\n"
        "2,2024-01-01,a,1,USD\n2,2024-01-01,nobody,-1,USD\n"
        "3,2024-01-01,a,x,USD\n3,2024-01-01,b,-1,USD\n"
        "4,2019-12-31,a,1,USD\n4,2019-12-31,b,-1,USD\n"
        "5,2024-01-01,low,1,USD\n5,2024-01-01,a,-1,USD\n"
        "6,yesterday,a,1,USD\n6,yesterday,b,-1,USD\n"
        "7,2024-01-01,a,1,USD\n7,2024-01-01,eur,-1,USD\n"
        "8,2024-01-01,a,1,usd\n8,2024-01-01,b,-1,usd\n"
        ",2024-01-01,a,1,USD\n"
        "9,2024-01-01,a,1,USD\n9,2024-01-01,a,-1,USD\n"
        "10,2024-01-01,a,9223372036854775808,USD\n10,2024-01-01,b,-9223372036854775808,USD\n"
        "11,2024-01-01,a\n"
        "12,2024-01-01,a,1,USD\n12,2024-01-01,b,-1,USD\n",
    )
    report = tmp_path / "report.jsonl"

    done = run(path, "--report", report)

    refused: list[dict[str, Any]] = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(one["line"], one["reference"], one["code"]) for one in refused] == [
        (2, "1", "malformed_request"),
        (4, "2", "account_not_found"),
        (6, "3", "malformed_request"),
        (8, "4", "time_out_of_range"),
        (10, "5", "insufficient_funds"),
        (12, "6", "malformed_request"),
        (14, "7", "currency_mismatch"),
        (16, "8", "malformed_request"),
        (18, None, "malformed_request"),
        (19, "9", "malformed_request"),
        (21, "10", "malformed_request"),
        (23, None, "malformed_request"),
    ]
    assert refused[0]["reason"] == "the entry does not balance: a credit of 0.10 USD is missing"
    assert refused[1]["reason"] == "This ledger has no account with the reference 'nobody'."
    assert (done.returncode, done.stdout) == (1, "1 posted, 0 already there, 12 refused.\n")
    assert done.stderr.splitlines() == [f"line {one['line']}: {one['code']}: {one['reason']}" for one in refused]


async def test_what_was_rejected_is_decided_again_when_it_is_told_to(
    run: Run, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    """A rejection is remembered, and asked about again it is told again. Nothing is ever applied twice."""
    open_accounts("low,USD,0", "b,USD,", "c,USD,", columns="reference,currency,minimum_balance")
    entry = "number,account,amount,currency\n1,low,10,USD\n1,b,-5,USD\n1,c,-5,USD\n"
    path = written(tmp_path / "rows.csv", entry)
    funding = written(
        tmp_path / "funding.csv", "number,debit_account,credit_account,amount,currency\nfund,b,low,100,USD\n"
    )
    rejected = run(path)
    assert (rejected.returncode, rejected.stdout) == (1, "0 posted, 0 already there, 1 refused.\n")
    assert "insufficient_funds" in rejected.stderr
    assert run(funding).returncode == 0

    told_again, decided_again, known = run(path), run(path, "--again"), run(path)

    assert told_again.stdout == "0 posted, 0 already there, 1 refused.\n"
    assert "An earlier import was told so; --again has it decided again." in told_again.stderr
    assert decided_again.stdout == "1 posted, 0 already there, 0 refused.\n"
    assert known.stdout == run(path, "--again").stdout == "0 posted, 1 already there, 0 refused.\n"
    assert await balances(database) == {("low", "USD"): -90, ("b", "USD"): 95, ("c", "USD"): -5}


async def test_an_entry_that_is_corrected_is_decided_anew_unless_it_was_posted(
    run: Run, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    open_accounts("low,USD,0", "b,USD,", columns="reference,currency,minimum_balance")
    columns = "number,debit_account,credit_account,amount,currency\n"
    path = tmp_path / "rows.csv"
    assert run(written(path, f"{columns}1,low,b,10,USD\n")).returncode == 1

    turned = run(written(path, f"{columns}1,b,low,10,USD\n"))
    changed = run(written(path, f"{columns}1,b,low,11,USD\n"), "--again")
    other = run(path, "--source", "other")

    assert turned.stdout == "1 posted, 0 already there, 0 refused.\n"
    assert (changed.returncode, changed.stdout) == (1, "0 posted, 0 already there, 1 refused.\n")
    assert "Another entry with this number has been imported, which says something else" in changed.stderr
    assert other.stdout == "1 posted, 0 already there, 0 refused.\n"
    assert await balances(database) == {("low", "USD"): -21, ("b", "USD"): 21}


async def test_entries_without_a_number_are_counted(
    run: Run, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    """Two that say the same are two, and stay two, wherever they stand and whatever comes between them."""
    open_accounts("a,USD", "b,USD")
    columns, row = "debit_account,credit_account,amount,currency,description\n", "a,b,1,USD,coffee\n"
    path = tmp_path / "rows.csv"
    assert run(written(path, columns + row * 2)).stdout == "2 posted, 0 already there, 0 refused.\n"
    between = "a,b,5,USD,cake\n"
    done = run(written(path, columns + between + row + between + row * 2))
    assert done.stdout == "3 posted, 2 already there, 0 refused.\n"
    assert await balances(database) == {("a", "USD"): 13, ("b", "USD"): -13}


def test_a_number_stands_for_one_entry(run: Run, open_accounts: Callable[..., None], tmp_path: Path) -> None:
    open_accounts("a,USD", "b,USD")
    columns = "number,debit_account,credit_account,amount,currency\n"
    done = run(written(tmp_path / "rows.csv", f"{columns}1,a,b,1,USD\n1,a,b,1,USD\n1,a,b,2,USD\n"))
    assert done.stdout == "1 posted, 1 already there, 1 refused.\n"
    assert "line 4: idempotency_key_reused: Another entry with this number has been imported" in done.stderr


async def test_two_imports_of_a_file_at_once_post_it_once(
    test_database: TestDatabase, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    """Entries of two transfers, some of which were rejected before and are tried again by both."""
    open_accounts("low,USD,0", "b,USD,", "c,USD,", columns="reference,currency,minimum_balance")
    columns = "number,account,amount,currency\n"
    rows = [f"{number},low,3,USD\n{number},b,-1,USD\n{number},c,-2,USD\n" for number in range(600)]
    path = written(tmp_path / "rows.csv", columns + "".join(rows))
    first = funds(test_database, "import", "transfers", written(tmp_path / "some.csv", columns + "".join(rows[::2])))
    assert first.stdout == "0 posted, 0 already there, 300 refused.\n"
    funding = "number,debit_account,credit_account,amount,currency\nfund,b,low,1800,USD\n"
    assert funds(test_database, "import", "transfers", written(tmp_path / "fund.csv", funding)).returncode == 0

    both = [
        subprocess.Popen(
            [*FUNDS, "import", "transfers", str(path), "--again"], cwd=ROOT, stdout=subprocess.PIPE,
            env=clean_environment({"FUNDS_DATABASE_URL": test_database.service_url}),
        )
        for _ in range(2)
    ]  # fmt: skip
    outputs = [(await asyncio.to_thread(process.communicate))[0].decode() for process in both]

    counts = [[int(word) for word in output.split() if word.isdigit()] for output in outputs]
    assert [sum(column) for column in zip(*counts, strict=True)] == [600, 600, 0], outputs
    assert await balances(database) == {("b", "USD"): 1_200, ("c", "USD"): -1_200}


async def test_check_posts_nothing(
    run: Run, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    open_accounts("a,USD", "b,USD")
    path = written(tmp_path / "rows.csv", "debit_account,credit_account,amount,currency\na,b,1,USD\na,nobody,1,USD\n")
    done = run(path, "--check")
    assert (done.returncode, done.stdout) == (1, "1 checked, 0 already there, 1 refused.\n")
    assert await posted(database) == []


async def test_after_an_interruption_the_same_command_goes_on(
    test_database: TestDatabase, run: Run, open_accounts: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    open_accounts("a,USD", "b,USD")
    rows = [f"{number},a,b,1,USD\n" for number in range(2_500)]
    columns = "number,debit_account,credit_account,amount,currency\n"
    process = subprocess.Popen(
        [*FUNDS, "import", "transfers", "-", "--format", "csv"], cwd=ROOT,
        env=clean_environment({"FUNDS_DATABASE_URL": test_database.service_url}),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write((columns + "".join(rows[:1_001])).encode())
    process.stdin.flush()
    while not await _decisions(database):  # noqa: ASYNC110 - the event is the database's
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, b"1000 posted, 0 already there, 0 refused.\n"), errors
    assert b"Stopped after line 1001. To go on, run the same command again" in errors

    done = run(written(tmp_path / "rows.csv", columns + "".join(rows)))

    assert (done.returncode, done.stdout) == (0, "1500 posted, 1000 already there, 0 refused.\n")
    assert await balances(database) == {("a", "USD"): 2_500, ("b", "USD"): -2_500}


async def _decisions(database: Database) -> int:
    async with database.sessions() as session:
        query = select(func.count()).select_from(DecisionRow).where(DecisionRow.operation == "post_transfer")
        return (await session.scalars(query)).one()


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        ("a,b\n", [], "There is no column 'a'"),
        ("a;b\n", [], "The columns seem to be separated by ';'"),
        ("debit_account,credit_account,amount\n", [], "the column 'currency' is missing"),
        ("account,amount,currency\n", [], "the column 'number' is missing"),
        ("debit_account,credit_account,amount,currency,amount\n", [], "'amount' is there more than once"),
        ("date\n", ["--column", "day=date"], "'day' is no field"),
        ("date\n", ["--column", "date"], "write two texts with an equals sign between them"),
        ("txnidx,date\n", ["--from", "hledger"], "the column 'account' is missing"),
        ("debit_account,credit_account,amount,currency\n", ["--ledger", "other"], "There is no ledger 'other'"),
        ("debit_account,credit_account,amount,currency\n", ["--effective-at", "soon"], "write a day"),
        ("x\n", ["--format", "xml"], "'xml' is not one of"),
    ],
)
def test_a_command_that_cannot_run_ends_with_2(
    run: Run, tmp_path: Path, content: str, arguments: list[str], sentence: str
) -> None:
    done = run(written(tmp_path / "rows.csv", content), *arguments)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
