"""Tokens that may debit certain accounts only: on every route, in batches and groups, and while codes change."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from service.domain.rights import DebitLimit
from tests.api.conftest import MakeClient
from tests.api.moves import fence, key_path, open_hold, post_capture, post_hold, post_reversal, post_void
from tests.api.routes import routes
from tests.api.test_events import events
from tests.support.application import Application
from tests.support.contract import filled
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, problem, transfer, unique

Send = Callable[[LedgerClient, LedgerClient, JSON, JSON, str], Awaitable[httpx.Response]]
"""Has a limited caller debit the first account, under a key; the ledger comes first as its admin sees it."""


async def _transfer(_: LedgerClient, limited: LedgerClient, debit: JSON, credit: JSON, key: str) -> httpx.Response:
    return await limited.post(debit, credit, key)


async def _batch(_: LedgerClient, limited: LedgerClient, debit: JSON, credit: JSON, key: str) -> httpx.Response:
    response = await limited.batch(item(debit, credit, key))
    return _of_item(response)


async def _batch_hold(_: LedgerClient, limited: LedgerClient, debit: JSON, credit: JSON, key: str) -> httpx.Response:
    return _of_item(await limited.batch(item(debit, credit, key, hold={})))


async def _hold(_: LedgerClient, limited: LedgerClient, debit: JSON, credit: JSON, key: str) -> httpx.Response:
    return await post_hold(limited, debit, credit, key)


async def _capture(ledger: LedgerClient, limited: LedgerClient, debit: JSON, credit: JSON, key: str) -> httpx.Response:
    return await post_capture(limited, await open_hold(ledger, debit, credit), key)


async def _void(ledger: LedgerClient, limited: LedgerClient, debit: JSON, credit: JSON, key: str) -> httpx.Response:
    return await post_void(limited, await open_hold(ledger, debit, credit), key)


async def _reversal(ledger: LedgerClient, limited: LedgerClient, debit: JSON, credit: JSON, key: str) -> httpx.Response:
    return await post_reversal(limited, await ledger.move(credit, debit), key)


DEBITS: dict[str, list[Send]] = {
    "transfers": [_transfer],
    "transfers/batch": [_batch, _batch_hold],
    "holds": [_hold],
    "holds/{hold_id}/captures": [_capture],
    "holds/{hold_id}/void": [_void],
    "transfers/{transfer_id}/reversals": [_reversal],
}
"""Every route by which something is debited, or what a hold reserves is freed."""
OTHER_ROUTES = {"idempotency-keys/{idempotency_key}/fence": "of the caller's own keys"}
EVERY = [pytest.param(send, id=f"{route} {send.__name__}") for route, sends in DEBITS.items() for send in sends]


def _of_item(response: httpx.Response) -> httpx.Response:
    """The answer to the only item of a batch, as if it had been sent alone."""
    assert response.status_code in {200, 201, 207}, response.text
    [result] = answer(response)["results"]
    kind = "application/problem+json" if "problem" in result else "application/json"
    content = result.get("problem") or result.get("transfer") or result["hold"]
    return httpx.Response(result["status"], json=content, headers={"content-type": kind})


def _limit(*accounts: JSON, codes: tuple[str, ...] = ()) -> DebitLimit:
    return DebitLimit(frozenset(UUID(account["id"]) for account in accounts), codes)


def test_every_route_that_debits_is_tried_here(application: Application) -> None:
    prefix = "/v1/ledgers/{ledger_name}/"
    writing = {
        path.removeprefix(prefix) for _, path, one in routes(application) if one.opt["scope"] == "transfers:write"
    }
    assert writing == DEBITS.keys() | OTHER_ROUTES.keys()


@pytest.mark.parametrize("send", EVERY)
async def test_a_limited_token_debits_what_it_may_and_nothing_else(
    ledger: LedgerClient, make_client: MakeClient, send: Send
) -> None:
    own, coded, other = (
        await ledger.account(),
        await ledger.account(code="1000:cash"),
        await ledger.account(code="2000"),
    )
    limited = ledger.seen_by(await make_client("transfers:write", "read", debit_limit=_limit(own, codes=("1000",))))
    for debit, credit in ((own, other), (coded, other), (own, coded)):
        response = await send(ledger, limited, debit, credit, unique("key"))
        assert response.status_code in {200, 201}, response.text
    before = [await ledger.read_account(one) for one in (own, coded, other)]
    for credit in (own, coded):
        key = unique("key")
        refused = problem(await send(ledger, limited, other, credit, key), 403, "debit_not_allowed")
        assert refused["account_id"] == other["id"]
        assert (refused["outcome"], refused["retryable"]) == ("not_applied", False)
        assert answer(await limited.client.get(key_path(limited, key)))["outcome"] == "never_seen"
    if send in {_transfer, _hold, _batch, _batch_hold}:  # the others need a hold or a transfer, which changes accounts
        assert [await ledger.read_account(one) for one in (own, coded, other)] == before
    assert "debit_not_allowed" not in str(await events(ledger, limit=1000))


@pytest.mark.parametrize("send", EVERY)
async def test_a_code_that_was_taken_away_or_given_counts_from_then_on(
    ledger: LedgerClient, make_client: MakeClient, send: Send
) -> None:
    debit, credit = await ledger.account(code="1000:1"), await ledger.account()
    limited = ledger.seen_by(await make_client("transfers:write", debit_limit=_limit(codes=("1000",))))
    for code, allowed in (("1000:1", True), ("10001", False), (None, False), ("1000", True), ("2000", False)):
        answer(await ledger.revise(debit, code=code))
        response = await send(ledger, limited, debit, credit, unique("key"))
        assert (response.status_code in {200, 201}) == allowed, (code, response.text)
        if not allowed:
            problem(response, 403, "debit_not_allowed")


async def test_the_same_key_passes_once_the_right_is_there(ledger: LedgerClient, make_client: MakeClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    name = unique("client")
    limited = ledger.seen_by(await make_client("transfers:write", name=name, debit_limit=_limit(credit)))
    unlimited = ledger.seen_by(await make_client("transfers:write", name=name))
    problem(await limited.post(debit, credit, "key"), 403, "debit_not_allowed")
    posted = await unlimited.post(debit, credit, "key")
    assert posted.status_code == 201
    replayed = await limited.post(debit, credit, "key")
    assert (replayed.status_code, replayed.headers["Idempotency-Replayed"]) == (201, "true")
    assert answer(replayed) == answer(posted)


async def test_a_dry_run_keeps_to_the_limit(ledger: LedgerClient, make_client: MakeClient) -> None:
    debit, credit = await ledger.account(code="1000"), await ledger.account()
    limited = ledger.seen_by(await make_client("transfers:write", debit_limit=_limit(codes=("1000",))))
    for one, other, status in ((debit, credit, 200), (credit, debit, 403)):
        sent = await limited.client.post(f"{limited.transfers}?dry_run=true", json=transfer(one, other))
        assert sent.status_code == status
        sent = await limited.client.post(f"{limited.batches}?dry_run=true", json={"transfers": [item(one, other)]})
        assert [result["status"] for result in answer(sent)["results"]] == [201 if status == 200 else status]


async def test_a_batch_item_by_item_and_in_groups(ledger: LedgerClient, make_client: MakeClient) -> None:
    own, other = await ledger.account(), await ledger.account()
    limited = ledger.seen_by(await make_client("transfers:write", "read", debit_limit=_limit(own)))
    response = await limited.batch(
        item(own, other, "a"),
        item(other, own, "b"),
        item(own, other, "c", group="1"),
        item(other, own, "d", group="1"),
        item(own, other, "e", group="2"),
        item(own, other, "f", group="2"),
    )
    assert response.status_code == 207
    codes = [result.get("problem", {}).get("code") for result in answer(response)["results"]]
    assert codes == [None, "debit_not_allowed", "batch_rejected", "debit_not_allowed", None, None]
    for key, outcome in zip(
        "abcdef", ["applied", "never_seen", "never_seen", "never_seen", "applied", "applied"], strict=True
    ):
        assert answer(await limited.client.get(key_path(limited, key)))["outcome"] == outcome, key
    atomic = await limited.batch(item(own, other, "g"), item(other, own, "h"), mode="atomic")
    refused = problem(atomic, 422, "batch_rejected")
    assert [result["problem"]["code"] for result in refused["results"]] == ["batch_rejected", "debit_not_allowed"]
    balance = (await ledger.read_account(own))["debits_posted"]
    assert balance == 3, "a, e and f"
    # By a token that may, all of it under the same keys.
    whole = ledger.seen_by(await make_client("transfers:write"))
    assert (await whole.batch(item(own, other, "g"), item(other, own, "h"), mode="atomic")).status_code == 201


async def test_commands_of_limited_and_other_tokens_are_decided_in_one_batch(
    ledger: LedgerClient, make_client: MakeClient
) -> None:
    own, other = await ledger.account(code="1000"), await ledger.account()
    limited = ledger.seen_by(await make_client("transfers:write", debit_limit=_limit(codes=("1000",))))
    sent = [one.post(other, own) for one in (limited, ledger) * 20]
    assert [response.status_code for response in await asyncio.gather(*sent)] == [403, 201] * 20


async def test_a_limited_token_of_some_ledgers(ledger: LedgerClient, make_client: MakeClient) -> None:
    debit, credit = await ledger.account(code="1000"), await ledger.account()
    elsewhere = await LedgerClient.open(ledger.client, unique("other"))
    there = await elsewhere.account(code="1000"), await elsewhere.account()
    client = await make_client("transfers:write", ledgers=[ledger.name], debit_limit=_limit(debit, codes=("1000",)))
    limited = ledger.seen_by(client)
    assert (await limited.post(debit, credit)).status_code == 201
    problem(await limited.post(credit, debit), 403, "debit_not_allowed")
    problem(await elsewhere.seen_by(client).post(*there), 404, "ledger_not_found")


async def test_a_limited_token_may_do_nothing_by_which_it_would_lose_its_limit(
    application: Application, ledger: LedgerClient, make_client: MakeClient
) -> None:
    account = await ledger.account()
    client = await make_client("transfers:write", "read", "audit", debit_limit=_limit(account))
    limited = ledger.seen_by(client)
    problem(await limited.revise(account, code="1000"), 403, "forbidden")
    problem(await client.post(limited.accounts, json={"currency": "USD"}, headers=keyed()), 403, "forbidden")
    for method, path, handler in routes(application):
        if handler.opt["scope"] in {"accounts:write", "admin"}:
            problem(await client.request(method, filled(path)), 403, "forbidden")
    await fence(limited, "its-own")
    for scope in ("accounts:write", "admin"):
        with pytest.raises(ValueError, match="can have audit, read, transfers:write"):
            await make_client("transfers:write", scope, debit_limit=_limit(account))


async def test_while_its_code_changes_an_account_is_debited_only_where_the_code_is_allowed(
    ledger: LedgerClient, make_client: MakeClient
) -> None:
    """Decided under the lock of the ledger's head: in the history, each debit stands where the code allows it."""
    debit, credit = await ledger.account(code="1000:a"), await ledger.account()
    limited = ledger.seen_by(await make_client("transfers:write", debit_limit=_limit(codes=("1000",))))
    told: Counter[int] = Counter()
    done = asyncio.Event()

    async def revise() -> None:
        codes = ["2000", "1000:b", None, "1000"]
        for number in range(60):
            answer(await ledger.revise(debit, code=codes[number % len(codes)]))
        done.set()

    async def send(posting: Callable[[], Awaitable[httpx.Response]]) -> None:
        while not done.is_set():
            told[(await posting()).status_code] += 1

    callers = [
        *[lambda: limited.post(debit, credit) for _ in range(4)],
        *[lambda: post_hold(limited, debit, credit) for _ in range(2)],
    ]
    await asyncio.gather(revise(), *map(send, callers))
    assert told.keys() == {201, 403}

    code: Any = None
    debits = 0
    after: dict[str, str] = {}
    while (page := await events(ledger, limit=1000, **after))["items"]:
        for event in page["items"]:
            if event["subject"] == debit["id"]:
                code = event["data"]["code"] if "code" in event["data"] else event["data"]["after"]["code"]
            elif event["type"] in {"funds.transfer.posted", "funds.hold.opened"}:
                debits += 1
                assert code in {"1000:a", "1000:b", "1000"}, event
        after = {"after": page["last_id"]}
    assert debits == told[201]
