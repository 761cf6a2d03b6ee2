"""Every way in which a real PostgreSQL refuses a statement or is unavailable, and how the error is classified.

Statements through SQLAlchemy and statements through the driver itself (as in group commit) fail with different
exceptions, which must be classified alike.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from service.errors import Failure, StorageError
from service.settings import Settings
from service.storage import constraints
from service.storage.database import Database
from service.storage.errors import classify, reason, violated_constraint
from tests.storage import troubles
from tests.storage.troubles import Stage, by_driver, by_sqlalchemy, process_id
from tests.support.servers import TEMPLATE, TestDatabase, TestPostgres

CONTENTION, UNAVAILABLE = Failure.CONTENTION, Failure.UNAVAILABLE

_ACCOUNT_OF_NO_LEDGER = (
    "INSERT INTO funds.accounts (ledger_id, id, currency, normal_side, created_at, updated_at)"
    " VALUES (99, gen_random_uuid(), 'USD', 'credit', now(), now())"
)


@pytest.fixture(params=[by_sqlalchemy, by_driver])
async def stage(
    request: pytest.FixtureRequest,
    shared_database: TestDatabase,
    superuser: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Stage]:
    stage = Stage(Settings(database_url=shared_database.service_url), superuser, request.param, monkeypatch)
    yield stage
    for database in stage.databases:
        await database.close()


def _sqlstates(error: BaseException | None) -> set[str]:
    """Return every SQLSTATE among the causes of ``error``: the first may be that of a failed rollback."""
    if error is None:
        return set()
    links = (getattr(error, "orig", None), error.__cause__, error.__context__)
    return {getattr(error, "sqlstate", None) or ""}.union(*map(_sqlstates, links)) - {""}


@pytest.mark.parametrize(
    ("trouble", "sqlstate", "failure"),
    [
        (troubles.a_row_changed_since_the_snapshot, "40001", CONTENTION),
        (troubles.a_deadlock, "40P01", CONTENTION),
        (troubles.a_lock_not_granted_in_time, "55P03", CONTENTION),
        (troubles.a_statement_that_takes_too_long, "57014", UNAVAILABLE),
        (troubles.a_statement_cancelled_by_an_operator, "57014", UNAVAILABLE),
        (troubles.a_session_ended_during_a_statement, "57P01", UNAVAILABLE),
        (troubles.a_connection_cut_during_a_statement, None, UNAVAILABLE),
        (troubles.a_session_ended_between_statements, None, UNAVAILABLE),
        (troubles.a_session_ended_before_its_commit, None, UNAVAILABLE),
        (troubles.a_session_that_idled_too_long_in_its_transaction, None, UNAVAILABLE),
        (troubles.a_connection_that_died_in_the_pool, None, UNAVAILABLE),
        (troubles.a_commit_whose_answer_is_lost, None, UNAVAILABLE),
        (troubles.a_pool_without_a_free_connection, None, UNAVAILABLE),
        (troubles.a_server_without_a_free_connection, "53300", UNAVAILABLE),
        (troubles.a_server_that_is_down, None, UNAVAILABLE),
        (troubles.a_server_without_its_socket, None, UNAVAILABLE),
        (troubles.a_server_of_the_wrong_kind, None, UNAVAILABLE),
        (troubles.a_server_that_falls_silent, None, UNAVAILABLE),
        (troubles.a_write_on_a_server_that_only_reads, "25006", UNAVAILABLE),
        (troubles.a_privilege_that_was_revoked, "42501", UNAVAILABLE),
        (troubles.a_column_whose_type_changed, "0A000", UNAVAILABLE),
    ],
)
async def test_trouble_that_may_pass(
    stage: Stage,
    trouble: Callable[[Stage], Awaitable[None]],
    sqlstate: str | None,
    failure: Failure,
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, is the question
        await trouble(stage)

    assert sqlstate is None or sqlstate in _sqlstates(caught.value)
    for error in (*stage.errors, caught.value):
        assert classify(error) is failure
        assert violated_constraint(error) is None


@pytest.mark.parametrize(
    ("statement", "sqlstate", "constraint"),
    [
        ("INSERT INTO funds.ledgers (name, created_at) VALUES ('main', now())", "23505", constraints.UQ_LEDGERS_NAME),
        (_ACCOUNT_OF_NO_LEDGER, "23503", constraints.FK_ACCOUNTS_LEDGER),
        (
            "INSERT INTO funds.ledgers (id, name, created_at) VALUES (0, 'zero', now())",
            "23514",
            constraints.CK_LEDGERS_ID_POSITIVE,
        ),
        # Not a constraint with a name of ours: the column says what is missing.
        ("INSERT INTO funds.ledgers (created_at) VALUES (now())", "23502", "name"),
        ("SELECT 9223372036854775807 + 1", "22003", None),
        ("SELECT 1 / 0", "22012", None),
        ("SELECT 'x'::integer", "22P02", None),
        ("SELECT FROM funds.nothing", "42P01", None),
        ("SELEKT", "42601", None),
        ("DO $$ BEGIN RAISE 'no'; END $$", "P0001", None),
    ],
)
async def test_trouble_that_stays(stage: Stage, statement: str, sqlstate: str, constraint: str | None) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, is the question
        async with stage.connect().sessions() as session:
            await stage.send(session, statement)

    assert _sqlstates(caught.value) == {sqlstate}
    assert classify(caught.value) is None
    assert violated_constraint(caught.value) == constraint


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ("uq_ledgers_name", constraints.UQ_LEDGERS_NAME),
        ("uq_ledgers_name_102008", constraints.UQ_LEDGERS_NAME),
        ("uq_ledgers_name_102008_1", "uq_ledgers_name_102008_1"),
        ("uq_ledgers_name_", "uq_ledgers_name_"),
        ("uq_ledgers_name_x", "uq_ledgers_name_x"),
        ("uq_of_an_operator_102008", "uq_of_an_operator_102008"),
    ],
)
async def test_a_constraint_of_a_shard_is_known_by_the_name_of_its_table(
    superuser: asyncpg.Connection, told: str, known: str
) -> None:
    table = "CREATE TEMPORARY TABLE shard (n integer); INSERT INTO shard VALUES (1);"
    violate = f"ALTER TABLE shard ADD CONSTRAINT {told} CHECK (n > 1)"
    transaction = superuser.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await superuser.execute(table + violate)
    await transaction.rollback()
    assert violated_constraint(caught.value) == known


@pytest.mark.parametrize(
    ("message", "known"),
    [
        ('duplicate key value violates unique constraint "uq_ledgers_name_102011"', constraints.UQ_LEDGERS_NAME),
        ("doppelter Schlüsselwert verletzt Unique-Constraint »pk_history_9«", constraints.PK_HISTORY),
        ('null value in column "currency" of relation "accounts_102047" violates not-null constraint', "unnamed"),
    ],
)
async def test_what_a_node_of_citus_refused_is_told_in_the_message_only(
    superuser: asyncpg.Connection, message: str, known: str
) -> None:
    with pytest.raises(asyncpg.UniqueViolationError) as caught:
        await superuser.execute(f"DO $$ BEGIN RAISE unique_violation USING MESSAGE = '{message}'; END $$")
    assert violated_constraint(caught.value) == known


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "1", object()])
async def test_a_value_that_the_driver_cannot_send_is_a_fault_of_ours(
    shared_database: TestDatabase, value: Any
) -> None:
    """Nothing was sent, and nothing would be sent in another attempt: it must not look like a missing database."""
    connection = await asyncpg.connect(shared_database.service_url)
    with pytest.raises(asyncpg.DataError) as caught:
        await connection.fetchval("SELECT $1::bigint", value)
    await connection.close()
    assert classify(caught.value) is None


async def test_an_aborted_transaction_is_a_fault_of_ours(stage: Stage) -> None:
    async with stage.connect().sessions() as session:
        await process_id(session)
        with pytest.raises(Exception):  # noqa: B017, PT011
            await stage.send(session, "SELECT 1 / 0")
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await stage.send(session, "SELECT 1")
    assert _sqlstates(caught.value) == {"25P02"}
    assert classify(caught.value) is None


@pytest.mark.parametrize(
    ("database", "role", "sqlstate_class"), [("funds_nowhere", "funds_service", "3D000"), (TEMPLATE, "nobody", "28")]
)
async def test_a_database_or_a_role_that_is_not_there_may_come_back(
    postgres: TestPostgres, database: str, role: str, sqlstate_class: str
) -> None:
    url = postgres.url(database, role)
    away = Database.connect(url, Settings(database_url=url))
    async with away.sessions() as session:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, is the question
            await process_id(session)
    await away.close()
    [sqlstate] = _sqlstates(caught.value)
    assert sqlstate.startswith(sqlstate_class)
    assert classify(caught.value) is UNAVAILABLE
    assert f"SQLSTATE {sqlstate}" in reason(caught.value)


async def test_the_reason_of_a_refusal_names_its_cause_and_no_value(stage: Stage) -> None:
    told = {}
    raised = "DO $$ BEGIN RAISE 'S3cr3t'; END $$"
    raised_by_number = "DO $$ BEGIN RAISE 'S3cr3t' USING ERRCODE = 'ZZ001'; END $$"
    for statement in (
        "SELECT FROM funds.nothing",
        "SELECT 'S3cr3t'::integer",
        "SELECT 1 / 0",
        raised,
        raised_by_number,
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            async with stage.connect().sessions() as session:
                await stage.send(session, statement)
        told[statement] = reason(caught.value)
    assert told["SELECT FROM funds.nothing"] == 'relation "funds.nothing" does not exist (SQLSTATE 42P01)'
    assert told["SELECT 'S3cr3t'::integer"] == "a value cannot be used (SQLSTATE 22P02)"
    assert told["SELECT 1 / 0"] == "a value cannot be used (SQLSTATE 22012)"
    assert told[raised] == "a message that may hold values (SQLSTATE P0001)"
    assert told[raised_by_number] == "a message that may hold values (SQLSTATE ZZ001)"


def test_the_reason_of_another_fault_is_its_kind_and_place() -> None:
    with pytest.raises(ValueError, match="S3cr3t") as caught:
        int("S3cr3t")
    assert re.fullmatch(r"ValueError at test_errors\.py:\d+", reason(caught.value))


def test_what_is_no_error_of_the_database() -> None:
    assert classify(ValueError("not of the database")) is None
    assert violated_constraint(ValueError("not of the database")) is None


def test_a_connection_to_a_node_that_broke_may_pass() -> None:
    """As Citus tells it, of a COMMIT too: PostgreSQL's own internal errors are faults."""
    told = {"S": "ERROR", "C": "XX000", "M": "SSL SYSCALL error: EOF detected"}
    assert classify(asyncpg.PostgresError.new(told | {"R": "ReportResultError"})) is UNAVAILABLE
    assert classify(asyncpg.PostgresError.new(told | {"R": "elog_finish"})) is None


def test_a_failure_that_was_already_told_is_final() -> None:
    """It is final even if its cause is a failure that may pass."""
    told = StorageError(UNAVAILABLE)
    told.__cause__ = ConnectionRefusedError()
    assert classify(told.__cause__) is UNAVAILABLE
    assert classify(told) is None


def test_errors_that_cause_each_other_are_looked_at_once() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert classify(one) is None
