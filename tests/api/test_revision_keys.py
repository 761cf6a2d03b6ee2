"""PATCH under an idempotency key: exactly once, and the first answer for ever; and how If-Match is written."""

import asyncio

import httpx
import pytest

from tests.api.conftest import MakeClient
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, pointers, problem


async def _revise(
    ledger: LedgerClient, account: JSON, key: str, if_match: str = "*", **members: object
) -> httpx.Response:
    path = f"{ledger.accounts}/{account['id']}"
    return await ledger.client.patch(path, json=members, headers=keyed(key) | {"If-Match": if_match})


async def _tag(ledger: LedgerClient, account: JSON) -> str:
    return (await ledger.client.get(f"{ledger.accounts}/{account['id']}")).headers["ETag"]


async def test_a_retry_gets_the_first_answer_though_the_tag_has_changed(ledger: LedgerClient, payee: JSON) -> None:
    account = await ledger.account(name="old")
    tag = await _tag(ledger, account)
    first = await _revise(ledger, account, "key", tag, name="new", minimum_balance=-5)
    assert (first.status_code, answer(first)["name"]) == (200, "new")
    assert "Idempotency-Replayed" not in first.headers

    await ledger.move(account, payee, 3)
    await ledger.revise(account, name="newest")

    again = await _revise(ledger, account, "key", tag, name="new", minimum_balance=-5)
    assert (again.status_code, again.content) == (200, first.content)
    assert (again.headers["Idempotency-Replayed"], again.headers["ETag"]) == ("true", first.headers["ETag"])
    assert (await ledger.read_account(account))["name"] == "newest"


async def test_the_order_of_tags_and_their_weakness_is_nothing_else(ledger: LedgerClient) -> None:
    account = await ledger.account()
    tag = await _tag(ledger, account)
    assert (await _revise(ledger, account, "key", f'"x", {tag}', name="n")).status_code == 200
    again = await _revise(ledger, account, "key", f'W/{tag} ,"x"', name="n")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")


async def test_another_revision_under_the_key_is_rejected(ledger: LedgerClient) -> None:
    account, other = await ledger.account(name="old"), await ledger.account()
    tag = await _tag(ledger, account)
    assert (await _revise(ledger, account, "key", tag, name="new")).status_code == 200
    for changed in (
        await _revise(ledger, account, "key", tag, name="newer"),
        await _revise(ledger, account, "key", tag, name=None),
        await _revise(ledger, account, "key", tag, name="new", metadata={}),
        await _revise(ledger, account, "key", tag),
        await _revise(ledger, account, "key", "*", name="new"),
        await _revise(ledger, other, "key", tag, name="new"),
        await ledger.client.post(ledger.accounts, json={"currency": "USD"}, headers=keyed("key")),
    ):
        problem(changed, 422, "idempotency_key_reused")
    assert (await ledger.read_account(account))["name"] == "new"


async def test_a_key_of_another_operation_revises_nothing(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    await ledger.post(payer, payee, "posted")
    problem(await _revise(ledger, payer, "posted", name="n"), 422, "idempotency_key_reused")
    await ledger.client.post(f"{ledger.path}/idempotency-keys/fenced/fence")
    problem(await _revise(ledger, payer, "fenced", name="n"), 409, "key_fenced")
    assert (await ledger.read_account(payer))["name"] is None


async def test_rejections_are_remembered(ledger: LedgerClient, payer: JSON) -> None:
    tag = await _tag(ledger, payer)
    await ledger.revise(payer, name="changed")
    absent = payer | {"id": "00000000-0000-7000-8000-000000000000"}
    for key, account, if_match, members, (status, code) in (
        ("mismatch", payer, tag, {"name": "n"}, (412, "version_mismatch")),
        ("floor", payer, "*", {"minimum_balance": 101}, (422, "insufficient_funds")),
        ("closing", payer, "*", {"status": "closed"}, (409, "account_not_empty")),
        ("absent", absent, "*", {"name": "n"}, (404, "account_not_found")),
    ):
        first = await _revise(ledger, account, key, if_match, **members)
        assert "Idempotency-Replayed" not in first.headers
        again = await _revise(ledger, account, key, if_match, **members)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert problem(again, status, code) == problem(first, status, code)
        shown = answer(await ledger.client.get(f"{ledger.path}/idempotency-keys/{key}"))
        assert (shown["operation"], shown["outcome"], shown["problem"]["code"]) == ("revise_account", "rejected", code)
    await ledger.revise(payer, minimum_balance=None)
    problem(await _revise(ledger, payer, "floor", "*", minimum_balance=101), 422, "insufficient_funds")


async def test_the_key_shows_what_was_answered(ledger: LedgerClient) -> None:
    account = await ledger.account(name="old")
    revised = answer(await _revise(ledger, account, "key", name="new"))
    await ledger.revise(account, name="newest")
    shown = answer(await ledger.client.get(f"{ledger.path}/idempotency-keys/key"))
    assert (shown["operation"], shown["outcome"], shown["account"]) == ("revise_account", "applied", revised)
    fenced = answer(await ledger.client.post(f"{ledger.path}/idempotency-keys/key/fence"))
    assert fenced["outcome"] == "applied"


async def test_what_is_malformed_leaves_the_key_unused(ledger: LedgerClient) -> None:
    account = await ledger.account()
    problem(await _revise(ledger, account, "key", "text", name="n"), 400, "malformed_request")
    problem(await _revise(ledger, account, "key", "*", status="lost"), 400, "malformed_request")
    for key in ("", "a b", "x" * 256, '"'):
        problem(await _revise(ledger, account, key or '""', name="n"), 400, "idempotency_key_invalid")
    assert (await _revise(ledger, account, "key", name="n")).status_code == 200


async def test_keys_belong_to_their_client(ledger: LedgerClient, make_client: MakeClient) -> None:
    account = await ledger.account()
    other = ledger.seen_by(await make_client("accounts:write", "read"))
    assert (await _revise(ledger, account, "key", name="mine")).status_code == 200
    revised = await _revise(other, account, "key", name="theirs")
    assert (revised.status_code, answer(revised)["name"]) == (200, "theirs")


async def test_of_concurrent_duplicates_one_revises_and_the_others_replay(ledger: LedgerClient) -> None:
    account = await ledger.account()
    tag = await _tag(ledger, account)
    answers = await asyncio.gather(*(_revise(ledger, account, "key", tag, name="n") for _ in range(8)))
    assert {one.status_code for one in answers} == {200}
    assert len({one.content for one in answers}) == 1
    assert sorted("Idempotency-Replayed" in one.headers for one in answers) == [False] + [True] * 7


async def test_a_tag_that_a_proxy_made_weak(ledger: LedgerClient) -> None:
    account = await ledger.account()
    for number, spelled in enumerate(("W/{tag}", '"x",W/{tag}', ' W/{tag} , "y"', ",{tag},")):
        if_match = spelled.format(tag=await _tag(ledger, account))
        assert (await ledger.revise(account, if_match=if_match, name=f"n{number}")).status_code == 200, if_match


@pytest.mark.parametrize("if_match", ['"text"', '""', 'W/"text"', '"a,b"', '"*"', '"a", W/"b"'])
async def test_a_tag_that_is_not_the_accounts(ledger: LedgerClient, if_match: str) -> None:
    problem(await ledger.revise(await ledger.account(), if_match=if_match, name="n"), 412, "version_mismatch")


@pytest.mark.parametrize(
    "if_match",
    [
        "",
        " ",
        "text",
        "abc, def",
        "**",
        "*, *",
        '*, "a"',
        '"a',
        'a"',
        '"a" "b"',
        "'a'",
        'w/"a"',
        'W/ "a"',
        "W/a",
        ",",
        '"a b"',
        "\\",
        '"a";q=1',
        '"a",b',
        '"' * 2000 + "x",
    ],
)
async def test_what_is_no_tag(ledger: LedgerClient, if_match: str) -> None:
    account = await ledger.account()
    refused = await ledger.revise(account, if_match=if_match, name="n")
    assert pointers(refused) == ["/header/If-Match"]
    assert "double quotes" in answer(refused)["detail"]
    assert await ledger.read_account(account) == account
