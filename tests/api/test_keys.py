"""Idempotency keys: reading the status of one, and fencing one, for a caller that lost an answer."""

from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any

import httpx
import pytest

from tests.api.conftest import MakeClient
from tests.api.moves import (
    capture,
    fence,
    key_path,
    open_hold,
    post_capture,
    post_hold,
    post_reversal,
    post_void,
    read_key,
)
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, problem, unique

Send = Callable[[str], Awaitable[httpx.Response]]


class Requests:
    """A request of each operation that would be applied, to be sent under any key."""

    def __init__(self, ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
        self._ledger, self._payer, self._payee = ledger, payer, payee

    async def of(self, operation: str) -> Send:
        """Return what sends a request of ``operation``: the same whenever it is called."""
        ledger, payer, payee = self._ledger, self._payer, self._payee
        match operation:
            case "post_transfer":
                return lambda key: ledger.post(payer, payee, key)
            case "open_hold":
                return lambda key: post_hold(ledger, payer, payee, key)
            case "create_account":
                return lambda key: ledger.client.post(ledger.accounts, json={"currency": "USD"}, headers=keyed(key))
            case "reverse_transfer":
                posted = await ledger.move(payer, payee)
                return lambda key: post_reversal(ledger, posted, key)
        hold = await open_hold(ledger, payer, payee)
        if operation == "capture_hold":
            return lambda key: post_capture(ledger, hold, key)
        return lambda key: post_void(ledger, hold, key)


OPERATIONS = {
    "post_transfer": "transfer",
    "open_hold": "hold",
    "capture_hold": "transfer",
    "void_hold": "hold",
    "reverse_transfer": "transfer",
    "create_account": "account",
}
"""Each with what it makes."""


@pytest.fixture
def requests(ledger: LedgerClient, payer: JSON, payee: JSON) -> Requests:
    return Requests(ledger, payer, payee)


def _view(key: str, outcome: str, **members: Any) -> JSON:
    return {"idempotency_key": key, "outcome": outcome, "operation": None, "decided_at": None} | members


async def test_a_key_that_was_never_seen(ledger: LedgerClient) -> None:
    assert await read_key(ledger, "nothing") == _view("nothing", "never_seen")


@pytest.mark.parametrize(("operation", "makes"), OPERATIONS.items())
async def test_a_key_under_which_something_was_applied_shows_it(
    ledger: LedgerClient, requests: Requests, operation: str, makes: str
) -> None:
    made = answer(await (await requests.of(operation))("key"))
    decided_at = made["closed_at"] if operation == "void_hold" else made["created_at"]
    shown = _view("key", "applied", operation=operation, decided_at=decided_at, **{makes: made})
    assert await read_key(ledger, "key") == shown
    assert await fence(ledger, "key") == shown, "a fence that comes late tells what came first"


async def test_what_was_applied_is_shown_as_it_was_answered(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """The status stays the same, whatever has happened to the fact since."""
    hold = answer(await post_hold(ledger, payer, payee, "hold", amount=10))
    await capture(ledger, hold, amount=4)
    assert (await read_key(ledger, "hold"))["hold"] == hold
    created = await ledger.client.post(ledger.accounts, json={"currency": "USD"}, headers=keyed("account"))
    await ledger.revise(answer(created), name="later")
    await ledger.move(payer, answer(created))
    assert (await read_key(ledger, "account"))["account"] == answer(created)


async def test_a_key_with_a_rejection_shows_the_problem(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    refused = problem(await ledger.post(payer, payee, "key", amount=101), 422, "insufficient_funds")
    shown = await read_key(ledger, "key")
    assert shown["decided_at"] is not None
    assert shown == _view(
        "key",
        "rejected",
        operation="post_transfer",
        decided_at=shown["decided_at"],
        problem=refused | {"instance": key_path(ledger, "key")},
    )
    assert await fence(ledger, "key") == shown


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_fenced_key_can_never_be_used(ledger: LedgerClient, requests: Requests, operation: str) -> None:
    send = await requests.of(operation)
    fenced = await fence(ledger, "key")
    assert fenced == _view("key", "fenced", operation="fence_key", decided_at=fenced["decided_at"])
    assert fenced["decided_at"] is not None
    accounts = answer(await ledger.client.get(ledger.accounts))
    for _ in range(2):
        refused = problem(await send("key"), 409, "key_fenced")
        assert (refused["outcome"], refused["retryable"]) == ("not_applied", False)
        assert refused["idempotency_key"] == "key"
        assert await read_key(ledger, "key") == await fence(ledger, "key") == fenced
    assert answer(await ledger.client.get(ledger.accounts)) == accounts, "something was applied"
    assert (await send("another")).status_code in {200, 201}


@pytest.mark.parametrize("mode", ["independent", "atomic"])
async def test_a_fenced_key_in_a_batch(ledger: LedgerClient, payer: JSON, payee: JSON, mode: str) -> None:
    await fence(ledger, "fenced")
    items = [item(payer, payee), item(payer, payee, "fenced"), item(payer, payee)]
    batch = answer(await ledger.batch(*items, mode=mode))
    codes = [result.get("problem", {}).get("code") for result in batch["results"]]
    others = None if mode == "independent" else "batch_rejected"
    assert codes == [others, "key_fenced", others]
    assert (await read_key(ledger, "fenced"))["outcome"] == "fenced"


async def test_a_fence_needs_no_key_of_its_own(ledger: LedgerClient) -> None:
    response = await ledger.client.post(f"{key_path(ledger, 'key')}/fence", headers=keyed("own"))
    assert answer(response)["outcome"] == "fenced"
    assert (await read_key(ledger, "own"))["outcome"] == "never_seen"


# Of captures, voids and reversals it is each time one of something else.
SAME_REQUEST = {(operation, operation) for operation in ("post_transfer", "open_hold", "create_account")}


@pytest.mark.parametrize(("first", "other"), sorted(set(product(OPERATIONS, OPERATIONS)) - SAME_REQUEST))
async def test_a_key_of_one_operation_serves_no_other(requests: Requests, first: str, other: str) -> None:
    sends = [await requests.of(first), await requests.of(other)]
    assert (await sends[0]("key")).status_code in {200, 201}
    refused = problem(await sends[1]("key"), 422, "idempotency_key_reused")
    assert refused["idempotency_key"] == "key"
    again = await sends[0]("key")
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    "key", ["a/b", "/", "//", "a/fence", "?q=1#f", "100%", "%2F", "a+b&c", "\"'\\", ";,:@!$()*", "~", "k" * 255]
)
async def test_a_key_of_any_visible_characters_stands_in_a_path(
    ledger: LedgerClient, payer: JSON, payee: JSON, key: str
) -> None:
    response = await ledger.client.post(
        ledger.batches,
        json={"transfers": [item(payer, payee, key), item(payer, payee, amount=1_000, key=f"{key[1:]}x")]},
    )
    results = answer(response)["results"]
    shown = await read_key(ledger, key)
    assert (shown["idempotency_key"], shown["transfer"]) == (key, results[0]["transfer"])
    refused = await read_key(ledger, f"{key[1:]}x")
    assert refused["problem"]["instance"] == key_path(ledger, f"{key[1:]}x")
    assert (await fence(ledger, key))["outcome"] == "applied"


@pytest.mark.parametrize("key", ["a b", "ü", "\x00", "\x7f", "k" * 256])
async def test_what_cannot_be_a_key(ledger: LedgerClient, key: str) -> None:
    problem(await ledger.client.get(key_path(ledger, key)), 400, "idempotency_key_invalid")
    problem(await ledger.client.post(f"{key_path(ledger, key)}/fence"), 400, "idempotency_key_invalid")


async def test_keys_belong_to_their_client(
    ledger: LedgerClient, payer: JSON, payee: JSON, make_client: MakeClient
) -> None:
    other = ledger.seen_by(await make_client("transfers:write", "read"))
    await ledger.post(payer, payee, "key")
    assert (await read_key(other, "key"))["outcome"] == "never_seen"
    assert (await fence(other, "key"))["outcome"] == "fenced"
    assert (await read_key(ledger, "key"))["outcome"] == "applied"


async def test_keys_belong_to_their_ledger(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    other = await LedgerClient.open(ledger.client, unique("other"))
    await fence(other, "key")
    await ledger.move(payer, payee, key="key")
    assert (await read_key(other, "key"))["outcome"] == "fenced"


@pytest.mark.parametrize("scope", ["read", "accounts:write"])
async def test_a_fence_needs_the_scope_of_what_it_keeps_out(
    ledger: LedgerClient, make_client: MakeClient, scope: str
) -> None:
    limited = await make_client(scope)
    refused = problem(await limited.post(f"{key_path(ledger, 'key')}/fence"), 403, "forbidden")
    assert refused["required_scope"] == "transfers:write"
