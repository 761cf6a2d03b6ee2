"""Exceptions as text: where they came from, and nothing of what a caller sent to the database."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import bindparam, text
from sqlalchemy.types import Integer

from service.settings import Settings
from service.storage.database import Database
from service.telemetry.tracebacks import format_exception
from tests.support.servers import TestDatabase, run_funds

SECRET = "S3cr"


@pytest.fixture
async def database(test_database: TestDatabase) -> AsyncIterator[Database]:
    database = Database.connect(test_database.superuser_url, Settings())
    yield database
    await database.close()


async def failure(database: Database, statement: str, **values: object) -> str:
    """The traceback of a statement that fails."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each is of another type
        async with database.sessions() as session, session.begin():
            await session.execute(text(statement), values)
    return format_exception(caught.value)


ADD_LEDGER = "INSERT INTO funds.ledgers (name, description, created_at) VALUES (:name, :description, now())"


async def test_a_violated_constraint_is_named_without_the_row(database: Database) -> None:
    async with database.sessions() as session, session.begin():
        await session.execute(text(ADD_LEDGER), {"name": SECRET, "description": SECRET})
    said = await failure(database, ADD_LEDGER, name=SECRET, description=SECRET)
    assert SECRET not in said
    assert "duplicate key value violates unique constraint" in said
    assert "(SQLSTATE 23505, constraint uq_ledgers_name)" in said
    assert "Traceback (most recent call last):" in said
    assert __file__ in said


@pytest.mark.parametrize(
    ("statement", "value", "sqlstate"),
    [
        ("SELECT CAST(CAST(:value AS text) AS uuid)", SECRET, "22P02"),
        ("SELECT CAST(CAST(:value AS text) AS json)", f'{{"a": {SECRET}', "22P02"),
        ("SELECT CAST(CAST(:value AS text) AS timestamptz)", SECRET, "22007"),
        ("SELECT CAST(CAST(:value AS text) AS date)", f"2026-99-99 {SECRET}", ""),
        ("SELECT CAST(:value AS text)", f"{SECRET}\0", "22021"),
        ("SELECT CAST(:value AS integer)", SECRET, ""),
        ("SELECT CAST(:value AS uuid)", SECRET, ""),
        ("SELECT CAST(:value AS inet)", SECRET, ""),
        ("SELECT CAST(:value AS text)", {SECRET: SECRET}, ""),
        ("SELECT CAST(:value AS text)", f"{SECRET}\udc80", ""),
        ("SELECT missing FROM funds.ledgers WHERE name = :value", SECRET, "42703"),
    ],
)
async def test_a_value_that_cannot_be_used_is_not_repeated(
    database: Database, statement: str, value: object, sqlstate: str
) -> None:
    said = await failure(database, statement, value=value)
    assert SECRET not in said
    assert f"SQLSTATE {sqlstate}" in said or not sqlstate


async def test_the_driver_used_by_itself_says_no_more(database: Database) -> None:
    """The statements of batches go directly to the driver."""
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert isinstance(driver, asyncpg.Connection)
        for fail in (
            lambda: driver.fetch("SELECT $1::integer", SECRET),
            lambda: driver.fetch("SELECT $1::text::integer", SECRET),
            lambda: driver.copy_records_to_table(
                "ledgers", schema_name="funds", records=[(1, SECRET)], columns=["id", "name"]
            ),
            lambda: driver.copy_records_to_table("ledgers", schema_name="funds", records=[(SECRET,)], columns=["id"]),
        ):
            with pytest.raises(Exception) as caught:  # noqa: PT011
                await fail()  # type: ignore[no-untyped-call]
            assert SECRET not in format_exception(caught.value)


async def test_a_value_that_sqlalchemy_cannot_bind_is_not_repeated(database: Database) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        async with database.sessions() as session:
            await session.execute(
                text("SELECT :value + :other").bindparams(bindparam("value", type_=Integer)), {"value": SECRET}
            )
    assert SECRET not in format_exception(caught.value)


def test_other_exceptions_are_written_as_python_does() -> None:
    def several() -> None:
        try:
            dict[str, int]()["inner"]
        except KeyError as error:
            raise ExceptionGroup("several", [ValueError("one"), RuntimeError("two")]) from error

    with pytest.raises(ExceptionGroup) as caught:
        several()
    said = format_exception(caught.value)
    assert said.startswith("Traceback (most recent call last):\n")
    for part in (
        "KeyError: 'inner'",
        "direct cause",
        "ExceptionGroup: several",
        "ValueError: one",
        "RuntimeError: two",
    ):
        assert part in said


def test_an_exception_that_is_its_own_cause_ends() -> None:
    error = ValueError("round")
    other = RuntimeError("and round")
    error.__cause__, other.__cause__ = other, error
    assert "round" in format_exception(error)


async def test_a_command_that_fails_unexpectedly_repeats_nothing(test_database: TestDatabase) -> None:
    """A rule of the database that the service does not know refuses a token; Python itself writes the traceback."""
    connection = await asyncpg.connect(test_database.superuser_url)
    await connection.execute("ALTER TABLE funds.tokens ADD CONSTRAINT odd CHECK (client NOT LIKE 'S3cr%')")
    await connection.close()
    ended = run_funds(
        *("tokens", "create", "--client", SECRET, "--scope", "read"),
        settings={"FUNDS_DATABASE_URL": test_database.owner_url},
    )
    assert ended.returncode == 1
    assert SECRET not in ended.stderr
    assert "(SQLSTATE 23514, constraint odd)" in ended.stderr
