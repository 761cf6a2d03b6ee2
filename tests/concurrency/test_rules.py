"""The invariants of every ledger: each of them notices its own kind of damage."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from service.storage.integrity import OPENINGS, RULES
from tests.support.bank import Bank, open_bank
from tests.support.invariants import CONSTANT_BOUNDS, assert_ledger_is_sound, broken_rules
from tests.support.journal import Journal
from tests.support.other_session import expire_now, wait_until_closed
from tests.support.patience import PATIENT_ENVIRONMENT
from tests.support.servers import RunningService, TestDatabase, TestPostgres
from tests.support.service_process import launch
from tests.support.socket_client import Client

_ALL = (*RULES, *OPENINGS, CONSTANT_BOUNDS)

# By the first words of each rule: what it must notice in ledger $1.
_DAMAGE = {
    "money is": "UPDATE funds.accounts SET credits_posted = credits_posted + 1 WHERE ledger_id = $1",
    "posted counters": "UPDATE funds.accounts SET debits_held = debits_held + 1 WHERE ledger_id = $1",
    "no available balance is": "UPDATE funds.accounts SET minimum_balance = 995 WHERE ledger_id = $1",
    "no account was changed": "UPDATE funds.accounts SET updated_at = '2000-01-01Z' WHERE ledger_id = $1",
    "a closed account": "UPDATE funds.accounts SET status = 'closed' WHERE ledger_id = $1",
    "versions run": "DELETE FROM funds.holds WHERE ledger_id = $1 AND status = 'expired'",
    "running balances": "UPDATE funds.transfers SET credit_balance_after = credit_balance_after + 1 WHERE ledger_id=$1",
    "nothing was ever held": "UPDATE funds.holds SET captured_amount = -99 WHERE ledger_id=$1 AND status = 'captured'",
    "identifiers rise": "UPDATE funds.transfers SET created_at = now() WHERE ledger_id = $1",
    "the accounts of a transfer": "UPDATE funds.transfers SET currency = 'EUR' WHERE ledger_id = $1",
    "the accounts of a hold": "UPDATE funds.holds SET currency = 'EUR' WHERE ledger_id = $1",
    "the identifier of a transfer": "UPDATE funds.transfers SET created_at = created_at + interval '1 microsecond'"
    " WHERE ledger_id = $1",
    "the identifier of a hold": "UPDATE funds.holds SET created_at = created_at - interval '1 microsecond'"
    " WHERE ledger_id = $1",
    "accounts were opened": "UPDATE funds.accounts SET created_at = created_at - interval '1 day' WHERE ledger_id = $1",
    "nothing of a ledger": "UPDATE funds.ledger_heads SET last_at = last_at - interval '1 hour' WHERE ledger_id = $1",
    "every head is": "INSERT INTO funds.ledger_heads (ledger_id, last_at) SELECT ledger_id + 1000, last_at"
    " FROM funds.ledger_heads WHERE ledger_id = $1",
    "a head lies ahead": "UPDATE funds.ledger_heads SET last_at = last_at + interval '1 hour' WHERE ledger_id = $1",
    "what is captured": "UPDATE funds.holds SET captured_amount = captured_amount - 1 WHERE ledger_id = $1",
    "captures move": "UPDATE funds.holds SET expires_at = created_at WHERE ledger_id = $1 AND status = 'captured'",
    "a hold has one end": "UPDATE funds.holds SET status = 'voided' WHERE ledger_id = $1 AND status = 'expired'",
    "what is reversed": "UPDATE funds.reversed_transfers SET reversed_amount = reversed_amount + 1 WHERE ledger_id=$1",
    "reversals go": "UPDATE funds.transfers SET reverses_id = id WHERE ledger_id = $1 AND reverses_id IS NOT NULL",
    "no value date": "UPDATE funds.transfers SET effective_at = effective_at - interval '9 days' WHERE ledger_id = $1",
    "what applies together": "UPDATE funds.transfers SET group_id = 'a0000000-0000-7000-8000-00000000000a'"
    " WHERE ledger_id = $1",
    "every transfer has": "UPDATE funds.transfers SET client_id = 'somebody' WHERE ledger_id = $1",
    "every hold has": "UPDATE funds.holds SET idempotency_key = 'another' WHERE ledger_id = $1",
    "every hold that": "DELETE FROM funds.history WHERE ledger_id = $1 AND type = 'hold.expired'",
    "every rejected": "DELETE FROM funds.history WHERE ledger_id = $1 AND type = 'command.rejected'",
    "the identifier of an entry": "UPDATE funds.history SET created_at = created_at - interval '1 microsecond'"
    " WHERE ledger_id = $1",
    "every entry tells": "UPDATE funds.history SET data = '{}' WHERE ledger_id = $1",
    "every entry names": "UPDATE funds.history SET client_id = 'somebody' WHERE ledger_id = $1",
    "every account has the entry": "DELETE FROM funds.history WHERE ledger_id = $1 AND type = 'account.opened'",
    "every account is": "UPDATE funds.accounts SET name = 'Cash' WHERE ledger_id = $1",
    "every voided": "DELETE FROM funds.decisions WHERE ledger_id = $1 AND operation = 'void_hold'",
    "every applied": "UPDATE funds.decisions SET resource_id = NULL WHERE ledger_id = $1",
    "every account has the decision": "DELETE FROM funds.decisions"
    " WHERE ledger_id = $1 AND operation = 'create_account'",
    "what was rejected": "UPDATE funds.decisions SET outcome = 'rejected' WHERE ledger_id = $1",
    "every ledger has": "DELETE FROM funds.history WHERE ledger_id = $1 AND type = 'ledger.created'",
    "every token has": "INSERT INTO funds.tokens (id, client, token_hash, scopes)"
    " SELECT gen_random_uuid(), 'x', 'x', '{admin}' WHERE $1::integer > 0",
    "no transfer is dated into": "UPDATE funds.transfers SET requested_effective_at = effective_at"
    " WHERE ledger_id = $1",
    "a head says": "UPDATE funds.ledger_heads SET closed_until = last_at, late_entries = 'reject' WHERE ledger_id = $1",
    "no available balance was ever": "UPDATE funds.accounts SET minimum_balance = 995 WHERE ledger_id = $1",
}
_DROP_CONSTRAINTS = """
    DO $$
    DECLARE made record;
    BEGIN
        FOR made IN SELECT conrelid::regclass AS name, conname FROM pg_constraint
                    WHERE connamespace = 'funds'::regnamespace AND contype IN ('c', 'f') LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', made.name, made.conname);
        END LOOP;
    END $$
"""


@pytest.fixture(scope="module")
async def database(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    """A database of its own: damage locks every table at once, in an order that no running service keeps."""
    async with postgres.fresh_database() as database:
        yield database


@pytest.fixture(scope="module")
async def bank(database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """A bank with transfers, holds, reversals, rejections and revisions of every kind, whose service has stopped."""
    service = launch(database.service_url, tmp_path_factory.mktemp("rules") / "serve.log", **PATIENT_ENVIRONMENT)
    try:
        service.wait_until_ready()
        bank = await _bank_with_everything(service, database)
    finally:
        code = service.stop()
    assert code == 0
    await assert_ledger_is_sound(
        database.service_url, ledgers=[bank.ledger], bounds_were_constant=True, accounts_were_opened=True
    )
    return bank


async def _bank_with_everything(service: RunningService, database: TestDatabase) -> Bank:
    journal = Journal()
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal, customers=2)
        a, b = bank.customers
        holds = [bank.hold(a, b, 10) for _ in range(4)]
        transfer, too_much = bank.order(a, b, 7), bank.order(a, b, 10_000)
        await journal.post_all([client], [*holds, transfer, too_much], concurrency=1)
        captured, voided, expired, _ = (journal.answers(hold)[0].content["id"] for hold in holds)
        steps = [
            bank.capture(captured, 3, final=False),
            bank.capture(captured, 4),
            bank.void(voided),
            bank.reversal(journal.answers(transfer)[0].content["id"], 2),
        ]
        await journal.post_all([client], steps, concurrency=1)
        group = [
            bank.order(debit, credit).body | {"idempotency_key": str(uuid4()), "group": "both"}
            for debit, credit in ((a, b), (b, a))
        ]
        answer = await client.call("POST", f"{transfer.path}/batch", {"transfers": group})
        assert answer.status == 201, answer
        answer = await client.call("POST", f"/v1/ledgers/{bank.ledger}/idempotency-keys/{uuid4()}/fence")
        assert answer.content["outcome"] == "fenced"
    await expire_now(database.superuser_url, [expired])
    await wait_until_closed(database.superuser_url, [expired])
    return bank


def test_every_rule_has_its_damage() -> None:
    assert len(_DAMAGE) == len(_ALL)
    assert all(sum(rule.name.startswith(words) for rule in _ALL) == 1 for words in _DAMAGE)


@pytest.mark.parametrize("words", _DAMAGE)
async def test_a_rule_notices(words: str, bank: Bank, database: TestDatabase) -> None:
    connection = await asyncpg.connect(database.superuser_url)
    try:
        await connection.execute("BEGIN")
        await connection.execute(_DROP_CONSTRAINTS)
        ledger_id = await connection.fetchval("SELECT id FROM funds.ledgers WHERE name = $1", bank.ledger)
        await connection.execute(_DAMAGE[words], ledger_id)
        of_installation = words.startswith(("every token", "every head"))
        broken = await broken_rules(connection, _ALL, None if of_installation else [bank.ledger])
    finally:
        await connection.close()  # takes everything back
    assert [rule for rule in broken if rule.startswith(words)]
