"""A key that stands for another request: the answer says what was decided on that one, and where to read it."""

from collections.abc import Awaitable, Callable
from itertools import product

import httpx
import pytest

from tests.api.moves import fence, key_path, open_hold, post_capture, post_hold, post_reversal, post_void, read_key
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, problem, transfer, unique

Send = Callable[[str], Awaitable[httpx.Response]]


class Requests:
    """Requests of every operation, to be sent under any key. ``amount`` decides whether they are applied: the payer has
    100, and a limit of them.
    """

    def __init__(self, ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
        self.ledger, self._payer, self._payee = ledger, payer, payee

    def post(self, amount: int = 1) -> Send:
        return lambda key: self.ledger.post(self._payer, self._payee, key, amount=amount)

    def hold(self, amount: int = 1) -> Send:
        return lambda key: post_hold(self.ledger, self._payer, self._payee, key, amount=amount)

    async def capture(self, amount: int = 1) -> Send:
        hold = await open_hold(self.ledger, self._payer, self._payee)
        return lambda key: post_capture(self.ledger, hold, key, amount=amount)

    async def void(self) -> Send:
        hold = await open_hold(self.ledger, self._payer, self._payee)
        return lambda key: post_void(self.ledger, hold, key)

    async def reverse(self, amount: int = 1) -> Send:
        posted = await self.ledger.move(self._payer, self._payee)
        return lambda key: post_reversal(self.ledger, posted, key, amount=amount)

    def open_account(self, currency: str = "USD") -> Send:
        body = {"currency": currency}
        return lambda key: self.ledger.client.post(self.ledger.accounts, json=body, headers=keyed(key))

    async def revise(self, minimum: int = -5) -> Send:
        path = f"{self.ledger.accounts}/{(await self.ledger.account())['id']}"
        headers = {"If-Match": "*"}
        return lambda key: self.ledger.client.patch(
            path, json={"minimum_balance": minimum}, headers=headers | keyed(key)
        )

    async def all(self) -> dict[str, tuple[Send, Send, str]]:
        """Return, for each operation, a request that is applied, one that is rejected, and the code of that."""
        return {
            "post_transfer": (self.post(), self.post(1_000), "insufficient_funds"),
            "open_hold": (self.hold(), self.hold(1_000), "insufficient_funds"),
            "capture_hold": (await self.capture(), await self.capture(1_000), "capture_exceeds_hold"),
            "void_hold": (await self.void(), lambda key: post_void(self.ledger, self._nothing, key), "hold_not_found"),
            "reverse_transfer": (await self.reverse(), await self.reverse(1_000), "reversal_exceeds_transfer"),
            "create_account": (self.open_account(), self.open_account("XXX"), "currency_unknown"),
            "revise_account": (await self.revise(), await self.revise(5), "insufficient_funds"),
        }

    @property
    def _nothing(self) -> JSON:
        return {"id": "00000000-0000-7000-8000-000000000000"}


MAKES = {
    "post_transfer": ("transfer_id", "transfers"),
    "open_hold": ("hold_id", "holds"),
    "capture_hold": ("transfer_id", "transfers"),
    "void_hold": ("hold_id", "holds"),
    "reverse_transfer": ("transfer_id", "transfers"),
    "create_account": ("account_id", "accounts"),
    "revise_account": ("account_id", "accounts"),
}


@pytest.fixture
def requests(ledger: LedgerClient, payer: JSON, payee: JSON) -> Requests:
    return Requests(ledger, payer, payee)


def said(response: httpx.Response, status: int, code: str) -> tuple[JSON, JSON]:
    """Return what the problem says of the request, and of the earlier one."""
    refused = problem(response, status, code)
    assert (refused["outcome"], refused["retryable"]) == ("not_applied", False), "of this request"
    return refused, refused["earlier_request"]


async def test_it_was_applied(requests: Requests) -> None:
    ledger = requests.ledger
    for operation, (applied, _, _) in (await requests.all()).items():
        key = unique("key")
        made = answer(await applied(key))
        shown = await read_key(ledger, key)
        for other in (requests.post(77), requests.hold(77), await requests.capture(), await requests.void()):
            refused, earlier = said(await other(key), 422, "idempotency_key_reused")
            name, place = MAKES[operation]
            assert earlier == {
                "operation": operation,
                "outcome": "applied",
                "decided_at": shown["decided_at"],
                name: made["id"],
                "path": f"{ledger.path}/{place}/{made['id']}",
            }
            assert "not carried out" in refused["detail"]
            assert "HAS been applied" in refused["detail"]
            assert made["id"] in refused["detail"]
        assert answer(await ledger.client.get(earlier["path"]))["id"] == made["id"]


async def test_it_was_rejected(requests: Requests) -> None:
    ledger = requests.ledger
    for operation, (_, rejected, code) in (await requests.all()).items():
        key = unique("key")
        answer(await rejected(key))
        shown = await read_key(ledger, key)
        for other in (requests.post(77), requests.open_account("EUR"), await requests.revise(-7)):
            refused, earlier = said(await other(key), 422, "idempotency_key_reused")
            assert earlier == {
                "operation": operation,
                "outcome": "rejected",
                "decided_at": shown["decided_at"],
                "code": code,
                "path": key_path(ledger, key),
            }
            assert "Nothing was or will be applied" in refused["detail"]
            assert code in refused["detail"]
        assert answer(await ledger.client.get(earlier["path"])) == shown


async def test_it_was_fenced(requests: Requests) -> None:
    ledger = requests.ledger
    for applied, rejected, _ in (await requests.all()).values():
        key = unique("k/y?")
        fenced = await fence(ledger, key)
        for request in (applied, rejected):
            refused, earlier = said(await request(key), 409, "key_fenced")
            assert earlier == {
                "operation": "fence_key",
                "outcome": "fenced",
                "decided_at": fenced["decided_at"],
                "path": key_path(ledger, key),
            }
            assert "Nothing was or will be applied" in refused["detail"]
        assert answer(await ledger.client.get(earlier["path"]))["outcome"] == "fenced"


@pytest.mark.parametrize(("grouped", "mode"), [*product([False, True], ["independent", "atomic"])])
async def test_items_of_batches_say_it_and_are_said(
    ledger: LedgerClient, payer: JSON, payee: JSON, *, grouped: bool, mode: str
) -> None:
    group = {"group": "g"} if grouped and mode == "independent" else {}
    keys = [unique("key") for _ in range(2)]
    items = [item(payer, payee, keys[0], **group), item(payer, payee, keys[1], hold={}, **group)]
    made = answer(await ledger.batch(*items, mode=mode))["results"]
    for key, name, place, fact in (
        (keys[0], "transfer_id", "transfers", made[0]["transfer"]),
        (keys[1], "hold_id", "holds", made[1]["hold"]),
    ):
        expected = {name: fact["id"], "path": f"{ledger.path}/{place}/{fact['id']}", "outcome": "applied"}
        _, alone = said(await ledger.post(payer, payee, key, amount=7), 422, "idempotency_key_reused")
        assert alone | expected == alone
        changed = item(payer, payee, key, amount=7)
        response = await ledger.batch(changed, mode=mode)
        content = answer(response)
        [result] = content["results"]
        assert (result["status"], result["problem"]["earlier_request"]) == (422, alone)
        assert "HAS been applied" in result["problem"]["detail"]


async def test_a_dry_run_says_it(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    posted = answer(await ledger.post(payer, payee, "key"))
    asked = transfer(payer, payee, amount=7)
    foretold = await ledger.client.post(ledger.transfers, params={"dry_run": "true"}, json=asked, headers=keyed("key"))
    _, earlier = said(foretold, 422, "idempotency_key_reused")
    assert earlier["transfer_id"] == posted["id"]


async def test_keys_of_ledgers(client: httpx.AsyncClient) -> None:
    async def create(name: str, key: str) -> httpx.Response:
        return await client.post("/v1/ledgers", json={"name": name}, headers=keyed(key))

    name, key, rejected_key = unique("ledger"), unique("key"), unique("key")
    assert (await create(name, key)).status_code == 201
    _, earlier = said(await create(unique("other"), key), 422, "idempotency_key_reused")
    assert earlier | {"outcome": "applied", "ledger": name, "path": f"/v1/ledgers/{name}"} == earlier
    assert answer(await client.get(earlier["path"]))["name"] == name

    problem(await create(name, rejected_key), 409, "reference_taken")
    _, earlier = said(await create(unique("other"), rejected_key), 422, "idempotency_key_reused")
    assert (earlier["outcome"], earlier["code"]) == ("rejected", "reference_taken")
    assert "path" not in earlier
