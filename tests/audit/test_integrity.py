"""Verification finds what the database's owner did behind the service: which row, and what is wrong with it."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from sqlalchemy import text

from service.audit.integrity import ALL_RULES, look_at_integrity, verify_ledger, verify_slice
from service.domain.integrity import Finding, Place
from service.settings import RetryLimits, Settings
from service.storage.database import Database, Session
from service.storage.transactions import Mode, Transactions
from tests.support.ledger_at_work import LedgerAtWork, fill_ledger
from tests.support.rows import MAIN
from tests.support.servers import TestDatabase, TestPostgres

# What an owner of the tables can do. Constraints stand in nobody's way who may drop them.
DROP_CONSTRAINTS = """
    DO $$
    DECLARE made record;
    BEGIN
        FOR made IN SELECT conrelid::regclass AS name, conname FROM pg_constraint
                    WHERE connamespace = 'funds'::regnamespace AND contype IN ('c', 'f', 'u') LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I CASCADE', made.name, made.conname);
        END LOOP;
    END $$
"""


class Damage(NamedTuple):
    """A statement of the owner's, and the rule, table and row of what is found. ``{name}`` is the id of that fact."""

    statement: str
    rule: str
    table: str
    row: str


_DAMAGE = {
    "an amount was raised": Damage(
        "UPDATE funds.transfers SET amount = amount + 1 WHERE id = '{transfer}'",
        "running balances follow",
        "transfers",
        "{transfer}",
    ),
    "a balance was edited": Damage(
        "UPDATE funds.accounts SET credits_posted = credits_posted + 100 WHERE id = '{a}'",
        "posted counters",
        "accounts",
        "{a}",
    ),
    "a balance and its opposite were edited": Damage(
        "UPDATE funds.accounts SET credits_posted = credits_posted + 100, debits_posted = debits_posted + 100"
        " WHERE id = '{a}'",
        "posted counters",
        "accounts",
        "{a}",
    ),
    "an account says that it has not changed since": Damage(
        "UPDATE funds.accounts SET updated_at = created_at WHERE id = '{a}'",
        "no account was changed",
        "accounts",
        "{a}",
    ),
    "money was made": Damage(
        "UPDATE funds.accounts SET credits_posted = credits_posted + 100 WHERE id = '{a}'",
        "money is neither",
        "accounts",
        "USD",
    ),
    "held money was freed": Damage(
        "UPDATE funds.accounts SET debits_held = 0 WHERE id = '{a}'",
        "posted counters",
        "accounts",
        "{a}",
    ),
    "a bound was lifted and set again": Damage(
        "UPDATE funds.accounts SET minimum_balance = 5000 WHERE id = '{a}'",
        "no available balance is below",
        "accounts",
        "{a}",
    ),
    "an account with money was closed": Damage(
        "UPDATE funds.accounts SET status = 'closed' WHERE id = '{b}'",
        "a closed account",
        "accounts",
        "{b}",
    ),
    "a running balance was edited": Damage(
        "UPDATE funds.transfers SET debit_balance_after = debit_balance_after + 1 WHERE id = '{reversal}'",
        "running balances follow",
        "transfers",
        "{reversal}",
    ),
    "a transfer was deleted": Damage(
        "DELETE FROM funds.transfers WHERE id = '{deposit}'",
        "versions run",
        "accounts",
        "{cash}",
    ),
    "the last transfer was deleted, and its accounts set back": Damage(
        "DELETE FROM funds.transfers WHERE id = '{reversal}'; DELETE FROM funds.reversed_transfers;"
        " UPDATE funds.accounts SET version = version - 1 WHERE id IN ('{a}', '{b}')",
        "every applied decision",
        "decisions",
        "client ",
    ),
    "a transfer was forged without a decision": Damage(
        "INSERT INTO funds.transfers SELECT (jsonb_populate_record(transfer, jsonb_build_object("
        " 'id', '{forged}', 'amount', 1000000, 'debit_account_version', transfer.debit_account_version + 90,"
        " 'credit_account_version', transfer.credit_account_version + 90))).*"
        " FROM funds.transfers AS transfer WHERE id = '{deposit}'",
        "every transfer has the decision",
        "transfers",
        "{forged}",
    ),
    "a transfer was moved to another account": Damage(
        "UPDATE funds.transfers SET credit_account_id = '{cash}', debit_account_id = '{a}' WHERE id = '{deposit}'",
        "posted counters",
        "accounts",
        "{cash}",
    ),
    "a transfer names an account that is not there": Damage(
        "UPDATE funds.transfers SET credit_account_id = '{forged}' WHERE id = '{deposit}'",
        "the accounts of a transfer",
        "transfers",
        "{deposit}",
    ),
    "a transfer is in another currency": Damage(
        "UPDATE funds.transfers SET currency = 'EUR' WHERE id = '{transfer}'",
        "the accounts of a transfer",
        "transfers",
        "{transfer}",
    ),
    "an account is in another currency": Damage(
        "UPDATE funds.accounts SET currency = 'EUR' WHERE id = '{a}'",
        "the accounts of a hold",
        "holds",
        "{open}",
    ),
    "a time was edited": Damage(
        "UPDATE funds.transfers SET created_at = created_at - interval '1 hour' WHERE id = '{transfer}'",
        "the identifier of a transfer",
        "transfers",
        "{transfer}",
    ),
    "a transfer was put into the past": Damage(
        "UPDATE funds.transfers SET created_at = created_at - interval '1 hour' WHERE id = '{transfer}'",
        "identifiers rise",
        "transfers",
        "{transfer}",
    ),
    "two transfers changed their places": Damage(
        "UPDATE funds.transfers AS one SET debit_account_version = two.debit_account_version,"
        " credit_account_version = two.credit_account_version FROM funds.transfers AS two"
        " WHERE (one.id, two.id) IN (('{transfer}', '{capture}'), ('{capture}', '{transfer}'))",
        "identifiers rise",
        "transfers",
        "{capture}",
    ),
    "a value date was put back": Damage(
        "UPDATE funds.transfers SET effective_at = effective_at - interval '9 days' WHERE id = '{transfer}'",
        "no value date",
        "transfers",
        "{transfer}",
    ),
    "a hold was deleted": Damage("DELETE FROM funds.holds WHERE id = '{voided}'", "versions run", "accounts", "{a}"),
    "a hold's amount was edited": Damage(
        "UPDATE funds.holds SET amount = amount + 5 WHERE id = '{open}'",
        "posted counters",
        "accounts",
        "{a}",
    ),
    "a hold says that more was captured": Damage(
        "UPDATE funds.holds SET captured_amount = captured_amount + 1 WHERE id = '{captured}'",
        "what is captured",
        "holds",
        "{captured}",
    ),
    "a hold was opened again": Damage(
        "UPDATE funds.holds SET status = 'open', closed_at = NULL, closed_debit_account_version = NULL,"
        " closed_credit_account_version = NULL WHERE id = '{voided}'",
        "posted counters",
        "accounts",
        "{a}",
    ),
    "an expired hold was called voided": Damage(
        "UPDATE funds.holds SET status = 'voided' WHERE id = '{expired}'",
        "a hold has one end",
        "holds",
        "{expired}",
    ),
    "a hold was opened at another time": Damage(
        "UPDATE funds.holds SET created_at = created_at - interval '1 second' WHERE id = '{open}'",
        "the identifier of a hold",
        "holds",
        "{open}",
    ),
    "a hold ended before its capture": Damage(
        "UPDATE funds.holds SET expires_at = created_at WHERE id = '{captured}'",
        "captures move",
        "transfers",
        "{capture}",
    ),
    "what was reversed was forgotten": Damage(
        "DELETE FROM funds.reversed_transfers WHERE transfer_id = '{transfer}'",
        "what is reversed",
        "reversed_transfers",
        "{transfer}",
    ),
    "a reversal is of another transfer": Damage(
        "UPDATE funds.transfers SET reverses_id = '{deposit}' WHERE id = '{reversal}'",
        "reversals go",
        "transfers",
        "{reversal}",
    ),
    "a decision was deleted": Damage(
        "DELETE FROM funds.decisions WHERE resource_id = '{transfer}'",
        "every transfer has the decision",
        "transfers",
        "{transfer}",
    ),
    "a decision names another transfer": Damage(
        "UPDATE funds.decisions SET resource_id = '{deposit}' WHERE resource_id = '{transfer}'",
        "every transfer has the decision",
        "transfers",
        "{transfer}",
    ),
    "a rejection was given a transfer": Damage(
        "UPDATE funds.decisions SET resource_id = '{transfer}' WHERE outcome = 'rejected'",
        "what was rejected",
        "decisions",
        "client ",
    ),
    "an account was put in by hand": Damage(
        "INSERT INTO funds.accounts SELECT (jsonb_populate_record(account, jsonb_build_object('id', '{forged}'))).*"
        " FROM funds.accounts AS account WHERE id = '{a}'",
        "every account has the decision",
        "accounts",
        "{forged}",
    ),
    "an account was opened at another time": Damage(
        "UPDATE funds.accounts SET created_at = created_at - interval '1 day' WHERE id = '{a}'",
        "accounts were opened when",
        "accounts",
        "{a}",
    ),
    "a hold was voided without a decision": Damage(
        "DELETE FROM funds.decisions WHERE resource_id = '{voided}' AND operation = 'void_hold'",
        "every voided hold",
        "holds",
        "{voided}",
    ),
    "a transfer was given to another client": Damage(
        "UPDATE funds.transfers SET client_id = 'somebody' WHERE id = '{transfer}'",
        "every transfer has the decision",
        "transfers",
        "{transfer}",
    ),
    "a transfer was given the key of another one": Damage(
        "UPDATE funds.transfers AS one SET idempotency_key = two.idempotency_key FROM funds.transfers AS two"
        " WHERE one.id = '{transfer}' AND two.id = '{deposit}'",
        "every applied decision",
        "decisions",
        "client ",
    ),
    "a hold was given to another client": Damage(
        "UPDATE funds.holds SET client_id = 'somebody' WHERE id = '{open}'",
        "every hold has the decision",
        "holds",
        "{open}",
    ),
    "the end of a hold was taken out of the history": Damage(
        "DELETE FROM funds.history WHERE subject_id = '{expired}'", "every hold that has ended", "holds", "{expired}"
    ),
    "a hold ended twice in the history": Damage(
        "INSERT INTO funds.history SELECT ledger_id, '{forged}', type, subject_id, client_id, idempotency_key,"
        " request_id, data, created_at FROM funds.history WHERE subject_id = '{expired}'",
        "every hold that has ended",
        "holds",
        "{expired}",
    ),
    "a rejection was taken out of the history": Damage(
        "DELETE FROM funds.history WHERE type = 'command.rejected'", "every rejected request", "decisions", "client "
    ),
    "a fence was taken out of the history": Damage(
        "DELETE FROM funds.history WHERE type = 'key.fenced'", "every rejected request", "decisions", "client "
    ),
    "an entry was put into the past": Damage(
        "UPDATE funds.history SET created_at = created_at - interval '1 hour' WHERE type = 'key.fenced'",
        "the identifier of an entry",
        "history",
        "",
    ),
    "an entry says that less was freed": Damage(
        "UPDATE funds.history SET data = jsonb_set(data::jsonb, '{{released_amount}}', '1')::json"
        " WHERE subject_id = '{voided}'",
        "every entry tells",
        "history",
        "",
    ),
    "an entry is no number": Damage(
        "UPDATE funds.history SET data = '[]' WHERE subject_id = '{voided}'", "every entry tells", "history", ""
    ),
    "a rejection says something else": Damage(
        "UPDATE funds.history SET data = jsonb_set(data::jsonb, '{{problem,detail}}', '\"No.\"')::json"
        " WHERE type = 'command.rejected'",
        "every entry tells",
        "history",
        "",
    ),
    "an entry tells of a hold that is open": Damage(
        "UPDATE funds.history SET subject_id = '{open}' WHERE subject_id = '{voided}'",
        "every entry tells",
        "history",
        "",
    ),
    "a fence was made up": Damage(
        "INSERT INTO funds.history (ledger_id, id, type, client_id, idempotency_key, data, created_at)"
        " VALUES (1, '{forged}', 'key.fenced', 'client', 'made up', '{{}}', now())",
        "every entry tells",
        "history",
        "{forged}",
    ),
    "an entry is of a type that there is not": Damage(
        "INSERT INTO funds.history (ledger_id, id, type, client_id, data, created_at)"
        " VALUES (1, '{forged}', 'interest.paid', 'client', '{{}}', now())",
        "every entry tells",
        "history",
        "{forged}",
    ),
    "a transfer was told beside the transfers": Damage(
        "INSERT INTO funds.history (ledger_id, id, type, subject_id, client_id, data, created_at)"
        " VALUES (1, '{forged}', 'transfer.posted', '{transfer}', 'client', '{{}}', now())",
        "every entry tells",
        "history",
        "{forged}",
    ),
    "an entry is of a type that no ledger has": Damage(
        "WITH token AS (INSERT INTO funds.tokens (id, client, token_hash, scopes)"
        " VALUES ('{forged}', 'client', 'x', '{{read}}') RETURNING *)"
        " INSERT INTO funds.history (ledger_id, id, type, subject_id, data, created_at)"
        " SELECT 1, id, 'token.created', id, row_to_json(token), now() FROM token",
        "every entry tells",
        "history",
        "{forged}",
    ),
    "an entry holds what PostgreSQL cannot read": Damage(
        "INSERT INTO funds.history (ledger_id, id, type, client_id, data, created_at)"
        " VALUES (1, '{forged}', 'ledger.created', 'client', '{{\"name\": \"\\u0000\"}}', now())",
        "every entry tells",
        "history",
        "",
    ),
    "somebody else voided a hold": Damage(
        "UPDATE funds.history SET client_id = 'somebody' WHERE subject_id = '{voided}'",
        "every entry names",
        "history",
        "",
    ),
    "somebody else captured a hold": Damage(
        "UPDATE funds.history AS one SET idempotency_key = two.idempotency_key FROM funds.history AS two"
        " WHERE one.subject_id = '{captured}' AND two.subject_id = '{voided}'",
        "every entry names",
        "history",
        "",
    ),
    "somebody else opened an account": Damage(
        "UPDATE funds.history SET client_id = 'somebody' WHERE id = '{a}'", "every entry names", "history", "{a}"
    ),
    "the opening of an account was taken out of the history": Damage(
        "DELETE FROM funds.history WHERE id = '{a}'", "every account has the entry", "accounts", "{a}"
    ),
    "an account was given to another client": Damage(
        "UPDATE funds.accounts SET client_id = 'somebody' WHERE id = '{a}'", "every account is", "accounts", "{a}"
    ),
    "an account was given another reference": Damage(
        "UPDATE funds.accounts SET reference = 'IBAN' WHERE id = '{a}'", "every account is", "accounts", "{a}"
    ),
    "a bound was lifted": Damage(
        "UPDATE funds.accounts SET minimum_balance = NULL WHERE id = '{a}'", "every account is", "accounts", "{a}"
    ),
    "a revision was made up": Damage(
        "INSERT INTO funds.history (ledger_id, id, type, subject_id, client_id, data, created_at)"
        " VALUES (1, '{forged}', 'account.revised', '{a}', 'client', '{{\"after\": {{\"name\": \"Cash\"}}}}', now())",
        "every account is",
        "accounts",
        "{a}",
    ),
    "a code was revised that no entry tells of": Damage(
        "UPDATE funds.accounts SET code = '1000:cash' WHERE id = '{a}'", "every account is", "accounts", "{a}"
    ),
    "a transfer was dated into a closed period": Damage(
        "UPDATE funds.transfers SET effective_at = effective_at - interval '1 second' WHERE id = '{late}'",
        "no transfer is dated into",
        "transfers",
        "{late}",
    ),
    "what was dated forward was made to look as if it had been asked for": Damage(
        "UPDATE funds.transfers SET requested_effective_at = effective_at WHERE id = '{late}'",
        "no transfer is dated into",
        "transfers",
        "{late}",
    ),
    "a transfer was made to look as if it had been dated forward": Damage(
        "UPDATE funds.transfers SET requested_effective_at = effective_at - interval '1 hour' WHERE id = '{transfer}'",
        "no transfer is dated into",
        "transfers",
        "{transfer}",
    ),
    "a period was opened by nobody": Damage(
        "UPDATE funds.ledger_heads SET closed_until = NULL, late_entries = NULL WHERE ledger_id = 1",
        "a head says of closed periods",
        "ledger_heads",
        "1",
    ),
    "a closing was taken out of the history": Damage(
        "DELETE FROM funds.history WHERE id = '{closing}'", "a head says of closed periods", "ledger_heads", "1"
    ),
    "a closing was edited": Damage(
        'UPDATE funds.history SET data = \'{{"closed_until":null,"late_entries":"reject","reason":null}}\''
        " WHERE id = '{closing}'",
        "every entry tells",
        "history",
        "{closing}",
    ),
    "the head was set back": Damage(
        "UPDATE funds.ledger_heads SET last_at = last_at - interval '1 hour' WHERE ledger_id = 1",
        "nothing of a ledger is later",
        "transfers",
        "{transfer}",
    ),
    "the head was set to where nothing can follow it": Damage(
        "UPDATE funds.ledger_heads SET last_at = last_at + interval '100 years' WHERE ledger_id = 1",
        "a head lies ahead",
        "ledger_heads",
        "1",
    ),
    "an entry was put behind the head": Damage(
        "INSERT INTO funds.history (ledger_id, id, type, client_id, data, created_at)"
        " VALUES (1, '{forged}', 'key.fenced', 'client', '{{}}', now() + interval '1 day')",
        "nothing of a ledger is later",
        "history",
        "{forged}",
    ),
    "the creation of the ledger was taken out of the history": Damage(
        "DELETE FROM funds.history WHERE type = 'ledger.created'", "every ledger has the entry", "ledgers", "main"
    ),
    "the head was deleted": Damage(
        "DELETE FROM funds.ledger_heads WHERE ledger_id = 1", "nothing of a ledger is later", "ledgers", "main"
    ),
}
FORGED = "0199ffff-ffff-7fff-8000-000000000001"


@pytest.fixture(scope="module")
async def shared(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    async with postgres.fresh_database() as database:
        yield database


@pytest.fixture(scope="module")
async def facts(shared: TestDatabase) -> LedgerAtWork:
    return await fill_ledger(shared)


@pytest.fixture(scope="module")
async def owner(shared: TestDatabase) -> AsyncIterator[Transactions]:
    """Transactions of the owner, who damages and verifies in one that is taken back."""
    pool = Database.connect_verification(shared.owner_url, Settings())
    yield Transactions(pool, RetryLimits(1, 60.0))
    await pool.close()


async def found(session: Session) -> list[Finding]:
    return [finding async for step in verify_ledger(session, MAIN) for finding in step.findings]


class TakenBackError(Exception):
    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings


async def execute(session: Session, statements: str) -> None:
    """Run several ``statements``, in the transaction of ``session``."""
    await session.execute(text("SELECT 1"))  # the transaction begins with the session's own first statement
    driver = (await (await session.connection()).get_raw_connection()).driver_connection
    assert driver is not None
    await driver.execute(statements)


async def findings_after(owner: Transactions, *statements: str) -> list[Finding]:
    """Return what is found after ``statements``, which are taken back."""

    async def work(session: Session) -> None:
        for statement in statements:
            await execute(session, statement)
        raise TakenBackError(await found(session))

    with pytest.raises(TakenBackError) as done:
        await owner.run_once(work)
    return done.value.findings


@pytest.mark.usefixtures("facts")
async def test_a_ledger_at_work_is_sound(owner: Transactions) -> None:
    assert await findings_after(owner) == []


@pytest.mark.parametrize("done", _DAMAGE)
async def test_damage_is_found_and_named(done: str, facts: LedgerAtWork, owner: Transactions) -> None:
    statement, rule, table, row = [text.format(forged=FORGED, **vars(facts)) for text in _DAMAGE[done]]
    findings = await findings_after(owner, DROP_CONSTRAINTS, statement)
    named = [one for one in findings if one.rule.startswith(rule) and one.table == table and one.id.startswith(row)]
    assert named, f"{done}: {findings}"
    assert all(one.wrong for one in findings)


async def test_what_cannot_be_read_is_found_by_a_look_too(owner: Transactions) -> None:
    async def look(session: Session) -> None:
        unreadable = _DAMAGE["an entry holds what PostgreSQL cannot read"]
        await execute(session, unreadable.statement.format(forged="ffffffff-ffff-7fff-8000-000000000001"))
        raise TakenBackError((await look_at_integrity(session, MAIN)).findings)

    with pytest.raises(TakenBackError) as done:
        await owner.run_once(look)
    assert any("cannot be read" in one.wrong for one in done.value.findings)


async def test_types_of_a_later_version_are_known_to_a_later_schema_alone(owner: Transactions) -> None:
    """While versions change, both verify what both write; a version has new types with a migration alone."""
    new_type = _DAMAGE["an entry is of a type that there is not"].statement.format(forged=FORGED)
    later = "UPDATE funds.alembic_version SET version_num = '9999'"
    told = {one.rule for one in await findings_after(owner, new_type, later)}
    assert not any(rule.startswith("every entry tells") for rule in told), told


def test_every_rule_but_those_of_tokens_groups_and_holds_below_zero_has_its_damage() -> None:
    told = {rule.name for rule in ALL_RULES for one in _DAMAGE.values() if rule.name.startswith(one.rule)}
    assert {rule.name for rule in ALL_RULES} - told == {
        "what applies together has one moment",
        "nothing was ever held that no hold reserved",
        "every token has the entries of its making and of its revocation",  # test_installation.py
        "every head is of a ledger",  # likewise
    }


@pytest.mark.parametrize(("rows", "changes"), [(1, 1_000), (500, 3)], ids=["a row a slice", "a rule a step"])
async def test_slices_give_what_the_whole_gives(
    rows: int, changes: int, facts: LedgerAtWork, owner: Transactions
) -> None:
    """From place to place: every row is looked at once, and the same damage is found."""
    edit = f"UPDATE funds.transfers SET debit_balance_after = 1 WHERE id = '{facts.transfer}'"
    whole = await findings_after(owner, edit)

    async def one_by_one(session: Session) -> None:
        await execute(session, edit)
        place: Place | None = Place()
        seen, findings = 0, []
        while place is not None:
            step = await verify_slice(session, MAIN, place, rows_max=rows, changes_max=changes)
            seen, place = seen + step.row_count, step.next
            findings += step.findings
        counted = await session.scalar(
            text(
                "SELECT (SELECT count(*) FROM funds.accounts) + (SELECT count(*) FROM funds.transfers)"
                " + (SELECT count(*) FROM funds.holds) + (SELECT count(*) FROM funds.decisions WHERE ledger_id = 1)"
                " + (SELECT count(*) FROM funds.history WHERE ledger_id = 1)"
            )
        )
        assert seen == counted
        raise TakenBackError(findings)

    with pytest.raises(TakenBackError) as done:
        await owner.run_once(one_by_one)
    assert done.value.findings == whole != []


@pytest.mark.usefixtures("facts")
async def test_the_auditors_role_verifies(shared: TestDatabase) -> None:
    pool = Database.connect_verification(shared.auditor_url, Settings())
    try:
        assert await Transactions(pool, RetryLimits(1, 60.0), Mode.SNAPSHOT).run_once(found) == []
    finally:
        await pool.close()
