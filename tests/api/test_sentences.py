"""What an answer says of a fault helps whoever sent it: what must be there, and an example of it, in plain words.

That no answer at all speaks of Python or shows a regular expression is a rule of the contract (``contract.py``).
"""

import json
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from tests.api.wrong_bodies import NO_OBJECT, NOT_JSON, TRANSFER, WRONG_ACCOUNTS, WRONG_LEDGERS, WRONG_TRANSFERS
from tests.support.application import Application
from tests.support.http_ledger import LedgerClient, keyed, pointers, problem

SENT_AS_JSON = {"Content-Type": "application/json"}
TRANSFERS = "/v1/ledgers/main/transfers"
AMOUNT = "this must be a whole number of minor units from 1 to 9223372036854775807, such as 1050 for 10.50 USD"
TIME = (
    'this must be a time with its date and its offset from UTC (RFC 3339), such as "2026-11-26T09:30:00Z" or'
    ' "2026-11-26T09:30:00.123456+01:00", with no more than six digits of a second'
)


def _reason(response: httpx.Response) -> str:
    [fault] = problem(response, 400, "malformed_request")["errors"]
    return str(fault["reason"])


@pytest.mark.parametrize(
    ("member", "written", "said"),
    [
        ("amount", "1.0", [AMOUNT, "it was a number with a decimal point or an exponent: write 1 for 1.0"]),
        ("amount", "-35.0", [AMOUNT, "it was a number with a decimal point or an exponent"]),
        ("amount", "1e3", [AMOUNT, "and 1000 for 1e3"]),
        ("amount", "1e400", [AMOUNT, "the number is too large"]),
        ("amount", "1" * 5000, [AMOUNT, "the number is too large"]),
        ("amount", "9223372036854775808", [AMOUNT]),
        ("amount", "-35", [AMOUNT]),
        ("amount", '"35"', [AMOUNT, 'it was a text: write it without quotation marks, 35 instead of "35"']),
        ("amount", "true", [AMOUNT, "it was true or false"]),
        ("amount", "null", [AMOUNT, "it was null"]),
        ("amount", "{}", ['the member "at_most" is missing; it must be a whole number of minor units']),
        ("amount", '{"at_most": 1.0}', [AMOUNT, "write 1 for 1.0"]),
        ("currency", '"usd"', ['this must be a currency of ISO 4217, three capital letters, such as "USD"']),
        ("currency", "840", ['such as "USD"; it was a whole number']),
        ("debit_account_id", '"17"', ["an identifier as this service gives them, such as", "-"]),
        ("effective_at", '"2026-11-26"', [TIME]),
        ("effective_at", '"2026-11-26T00:00:00"', [TIME]),
        ("effective_at", '"2026-11-26T00:00:00 01:00"', [TIME]),
        ("effective_at", '"2026-11-26T23:59:60Z"', ["a leap second cannot be kept; send the second before it"]),
        ("effective_at", '"2026-12-31T23:59:59.9999999Z"', [TIME]),
        (
            "effective_at",
            '"0001-01-01T00:00:00+23:59"',
            ["outside the calendar: in UTC it must lie in the years 1 to 9999"],
        ),
        ("reference", '""', ['this must be a text of 1 to 255 visible characters, such as "invoice-17"']),
        ("effective_at", '"2026-12-31T18:59:60.5-05:00"', ["a leap second cannot be kept"]),
        ("effective_at", '"9999-12-31T23:59:59-23:59"', ["outside the calendar: in UTC it must lie in the years"]),
        ("metadata", '{"k": 1}', ['such as {"invoice": "17"}; one in it was a whole number']),
        ("metadata", '"k"', ['such as {"invoice": "17"}; it was a text']),
        ("ammount", "1", ["there is no such member here; there are debit_account_id, credit_account_id, amount"]),
    ],
)
async def test_a_member_that_is_wrong(client: httpx.AsyncClient, member: str, written: str, said: list[str]) -> None:
    body = json.dumps(TRANSFER | {member: "HERE"}).replace('"HERE"', written)
    response = await client.post(TRANSFERS, content=body, headers=keyed() | SENT_AS_JSON)
    reason = _reason(response)
    assert all(words in reason for words in said), reason


async def test_a_member_that_is_missing(client: httpx.AsyncClient) -> None:
    body = {name: value for name, value in TRANSFER.items() if name != "amount"}
    reason = _reason(await client.post(TRANSFERS, json=body, headers=keyed()))
    assert reason.startswith('the member "amount" is missing; it must be a whole number of minor units from 1')


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xef\xbb\xbf{}", "it begins with a byte order mark; send the JSON without it"),
        ('{"amount": 1}'.encode("utf-16"), "it begins as UTF-16 does; send UTF-8"),
        (b"\xfe\xff\x00{", "it begins as UTF-16 does; send UTF-8"),
        (b"  \n", "it is empty, or ends before it is complete"),
        (b'{"amount": 1', "it is empty, or ends before it is complete"),
        (json.dumps(TRANSFER).encode() + b"{}", "something follows the JSON value after "),
        (b'{"amount": 1,}', "a comma has nothing behind it"),
        (b"{'amount': 1}", "a member's name stands without quotation marks"),
        (b'{"amount": 01}', "a number is not written as JSON wants it"),
        (b'{"amount": NaN}', "a character has no place there after 11 bytes"),
        (rb'{"reference": "\ud800"}', "half of a pair of surrogates"),
        (rb'{"reference": "\x"}', "a backslash that begins no escape"),
        (b'{"reference": "\xff"}', "a text in it is not UTF-8; send UTF-8"),
        (b'{"metadata":' + b"[" * 9_000, "such as"),
        (b"[" * 9_000, 'this must be an object with "debit_account_id"'),
        (b"[]", "it was a list"),
        (b"null", "it was null"),
    ],
)
async def test_a_body_that_is_no_object(client: httpx.AsyncClient, body: bytes, words: str) -> None:
    response = await client.post(TRANSFERS, content=body, headers=keyed() | SENT_AS_JSON)
    assert words in _reason(response)


@pytest.mark.parametrize("path", ["/v1/ledgers", "/v1/ledgers/main/accounts", TRANSFERS, f"{TRANSFERS}/batch"])
async def test_no_fault_of_a_body_is_told_in_a_foreign_language(client: httpx.AsyncClient, path: str) -> None:
    """The contract checks every answer; this test sends every kind of fault in every kind of body."""
    wrong: dict[str, list[tuple[str, Any]]] = {
        "/v1/ledgers": WRONG_LEDGERS,
        "/v1/ledgers/main/accounts": WRONG_ACCOUNTS,
        TRANSFERS: WRONG_TRANSFERS,
    }
    for name, value in wrong.get(path, []):
        assert _reason(await client.post(path, json={name: value}, headers=keyed()))
    for body in (NOT_JSON | NO_OBJECT).values():
        assert _reason(await client.post(path, content=body, headers=keyed() | SENT_AS_JSON))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("created_from=2026-11-26", TIME),
        ("created_from=2026-11-26T00:00:00.1234567Z", TIME),
        ("created_to=2026-12-31T23:59:60Z", "a leap second cannot be kept; send the second before it"),
        ("created_to=0001-01-01T00:00:00%2B23:59", "outside the calendar: in UTC it must lie in the years 1 to 9999"),
        ("created_from=2026-11-26T00:00:00+01:00", "; in a query a plus sign is written %2B"),
        ("created_to=2026-11-26T00:00:00+0100", "; in a query a plus sign is written %2B"),
        ("account_id=17", "this must be an identifier as this service gives them, such as"),
        ("limit=1.0", "this must be a whole number from 1 to 1000, such as 1"),
        ("limit=0", "this must be a whole number from 1 to 1000, such as 1"),
        ("limit=1&limit=2", "this is given more than once; give it once"),
        ("reference=", "this must be a text of 1 to 255 visible characters"),
        ("reference=%00", "a value has no NUL"),
        ("refrence=x", "this operation has no such parameter; it has limit, cursor, order, account_id"),
        ("&".join(f"p{number}=1" for number in range(101)), "a query has at most 100 parameters"),
    ],
)
async def test_a_parameter_that_is_wrong(client: httpx.AsyncClient, query: str, words: str) -> None:
    assert words in _reason(await client.get(f"{TRANSFERS}?{query}"))


async def test_other_parameters_that_are_wrong(client: httpx.AsyncClient) -> None:
    accounts = "/v1/ledgers/main/accounts"
    assert _reason(await client.get(f"{accounts}?status=OPEN")) == 'this must be "closed" or "frozen" or "open"'
    assert 'such as "USD"' in _reason(await client.get(f"{accounts}?currency=usd"))
    expand = _reason(await client.get(f"{accounts}/{uuid4()}?expand=all"))
    assert '"holds" or "transfers"' in expand
    dry_run = await client.post(f"{TRANSFERS}?dry_run=yes", json=TRANSFER)
    assert _reason(dry_run) == "this must be true or false"


@pytest.mark.parametrize("digits", ["9999999", "0000000", "123456789", "1" * 40])
async def test_no_digit_of_a_second_is_rounded_away(ledger: LedgerClient, digits: str) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    time = f"2026-01-31T23:59:59.{digits}Z"
    assert pointers(await ledger.post(debit, credit, effective_at=time)) == ["/effective_at"]
    hold = {"debit_account_id": debit["id"], "credit_account_id": credit["id"], "amount": 1, "currency": "USD"}
    held = await ledger.client.post(f"{ledger.path}/holds", json=hold | {"expires_at": time}, headers=keyed())
    assert pointers(held) == ["/expires_at"]
    item = hold | {"idempotency_key": "k"}
    assert pointers(await ledger.batch(item | {"effective_at": time})) == ["/transfers/0/effective_at"]
    assert pointers(await ledger.batch(item | {"hold": {"expires_at": time}})) == ["/transfers/0/hold/expires_at"]
    for name in ("created_from", "created_to"):
        assert pointers(await ledger.client.get(ledger.transfers, params={name: time})) == [f"/query/{name}"]
    posted = await ledger.move(debit, credit)
    for path, body in (
        (f"{ledger.transfers}/{posted['id']}/reversals", {"effective_at": time}),
        (f"{ledger.path}/holds/{uuid4()}/captures", {"effective_at": time}),
    ):
        assert pointers(await ledger.client.post(path, json=body, headers=keyed())) == ["/effective_at"]


async def test_six_digits_of_a_second_are_kept(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    time = f"{debit['created_at'][:10]}T00:00:00.999999"
    posted = await ledger.move(debit, credit, effective_at=f"{time}+00:00")
    assert posted["effective_at"] == f"{time}Z"


@pytest.mark.parametrize(
    ("segment", "shown"),
    [
        ("MAIN", '"MAIN"'),
        ("x" * 3000, '"' + "x" * 64 + '…"'),
    ],
)
async def test_a_ledger_that_cannot_be(client: httpx.AsyncClient, segment: str, shown: str) -> None:
    detail = problem(await client.get(f"/v1/ledgers/{segment}/accounts"), 404, "ledger_not_found")["detail"]
    assert f"no ledger {shown}" in detail
    assert "the name of a ledger, 1 to 63 lower-case letters" in detail


async def test_a_ledger_that_could_be(client: httpx.AsyncClient) -> None:
    detail = problem(await client.get("/v1/ledgers/absent/accounts"), 404, "ledger_not_found")["detail"]
    assert detail == 'There is no ledger "absent" for this token.'


NAMES = {
    "a place": " - at `$",
    "a place that is there": "` - at `$.amount`",
    "quotation marks": '"',
    "backquotes": "`",
    "controls": "\x01",
    "astral": "\U0001f3e6",
    "pointer": "~/",
}


@pytest.mark.parametrize("name", [*NAMES.values()], ids=[*NAMES])
async def test_long_names_are_cut_wherever_they_are_repeated(
    client: httpx.AsyncClient, application: Application, name: str
) -> None:
    """The contract holds every error answer to 8 KiB; what is looked for is that nothing is repeated whole."""
    long = name * (60_000 // len(json.dumps(name)))
    bodies: list[Any] = [{long: 1}, TRANSFER | {"amount": {long: 1}}, TRANSFER | {"metadata": {long: 1}}]
    bodies += [TRANSFER | {"currency": long}, {"normal_side": long}, {"status": long}, {"mode": long}, long]
    for operation in application.contract.operations:
        if "requestBody" in operation.description:
            for body in bodies:
                headers = keyed() | {"If-Match": "*"}
                response = await client.request(operation.method, operation.path, json=body, headers=headers)
                assert len(response.content) < 8192
                assert len(problem(response, 400, "malformed_request")["errors"][0]["pointer"]) < 256
    repeated = name * 2_000
    assert len(pointers(await client.get(TRANSFERS, params={repeated: "1"}))[0]) < 256
    escaped = quote(repeated, safe="")
    for path in (f"/v1/{escaped}", f"/v1/ledgers/{escaped}/accounts", f"{TRANSFERS}/{escaped}"):
        assert len((await client.get(path)).content) < 8192
