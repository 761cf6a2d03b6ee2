"""Whether a ledger is whole: by the rules of the product, and by what its callers were told."""

import asyncpg
import httpx
import pytest

from funds_testing import FundsService, LedgerNotWholeError, TestLedger
from funds_testing.server.ledgers import IS_KNOWN, STANDS_AS_TOLD
from tests.support.servers import TestPostgres
from tests.testing.conftest import Caller


def lose_the_answer(ledger: TestLedger, caller: Caller, key: str) -> None:
    ledger.faults.commit_then_drop()
    with pytest.raises(httpx.RemoteProtocolError):
        caller.pay(key)


def test_a_ledger_whose_caller_knows_everything_is_whole(funds_ledger: TestLedger, caller: Caller) -> None:
    caller.pay("rent")
    caller.pay("too-much", amount=5000)
    caller.reverse(caller.pay("power").json()["id"], "back")
    caller.capture(caller.hold("deposit").json()["id"], "capture")
    item = caller.body | {"idempotency_key": "of-batch"}
    assert caller.http.post("/transfers/batch", json={"transfers": [item]}).status_code == 201
    assert funds_ledger.check() == []
    assert len(funds_ledger.transfers()) == 5


def test_a_transfer_nobody_knows_of_is_found(funds_ledger: TestLedger, caller: Caller) -> None:
    lose_the_answer(funds_ledger, caller, "rent")
    assert caller.pay("rent-again").status_code == 201
    with pytest.raises(LedgerNotWholeError, match="the one to key 'rent' was lost") as caught:
        funds_ledger.assert_whole()
    [found] = caught.value.findings
    assert (found.rule, found.id) == (IS_KNOWN, funds_ledger.transfers()[0]["id"])
    caller.pay("rent")
    funds_ledger.assert_whole()


@pytest.mark.parametrize("path", ["/transfers", "/idempotency-keys/rent", "/events?limit=1000"])
def test_whoever_asks_in_whatever_way_knows(funds_ledger: TestLedger, caller: Caller, path: str) -> None:
    lose_the_answer(funds_ledger, caller, "rent")
    assert len(funds_ledger.check()) == 1
    caller.http.get(path)
    funds_ledger.assert_whole()


def test_a_cut_answer_tells_nothing(funds_ledger: TestLedger, caller: Caller) -> None:
    funds_ledger.faults.cut_body()
    with pytest.raises(httpx.RemoteProtocolError):
        caller.pay("rent")
    assert [found.rule for found in funds_ledger.check()] == [IS_KNOWN]
    caller.pay("rent")


def test_a_dry_run_tells_nothing(funds_ledger: TestLedger, caller: Caller) -> None:
    caller.http.post("/transfers?dry_run=true", json=caller.body)
    funds_ledger.assert_whole()


def test_doubt_can_be_meant(funds_ledger: TestLedger, caller: Caller) -> None:
    lose_the_answer(funds_ledger, caller, "rent")
    funds_ledger.leave_in_doubt()


async def test_damage_is_found(postgres_server: TestPostgres) -> None:
    superuser_url = postgres_server.url("postgres")
    with FundsService(database_url=superuser_url) as service:
        server = await asyncpg.connect(superuser_url)
        name = await server.fetchval("SELECT datname FROM pg_database WHERE datname LIKE 'funds_testing_%'")
        await server.close()
        ledger = service.ledger()
        payer, payee = ledger.account(balance=1000), ledger.account()
        with httpx.Client(base_url=ledger.url, headers=ledger.headers) as http:
            transfer = Caller(http, payer, payee).pay("rent").json()
        ledger.assert_whole()
        database = await asyncpg.connect(postgres_server.url(name))
        await database.execute("UPDATE funds.transfers SET amount = 101 WHERE id = $1::text::uuid", transfer["id"])
        await database.close()
        rules = {found.rule for found in ledger.check()}
    assert STANDS_AS_TOLD in rules
    assert len(rules) > 1
