"""Idempotency keys: how they are written, to which client they belong, and that one stands for one request for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import httpx
import pytest

from tests.api.conftest import MakeClient
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, problem, transfer, unique

Post = Callable[[str], Awaitable[httpx.Response]]

INVALID_KEYS = [
    "",
    '"' + "x" * 256 + '"',
    " ",
    "a b",
    "a\tb",
    "x" * 256,
    '"',
    '""',
    '"a',
    '"a b"',
    '"a\\b"',
    '"a"b',
    '"a";p=1',
    '"a", "b"',
]
KEYS_OF_ANOTHER_SCRIPT = ["ü".encode(), b"\x80", b'"\xff"', b"a\x7f"]


async def _creates(ledger: LedgerClient) -> dict[str, tuple[str, JSON]]:
    """The path and a body of every POST that takes a key in its header."""
    debit, credit = await ledger.account(), await ledger.account()
    return {
        "ledger": ("/v1/ledgers", {"name": unique("ledger")}),
        "account": (ledger.accounts, {"currency": "USD", "reference": unique("reference")}),
        "transfer": (ledger.transfers, transfer(debit, credit)),
    }


CREATES = ["ledger", "account", "transfer"]
WITHOUT_KEY: dict[str, tuple[str, JSON]] = {
    "ledger": ("/v1/ledgers", {"name": "never-made"}),
    "account": ("/v1/ledgers/main/accounts", {"currency": "USD"}),
    "transfer": ("/v1/ledgers/main/transfers", transfer({"id": str(uuid4())}, {"id": str(uuid4())})),
}


@pytest.mark.parametrize("create", CREATES)
async def test_a_key_is_required(client: httpx.AsyncClient, create: str) -> None:
    path, body = WITHOUT_KEY[create]
    problem(await client.post(path, json=body), 400, "idempotency_key_required")


@pytest.mark.parametrize("create", CREATES)
@pytest.mark.parametrize("key", [*INVALID_KEYS, *KEYS_OF_ANOTHER_SCRIPT])
async def test_a_key_is_visible_ascii(client: httpx.AsyncClient, create: str, key: str | bytes) -> None:
    path, body = WITHOUT_KEY[create]
    header = key if isinstance(key, bytes) else key.encode()
    response = await client.post(path, json=body, headers={b"Idempotency-Key": header})
    problem(response, 400, "idempotency_key_invalid")


@pytest.mark.parametrize("create", CREATES)
async def test_two_keys_are_none(ledger: LedgerClient, create: str) -> None:
    path, body = (await _creates(ledger))[create]
    first, second = unique("key"), unique("key")
    response = await ledger.client.post(
        path, json=body, headers=[("Idempotency-Key", first), ("idempotency-key", second)]
    )
    problem(response, 400, "idempotency_key_invalid")
    for key in (first, second):
        created = await ledger.client.post(path, json=body | _other(create), headers=keyed(key))
        assert created.status_code == 201


def _other(create: str) -> JSON:
    return {"ledger": {"name": unique("other")}, "account": {"reference": unique("other")}, "transfer": {}}[create]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("plain", '"plain"'),
        ("  plain ", "plain"),
        ('back\\slash"quote', '"back\\\\slash\\"quote"'),
        ("x" * 255, '"' + "x" * 255 + '"'),
        ("!#$%&'()*+,-./:;<=>?@[]^_`{|}~", '"!#$%&\'()*+,-./:;<=>?@[]^_`{|}~"'),
    ],
)
async def test_a_quoted_key_is_its_content(ledger: LedgerClient, first: str, second: str) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    posted = await ledger.post(debit, credit, first)
    replayed = await ledger.post(debit, credit, second)
    assert (posted.status_code, replayed.status_code) == (201, 201)
    assert replayed.headers["Idempotency-Replayed"] == "true"
    assert replayed.content == posted.content


async def test_keys_tell_upper_from_lower_case(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    posted = [await ledger.post(debit, credit, key) for key in ("key", "Key")]
    assert answer(posted[0])["id"] != answer(posted[1])["id"]


@pytest.mark.parametrize("create", CREATES)
async def test_the_same_request_gets_the_same_answer(ledger: LedgerClient, create: str) -> None:
    path, body = (await _creates(ledger))[create]
    key = unique("key")
    headers = keyed(key) | {"X-Request-Id": "the-same"}
    first, *again = [await ledger.client.post(path, json=body, headers=headers) for _ in range(3)]
    assert first.status_code == 201
    assert "Idempotency-Replayed" not in first.headers
    for replayed in again:
        assert replayed.content == first.content
        assert dict(replayed.headers) == dict(first.headers) | {"idempotency-replayed": "true"}


async def test_a_replay_shows_the_account_as_it_was_made(ledger: LedgerClient) -> None:
    key, body = unique("key"), {"currency": "USD", "name": "before"}
    made = await ledger.client.post(ledger.accounts, json=body, headers=keyed(key))
    await ledger.revise(answer(made), name="after")
    await ledger.move(answer(made), await ledger.account())
    replayed = await ledger.client.post(ledger.accounts, json=body, headers=keyed(key))
    assert replayed.content == made.content
    assert replayed.headers["ETag"] == made.headers["ETag"]


@pytest.mark.parametrize(
    "written",
    [
        lambda body: body,
        lambda body: dict(reversed(body.items())),
        lambda body: body | {"reference": None, "description": None, "effective_at": None, "metadata": {}},
        lambda body: body | {"debit_account_id": body["debit_account_id"].upper()},
    ],
    ids=["the same", "in another order", "defaults said", "capital letters"],
)
async def test_a_request_is_the_same_however_it_is_written(
    ledger: LedgerClient, written: Callable[[JSON], JSON]
) -> None:
    key, body = unique("key"), transfer(await ledger.account(), await ledger.account())
    await ledger.client.post(ledger.transfers, json=body, headers=keyed(key))
    again = await ledger.client.post(ledger.transfers, json=written(body), headers=keyed(key))
    assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (201, "true")


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 2},
        {"currency": "EUR"},
        {"reference": "r"},
        {"description": "d"},
        {"metadata": {"k": "v"}},
        {"effective_at": "2026-01-01T00:00:00Z"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_key_used_for_another_request(ledger: LedgerClient, change: JSON) -> None:
    key, body = unique("key"), transfer(await ledger.account(), await ledger.account())
    posted = await ledger.client.post(ledger.transfers, json=body, headers=keyed(key))
    refused = await ledger.client.post(ledger.transfers, json=body | change, headers=keyed(key))
    assert problem(refused, 422, "idempotency_key_reused")["idempotency_key"] == key
    assert "Idempotency-Replayed" not in refused.headers
    replayed = await ledger.client.post(ledger.transfers, json=body, headers=keyed(key))
    assert replayed.content == posted.content


async def test_a_key_of_one_operation_serves_no_other(ledger: LedgerClient) -> None:
    key = unique("key")
    await ledger.client.post(ledger.accounts, json={"currency": "USD"}, headers=keyed(key))
    refused = await ledger.post(await ledger.account(), await ledger.account(), key)
    problem(refused, 422, "idempotency_key_reused")
    refused = await ledger.client.post(ledger.accounts, json={"currency": "EUR"}, headers=keyed(key))
    problem(refused, 422, "idempotency_key_reused")


async def test_a_rejection_is_remembered_and_replayed(ledger: LedgerClient) -> None:
    source, payer, payee = await ledger.account(), await ledger.account(minimum_balance=0), await ledger.account()
    key = unique("key")
    refused = await ledger.post(payer, payee, key)
    problem(refused, 422, "insufficient_funds")
    assert "Idempotency-Replayed" not in refused.headers

    await ledger.move(source, payer, 100)
    replayed = await ledger.post(payer, payee, key)
    assert answer(replayed) == answer(refused)
    assert replayed.headers["Idempotency-Replayed"] == "true"
    await ledger.move(payer, payee)


@pytest.mark.parametrize(
    ("create", "body", "status", "code"),
    [
        ("ledger", {"name": "main"}, 409, "reference_taken"),
        ("account", {"currency": "XXX"}, 422, "currency_unknown"),
        ("account", {"currency": "USD", "minimum_balance": 1}, 422, "insufficient_funds"),
    ],
)
async def test_rejections_of_every_operation_replay(
    ledger: LedgerClient, create: str, body: JSON, status: int, code: str
) -> None:
    path, _ = (await _creates(ledger))[create]
    key = unique("key")
    first, again = [await ledger.client.post(path, json=body, headers=keyed(key)) for _ in range(2)]
    assert problem(first, status, code) == answer(again)
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_a_malformed_request_is_not_remembered(ledger: LedgerClient) -> None:
    key, body = unique("key"), transfer(await ledger.account(), await ledger.account())
    problem(
        await ledger.client.post(ledger.transfers, json=body | {"amount": 0}, headers=keyed(key)),
        400,
        "malformed_request",
    )
    posted = await ledger.client.post(ledger.transfers, json=body, headers=keyed(key))
    assert posted.status_code == 201
    assert "Idempotency-Replayed" not in posted.headers


async def test_a_key_belongs_to_its_client(ledger: LedgerClient, make_client: MakeClient) -> None:
    clients = [await make_client("transfers:write", "accounts:write", "read") for _ in range(2)]
    key, debit, credit = unique("key"), await ledger.account(), await ledger.account()
    posted = [await ledger.seen_by(client).post(debit, credit, key) for client in clients]
    assert [one.status_code for one in posted] == [201, 201]
    assert answer(posted[0])["id"] != answer(posted[1])["id"]


async def test_two_tokens_of_one_client_share_its_keys(ledger: LedgerClient, make_client: MakeClient) -> None:
    name, key = unique("client"), unique("key")
    clients = [await make_client("transfers:write", name=name) for _ in range(2)]
    debit, credit = await ledger.account(), await ledger.account()
    posted = [await ledger.seen_by(client).post(debit, credit, key) for client in clients]
    assert posted[0].content == posted[1].content
    assert posted[1].headers["Idempotency-Replayed"] == "true"


async def test_a_key_belongs_to_its_ledger(ledger: LedgerClient) -> None:
    other = await LedgerClient.open(ledger.client, unique("other"))
    key = unique("key")
    for one in (ledger, other):
        posted = await one.post(await one.account(), await one.account(), key)
        assert (posted.status_code, posted.headers.get("Idempotency-Replayed")) == (201, None)


@pytest.mark.parametrize("create", CREATES)
async def test_concurrent_duplicates_make_one(ledger: LedgerClient, create: str) -> None:
    path, body = (await _creates(ledger))[create]
    key = unique("key")
    answers = await asyncio.gather(*(ledger.client.post(path, json=body, headers=keyed(key)) for _ in range(8)))
    assert {one.status_code for one in answers} == {201}
    assert len({one.content for one in answers}) == 1
    assert sum("Idempotency-Replayed" not in one.headers for one in answers) == 1
