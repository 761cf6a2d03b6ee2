"""The connection to the database fails at COMMIT, when nobody can know whether the work was done."""

import asyncio
import random
from collections.abc import Callable

import pytest

from tests.faults.conftest import ProxiedService
from tests.support.bank import open_bank
from tests.support.commit_proxy import Fault, commit_proxy
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.other_session import decided
from tests.support.servers import RunningService
from tests.support.socket_client import Client

Serve = Callable[..., RunningService]

CUTS = [Fault.ANSWER_LOST, Fault.REQUEST_LOST, Fault.ANSWER_RACED, Fault.CUT_AFTER]


async def test_with_one_attempt_the_answer_is_that_the_outcome_is_unknown(
    serve: Serve, journal: Journal, database_url: str
) -> None:
    """Without another attempt the caller is told of the doubt, and the same request under the same key ends it."""
    async with commit_proxy(database_url) as proxy:
        service = await asyncio.to_thread(serve, FUNDS_DATABASE_URL=proxy.url, FUNDS_COMMIT_ATTEMPTS_MAX="1")
        async with Client(service.url, service.admin_token) as client:
            bank = await open_bank(client, journal, customers=2)
            a, b = bank.customers
            for fault, was_applied in ((Fault.ANSWER_LOST, True), (Fault.REQUEST_LOST, False)):
                order = bank.order(a, b)
                proxy.break_commits(fault)
                answer = await journal.post(client, order)
                assert answer is not None
                assert (answer.status, answer.content["code"], answer.content["outcome"]) == (
                    503, "database_unavailable", "unknown",
                )  # fmt: skip
                assert await decided(database_url, [order.key]) == ({order.key} if was_applied else set())

                again = await journal.post(client, order)
                assert again is not None
                assert (again.status, again.replayed) == (201, was_applied)
        await journal.assert_ledgers_agree(database_url)
        await assert_ledger_is_sound(database_url, bounds_were_constant=True)
        assert await asyncio.to_thread(service.stop) == 0


async def test_the_service_finds_out_about_a_lost_commit_itself(
    proxied: ProxiedService, proxied_client: Client, journal: Journal
) -> None:
    """With attempts left the caller sees nothing of it: the next attempt finds the decision, or makes it."""
    dice = random.Random(21)
    bank = await open_bank(proxied_client, journal)
    for fault in CUTS:
        proxied.proxy.break_commits(fault, count=3)
        orders = bank.random_orders(150, dice)
        await journal.post_all([proxied_client], orders, concurrency=16)
        assert proxied.proxy.faults_met == 3
        assert {answer.status for order in orders for answer in journal.answers(order)} <= {201, 422}
    await journal.assert_ledgers_agree(proxied.database_url)
    await assert_ledger_is_sound(proxied.database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_a_silent_database_is_given_up_in_time(serve: Serve, journal: Journal, database_url: str) -> None:
    """The answer to COMMIT never comes, on a connection that stays open; it had been done."""
    async with commit_proxy(database_url) as proxy:
        service = await asyncio.to_thread(serve, FUNDS_DATABASE_URL=proxy.url, FUNDS_STATEMENT_TIMEOUT_MS="500")
        async with Client(service.url, service.admin_token) as client:
            bank = await open_bank(client, journal, customers=2)
            a, b = bank.customers
            proxy.break_commits(Fault.SILENCE)
            order = bank.order(a, b)
            answer = await journal.post(client, order)
            assert answer is not None
            assert proxy.faults_met == 1
            assert answer.status == 201
        await journal.assert_ledgers_agree(database_url)
        await assert_ledger_is_sound(database_url, bounds_were_constant=True)
        await asyncio.to_thread(service.stop)


@pytest.mark.parametrize("fault", [Fault.CUT_AFTER, Fault.ANSWER_LOST])
async def test_a_revision_that_was_made_is_never_called_a_mismatch(
    proxied: ProxiedService, proxied_client: Client, journal: Journal, fault: Fault
) -> None:
    """Without a key there is no decision to find: PATCH answers 200, or that the outcome is unknown."""
    bank = await open_bank(proxied_client, journal, customers=1)
    path = f"/v1/ledgers/{bank.ledger}/accounts/{bank.customers[0]}"
    tag = (await proxied_client.call("GET", path)).headers["etag"]

    proxied.proxy.break_commits(fault)
    answer = await proxied_client.call("PATCH", path, {"name": "new"}, if_match=tag)

    assert proxied.proxy.faults_met == 1
    told = (answer.status, answer.content.get("outcome"))
    assert told == ((503, "unknown") if fault is Fault.ANSWER_LOST else (200, None))
    assert (await proxied_client.call("GET", path)).content["name"] == "new"


@pytest.mark.parametrize("fault", CUTS)
async def test_a_revision_under_a_key_is_made_once(
    proxied: ProxiedService, proxied_client: Client, journal: Journal, fault: Fault
) -> None:
    """Whatever became of the COMMIT: the tag that the request names matches once, and the request is answered 200."""
    bank = await open_bank(proxied_client, journal, customers=1)
    path = f"/v1/ledgers/{bank.ledger}/accounts/{bank.customers[0]}"
    tag = (await proxied_client.call("GET", path)).headers["etag"]

    proxied.proxy.break_commits(fault, every_commit=True)
    answers = [await proxied_client.call("PATCH", path, {"name": "new"}, key="once", if_match=tag) for _ in range(2)]

    assert proxied.proxy.faults_met == 1
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert answers[1].headers["idempotency-replayed"] == "true"
    assert (await proxied_client.call("GET", path)).content["name"] == "new"


@pytest.mark.parametrize("fault", CUTS)
async def test_an_account_is_opened_once(
    proxied: ProxiedService, proxied_client: Client, journal: Journal, fault: Fault
) -> None:
    bank = await open_bank(proxied_client, journal, customers=1)
    path = f"/v1/ledgers/{bank.ledger}/accounts"
    body = {"currency": "USD", "reference": "salary"}

    proxied.proxy.break_commits(fault, every_commit=True)
    answers = [await proxied_client.call("POST", path, body, key="once") for _ in range(2)]

    assert proxied.proxy.faults_met == 1
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    listed = await proxied_client.call("GET", f"{path}?reference=salary")
    assert len(listed.content["items"]) == 1
    await assert_ledger_is_sound(proxied.database_url, ledgers=[bank.ledger])
