"""The rules that every ledger is held against: each of them notices when the books are broken."""

from uuid import uuid4

import asyncpg
import pytest

from tests.concurrency.bank import Bank, open_bank
from tests.concurrency.client import Client
from tests.concurrency.invariants import assert_ledger_is_sound, broken_rules
from tests.concurrency.journal import Journal
from tests.concurrency.outsider import expire_now, wait_until_closed
from tests.concurrency.rules import CONSTANT_BOUNDS, RULES
from tests.servers import RunningService, TestDatabase

# By the first words of each rule: what it must notice in ledger $1.
_DAMAGE = {
    "money is": "UPDATE funds.accounts SET credits_posted = credits_posted + 1 WHERE ledger_id = $1",
    "posted counters": "UPDATE funds.accounts SET debits_held = debits_held + 1 WHERE ledger_id = $1",
    "no available balance is": "UPDATE funds.accounts SET minimum_balance = 995 WHERE ledger_id = $1",
    "a closed account": "UPDATE funds.accounts SET status = 'closed' WHERE ledger_id = $1",
    "versions run": "DELETE FROM funds.holds WHERE ledger_id = $1 AND status = 'expired'",
    "running balances": "UPDATE funds.transfers SET credit_balance_after = credit_balance_after + 1 WHERE ledger_id=$1",
    "nothing was ever held": "UPDATE funds.holds SET captured_amount = -99 WHERE ledger_id=$1 AND status = 'captured'",
    "identifiers rise": "UPDATE funds.transfers SET created_at = now() WHERE ledger_id = $1",
    "accounts hold": "UPDATE funds.holds SET currency = 'EUR' WHERE ledger_id = $1",
    "what is captured": "UPDATE funds.holds SET captured_amount = captured_amount - 1 WHERE ledger_id = $1",
    "captures move": "UPDATE funds.holds SET expires_at = created_at WHERE ledger_id = $1 AND status = 'captured'",
    "a hold has one end": "UPDATE funds.holds SET status = 'voided' WHERE ledger_id = $1 AND status = 'expired'",
    "what is reversed": "UPDATE funds.reversed_transfers SET reversed_amount = reversed_amount + 1 WHERE ledger_id=$1",
    "reversals go": "UPDATE funds.transfers SET reverses_id = id WHERE ledger_id = $1 AND reverses_id IS NOT NULL",
    "no value date": "UPDATE funds.transfers SET effective_at = effective_at - interval '9 days' WHERE ledger_id = $1",
    "what applies together": "UPDATE funds.transfers SET group_id = 'a0000000-0000-7000-8000-00000000000a'"
    " WHERE ledger_id = $1",
    "every transfer and": "DELETE FROM funds.decisions WHERE ledger_id = $1 AND operation = 'void_hold'",
    "every applied": "UPDATE funds.decisions SET resource_id = NULL WHERE ledger_id = $1",
    "what was refused": "UPDATE funds.decisions SET outcome = 'rejected' WHERE ledger_id = $1",
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
async def bank(services: tuple[RunningService, RunningService], shared_database: TestDatabase) -> Bank:
    """A bank to which everything has happened that can happen."""
    journal = Journal()
    async with Client(services[0].url, services[0].admin_token) as client:
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
    await expire_now(shared_database.superuser_url, [expired])
    await wait_until_closed(shared_database.superuser_url, [expired])
    await assert_ledger_is_sound(shared_database.service_url, ledgers=[bank.ledger], bounds_were_constant=True)
    return bank


def test_every_rule_has_its_damage() -> None:
    assert len(_DAMAGE) == len(RULES | CONSTANT_BOUNDS)
    assert all(sum(rule.startswith(words) for rule in RULES | CONSTANT_BOUNDS) == 1 for words in _DAMAGE)


@pytest.mark.parametrize("words", _DAMAGE)
async def test_a_rule_notices(words: str, bank: Bank, shared_database: TestDatabase) -> None:
    connection = await asyncpg.connect(shared_database.superuser_url)
    try:
        await connection.execute("BEGIN")
        await connection.execute(_DROP_CONSTRAINTS)
        ledger_id = await connection.fetchval("SELECT id FROM funds.ledgers WHERE name = $1", bank.ledger)
        await connection.execute(_DAMAGE[words], ledger_id)
        broken = await broken_rules(connection, RULES | CONSTANT_BOUNDS, [bank.ledger])
    finally:
        await connection.close()  # takes everything back
    assert [rule for rule in broken if rule.startswith(words)]
