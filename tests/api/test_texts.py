"""The rules of texts in requests: a text that breaks one is refused with place and reason, and never changed."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from tests.api.moves import capture, open_hold, post_capture, post_hold, post_reversal
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, pointers, problem, unique

NAMES = {
    " ": "blank",
    "\u00a0": "blank",
    " x": "white space at the ends",
    "x ": "white space at the ends",
    "x\u2003": "white space at the ends",
    "x\n": "white space at the ends",
    "a\x00b": "U+0000",
    "a\tb": "U+0009",
    "a\x1b[31m": "U+001B",
    "a\u00a0b": "U+00A0",
    "a\u200bb": "U+200B",
    "a\u2028b": "U+2028",
    "\u202eabc": "U+202E",
    "a\u2067b": "U+2067",
    "\ufeffa": "U+FEFF",
    "a\U000e0061": "U+E0061",
    "cafe\u0301": "NFC",
    "\u212b": "NFC",
}
PROSE = {"\x00": "U+0000", "\x1b[31m": "U+001B", "\x9b": "U+009B", "a\u202eb": "U+202E", "\u2066": "U+2066"}

Send = Callable[[LedgerClient, JSON, JSON, str], Any]


async def _hold_reference(ledger: LedgerClient, payer: JSON, payee: JSON, text: str) -> httpx.Response:
    return await post_hold(ledger, payer, payee, reference=text)


async def _capture_reference(ledger: LedgerClient, payer: JSON, payee: JSON, text: str) -> httpx.Response:
    return await post_capture(ledger, await open_hold(ledger, payer, payee), reference=text)


async def _reversal_reference(ledger: LedgerClient, payer: JSON, payee: JSON, text: str) -> httpx.Response:
    return await post_reversal(ledger, await ledger.move(payer, payee, 1), reference=text)


async def _account(ledger: LedgerClient, **members: Any) -> httpx.Response:
    return await ledger.client.post(ledger.accounts, json={"currency": "USD"} | members, headers=keyed())


async def _batch(ledger: LedgerClient, payer: JSON, payee: JSON, **members: Any) -> httpx.Response:
    return await ledger.batch(item(payer, payee), item(payer, payee, **members))


SENDS: dict[str, tuple[str, Send]] = {
    "a transfer's reference": ("/reference", lambda ledger, a, b, text: ledger.post(a, b, reference=text)),
    "a name in metadata": ("/metadata", lambda ledger, a, b, text: ledger.post(a, b, metadata={text: "v"})),
    "a hold's reference": ("/reference", _hold_reference),
    "a capture's reference": ("/reference", _capture_reference),
    "a reversal's reference": ("/reference", _reversal_reference),
    "an account's reference": ("/reference", lambda ledger, _a, _b, text: _account(ledger, reference=text)),
    "an account's name": ("/name", lambda ledger, _a, _b, text: _account(ledger, name=text)),
    "a name in an account's metadata": (
        "/metadata",
        lambda ledger, _a, _b, text: _account(ledger, metadata={text: "v"}),
    ),
    "an account's new name": ("/name", lambda ledger, a, _b, text: ledger.revise(a, name=text)),
    "an item's reference": ("/transfers/1/reference", lambda ledger, a, b, text: _batch(ledger, a, b, reference=text)),
    "a group": ("/transfers/1/group", lambda ledger, a, b, text: _batch(ledger, a, b, group=text)),
    "a name in an item's metadata": (
        "/transfers/1/metadata",
        lambda ledger, a, b, text: _batch(ledger, a, b, metadata={"k": "v", text: "v"}),
    ),
}


async def _holds(ledger: LedgerClient, payer: JSON, payee: JSON, text: str) -> httpx.Response:
    return await post_hold(ledger, payer, payee, description=text)


async def _ledger(ledger: LedgerClient, _payer: JSON, _payee: JSON, text: str) -> httpx.Response:
    return await ledger.client.post("/v1/ledgers", json={"name": unique("l"), "description": text}, headers=keyed())


PROSE_SENDS: dict[str, tuple[str, Send]] = {
    "a transfer's description": ("/description", lambda ledger, a, b, text: ledger.post(a, b, description=text)),
    "a hold's description": ("/description", _holds),
    "a ledger's description": ("/description", _ledger),
    "a value in metadata": ("/metadata", lambda ledger, a, b, text: ledger.post(a, b, metadata={"k": text})),
    "a value in new metadata": ("/metadata", lambda ledger, a, _b, text: ledger.revise(a, metadata={"k": text})),
    "an item's description": (
        "/transfers/1/description",
        lambda ledger, a, b, text: _batch(ledger, a, b, description=text),
    ),
}


@pytest.mark.parametrize("where", SENDS)
async def test_names_and_references(ledger: LedgerClient, payer: JSON, payee: JSON, where: str) -> None:
    pointer, send = SENDS[where]
    for text, reason in NAMES.items():
        refused = await send(ledger, payer, payee, text)
        assert pointers(refused) == [pointer], ascii(text)
        assert reason in answer(refused)["detail"]
    assert (await send(ledger, payer, payee, "Zoë 山 \U0001f3e6")).status_code < 300


@pytest.mark.parametrize("where", PROSE_SENDS)
async def test_descriptions_and_values(ledger: LedgerClient, payer: JSON, payee: JSON, where: str) -> None:
    pointer, send = PROSE_SENDS[where]
    for text, reason in PROSE.items():
        refused = await send(ledger, payer, payee, text)
        assert pointers(refused) == [pointer], ascii(text)
        assert reason in answer(refused)["detail"]
    assert (await send(ledger, payer, payee, " two\r\n\tlines e\u0301 \u200d ")).status_code < 300


async def test_filters_by_name(application: Application, client: httpx.AsyncClient) -> None:
    """Every parameter of a query that the document describes like a reference."""
    pattern = application.contract.document["components"]["schemas"]["TransferRequest"]
    described = pattern["properties"]["reference"]["anyOf"][0]["pattern"]
    found = [
        (operation.path, name)
        for operation in application.contract.operations
        for name, parameter in application.contract.parameters(operation, "query").items()
        if parameter["schema"].get("pattern") == described
    ]
    assert len(found) >= 4
    for path, name in found:
        for text, reason in NAMES.items():
            refused = await client.get(path, params={name: text})
            assert pointers(refused) == [f"/query/{name}"], ascii(text)
            assert "NUL" in answer(refused)["detail"] if "\x00" in text else reason in answer(refused)["detail"]


async def test_nothing_is_changed_silently(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    members = {"reference": "é  ü", "description": " e\u0301\u00a0\n", "metadata": {"é": " \u212b "}}
    posted = await ledger.move(payer, payee, 1, **members)
    assert posted | members == posted


async def test_what_was_stored_before_the_rule_is_readable_and_moves(
    application: Application, ledger: LedgerClient
) -> None:
    account, other = await ledger.account(), await ledger.account()
    connection = await asyncpg.connect(application.database.superuser_url)
    try:
        await connection.execute(
            "UPDATE funds.accounts SET reference = $1, name = $1, metadata = jsonb_build_object($1::text, $2::text)"
            " WHERE id = $3",
            "\u202e old ",
            "\x1b",
            UUID(account["id"]),
        )
    finally:
        await connection.close()
    read = await ledger.read_account(account)
    assert (read["reference"], read["name"], read["metadata"]) == (
        "\u202e old ",
        "\u202e old ",
        {"\u202e old ": "\x1b"},
    )
    assert read["id"] in [one["id"] for one in answer(await ledger.client.get(ledger.accounts))["items"]]
    await ledger.move(account, other, 1)
    hold = await open_hold(ledger, account, other)
    await capture(ledger, hold)
    assert (await ledger.revise(account, status="frozen")).status_code == 200
    problem(await ledger.post(account, other), 409, "account_frozen")
