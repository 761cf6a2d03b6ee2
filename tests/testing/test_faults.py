"""Faults on demand: what the caller sees of each, and what became of the request in truth."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx
import pytest

from funds_testing import Account, Faults, FundsService, TestLedger
from funds_testing.server.declines import CODES
from service.wire.catalogue import CATALOGUE
from tests.support.http_ledger import problem
from tests.testing.conftest import Caller


def test_an_answer_that_is_dropped_was_given_to_what_stands(
    funds_ledger: TestLedger, caller: Caller, payee: Account
) -> None:
    funds_ledger.faults.commit_then_drop()
    with pytest.raises(httpx.RemoteProtocolError):
        caller.pay("rent")
    assert payee.balance == 100
    again = caller.pay("rent")
    assert (again.status_code, again.headers["idempotency-replayed"], payee.balance) == (201, "true", 100)
    [met] = funds_ledger.faults.met
    assert (met.fault, met.method, met.idempotency_key, met.status) == ("commit_then_drop", "POST", "rent", 201)


def test_an_answer_is_dropped_only_when_something_was_applied(
    funds_ledger: TestLedger, caller: Caller, payee: Account
) -> None:
    funds_ledger.faults.commit_then_drop()
    problem(caller.pay("too-much", amount=5000), 422, "insufficient_funds")
    assert (funds_ledger.faults.met, len(funds_ledger.faults.armed)) == ([], 1)
    with pytest.raises(httpx.RemoteProtocolError):
        caller.pay("rent")
    assert payee.balance == 100
    assert caller.outcome("rent") == "applied"


def test_a_request_that_is_dropped_before_is_never_seen(
    funds_ledger: TestLedger, caller: Caller, payee: Account
) -> None:
    funds_ledger.faults.drop_before(times=2)
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            caller.pay("rent")
    assert payee.balance == 0
    assert caller.outcome("rent") == "never_seen"
    assert [met.status for met in funds_ledger.faults.met] == [None, None]
    assert "idempotency-replayed" not in caller.pay("rent").headers


def test_unavailable_is_the_problem_that_the_service_itself_answers(funds_ledger: TestLedger, caller: Caller) -> None:
    funds_ledger.faults.unavailable(times=3)
    for _ in range(3):
        refused = caller.pay("rent")
        told = problem(refused, 503, "overloaded")
        assert (told["outcome"], told["retryable"], refused.headers["retry-after"]) == ("not_applied", True, "1")
    assert caller.outcome("rent") == "never_seen"
    assert caller.pay("rent").status_code == 201


def test_a_delayed_answer_is_of_what_stands(funds_ledger: TestLedger, caller: Caller, payee: Account) -> None:
    funds_ledger.faults.delay(30.0)
    with pytest.raises(httpx.ReadTimeout), httpx.Client(timeout=0.5) as hasty:
        hasty.post(
            f"{funds_ledger.url}/transfers",
            json=caller.body,
            headers={**funds_ledger.headers, "Idempotency-Key": "rent"},
        )
    assert caller.outcome("rent") == "applied"
    assert payee.balance == 100


def test_a_short_delay_is_waited_for(funds_ledger: TestLedger, caller: Caller) -> None:
    funds_ledger.faults.delay(0.2)
    answer = caller.pay("rent")
    assert answer.status_code == 201
    assert answer.elapsed.total_seconds() >= 0.2


def test_a_body_is_cut_in_its_middle(funds_ledger: TestLedger, caller: Caller, payee: Account) -> None:
    funds_ledger.faults.cut_body()
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        caller.pay("rent")
    assert payee.balance == 100
    assert caller.pay("rent").headers["idempotency-replayed"] == "true"


def test_a_command_that_is_declined_stays_declined(funds_ledger: TestLedger, caller: Caller, payer: Account) -> None:
    funds_ledger.faults.decline("insufficient_funds")
    told = problem(caller.pay("rent"), 422, "insufficient_funds")
    assert (told["account_id"], told["available_balance"], told["amount"], told["shortfall"]) == (
        payer.id,
        1000,
        100,
        1,
    )
    again = caller.pay("rent")
    assert problem(again, 422, "insufficient_funds") == told
    assert again.headers["idempotency-replayed"] == "true"
    assert (caller.outcome("rent"), payer.balance) == ("rejected", 1000)
    assert caller.pay("rent-once-more").status_code == 201


@pytest.mark.parametrize("code", CODES)
def test_every_rejection_that_is_offered_can_be_had(funds_ledger: TestLedger, caller: Caller, code: str) -> None:
    hold = caller.hold("hold").json()["id"]
    transfer = caller.pay("paid").json()["id"]
    funds_ledger.faults.decline(code)
    answers = [caller.pay("first"), caller.capture(hold, "second"), caller.reverse(transfer, "third")]
    [declined] = [answer for answer in answers if answer.status_code >= 400]
    problem(declined, CATALOGUE[code].status, code)


def test_a_rejection_that_a_command_cannot_meet_waits_for_one_that_can(
    funds_ledger: TestLedger, caller: Caller
) -> None:
    hold = caller.hold("hold").json()["id"]
    funds_ledger.faults.decline("hold_expired")
    assert caller.pay("rent").status_code == 201
    problem(caller.capture(hold, "capture"), 409, "hold_expired")


def test_what_cannot_be_asked_for_is_said(funds_ledger: TestLedger) -> None:
    with pytest.raises(ValueError, match="insufficient_funds"):
        funds_ledger.faults.decline("bad_luck")
    with pytest.raises(ValueError, match="times"):
        funds_ledger.faults.unavailable(times=0)


def test_reads_meet_faults_when_they_are_meant(funds_ledger: TestLedger, caller: Caller) -> None:
    caller.pay("rent")
    funds_ledger.faults.unavailable(requests="reads")
    funds_ledger.faults.unavailable(requests="all", times=2)
    assert caller.pay("later").status_code == 503
    assert [caller.http.get("/accounts").status_code for _ in range(3)] == [503, 503, 200]


def test_dry_runs_are_reads(funds_ledger: TestLedger, caller: Caller) -> None:
    funds_ledger.faults.drop_before()
    dry = caller.http.post("/transfers?dry_run=true", json=caller.body)
    assert dry.status_code == 200


def test_faults_of_one_ledger_disturb_no_other(funds_service: FundsService, caller: Caller) -> None:
    others = [funds_service.ledger() for _ in range(4)]
    for other in others[::2]:
        other.faults.unavailable(times=10)

    def statuses(ledger: TestLedger) -> set[int]:
        with httpx.Client(base_url=ledger.url, headers=ledger.headers) as http:
            return {
                http.post("/accounts", json={"currency": "USD"}, headers={"Idempotency-Key": str(number)}).status_code
                for number in range(10)
            }

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(statuses, others)) == [{503}, {201}, {503}, {201}]
    assert caller.pay("rent").status_code == 201


def test_faults_of_a_token_follow_it_everywhere(
    funds_service: FundsService, funds_ledger: TestLedger, caller: Caller
) -> None:
    Faults(funds_service, token=funds_service.admin_token).unavailable()
    admin = {"Authorization": f"Bearer {funds_service.admin_token}"}
    with httpx.Client(base_url=funds_service.url, headers=admin) as http:
        answers = [
            http.post("/v1/ledgers", json={"name": f"of-admin-{funds_ledger.name}"}, headers={"Idempotency-Key": "1"})
            for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [503, 201]
    assert caller.pay("rent").status_code == 201


def test_faults_can_be_taken_back(funds_ledger: TestLedger, caller: Caller) -> None:
    funds_ledger.faults.drop_before(times=5)
    funds_ledger.faults.clear()
    assert caller.pay("rent").status_code == 201
    assert funds_ledger.faults.armed == []


async def test_an_asynchronous_caller_meets_them_likewise(
    funds_ledger: TestLedger, caller: Caller, payee: Account
) -> None:
    funds_ledger.faults.commit_then_drop()
    async with httpx.AsyncClient(base_url=funds_ledger.url, headers=funds_ledger.headers) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post("/transfers", json=caller.body, headers={"Idempotency-Key": "rent"})
        again = await http.post("/transfers", json=caller.body, headers={"Idempotency-Key": "rent"})
    assert again.status_code == 201
    assert payee.balance == 100


def test_the_events_of_a_declined_command_tell_it(funds_ledger: TestLedger, caller: Caller) -> None:
    funds_ledger.faults.decline("account_frozen")
    caller.pay("rent")
    newest = caller.http.get("/events?limit=1000").json()["items"][-1]
    assert (newest["type"], UUID(newest["id"]).version) == ("funds.command.rejected", 7)
    assert newest["data"]["problem"]["code"] == "account_frozen"
