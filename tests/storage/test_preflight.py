import pytest

from service.errors import DatabaseUnusableError
from service.storage import preflight
from service.storage.preflight import verify_durability, verify_role, verify_server
from tests.support.database_faults import execute, superuser
from tests.support.servers import TestDatabase, free_port


async def test_a_server_that_is_new_enough(database_url: str) -> None:
    await verify_server(database_url)


async def test_a_server_that_is_too_old(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "SERVER_MAJOR_MIN", 99)
    with pytest.raises(DatabaseUnusableError, match=r"is PostgreSQL \d+, and this service needs 99 or newer\.$"):
        await verify_server(database_url)


async def test_the_role_of_the_service_may_serve(database_url: str) -> None:
    assert await verify_role(database_url) is None


@pytest.mark.parametrize("role", ["operator", "auditor"])
async def test_a_role_that_may_not_write_may_not_serve(test_database: TestDatabase, role: str) -> None:
    with pytest.raises(DatabaseUnusableError) as caught:
        await verify_role(getattr(test_database, f"{role}_url"))
    assert "may not add rows to ledgers, ledger_heads, accounts, transfers," in str(caught.value)
    assert str(caught.value).endswith(" and FUNDS_MIGRATION_DATABASE_URL to the owner's.")


@pytest.mark.parametrize(
    ("role", "fault"),
    [
        ("superuser", "is a superuser, whom"),
        ("owner", "may change or delete rows of transfers, decisions, which"),
    ],
)
async def test_a_role_that_may_change_what_was_posted_is_warned_of(
    test_database: TestDatabase, role: str, fault: str
) -> None:
    warning = await verify_role(getattr(test_database, f"{role}_url"))
    assert warning is not None
    assert fault in warning
    assert warning.endswith(" and FUNDS_MIGRATION_DATABASE_URL to the owner's.")


@pytest.mark.parametrize(
    ("grant", "fault"),
    [
        ("GRANT UPDATE (amount) ON funds.transfers TO funds_service", "of transfers, which must stay"),
        ("GRANT DELETE ON funds.decisions TO funds_service", "of decisions, which must stay"),
        ("GRANT TRUNCATE ON funds.transfers TO funds_service", "of transfers, which must stay"),
    ],
)
async def test_a_privilege_too_many_is_warned_of(test_database: TestDatabase, grant: str, fault: str) -> None:
    await execute(test_database, grant)
    assert fault in str(await verify_role(test_database.service_url))


async def test_a_privilege_that_is_missing_is_refused(test_database: TestDatabase) -> None:
    await execute(test_database, "REVOKE INSERT ON funds.holds FROM funds_service")
    with pytest.raises(DatabaseUnusableError, match="may not add rows to holds:"):
        await verify_role(test_database.service_url)


@pytest.mark.parametrize("value", ["on", "remote_write", "local", "off"])  # no standby is waited for
@pytest.mark.parametrize("of", ["DATABASE {database}", "ROLE funds_service IN DATABASE {database}"])
async def test_a_server_that_may_lose_what_it_acknowledges_is_warned_of(
    test_database: TestDatabase, of: str, value: str
) -> None:
    """These tests themselves run on a server with ``fsync`` off, which is warned of as well."""
    async with superuser(test_database) as connection:
        whose = of.format(database=await connection.fetchval("SELECT current_database()"))
        await connection.execute(f"ALTER {whose} SET synchronous_commit = {value}")
        server_may = await connection.fetchval("SHOW fsync") == "off"
    warning = str(await verify_durability(test_database.service_url))
    assert ("fsync = off" in warning, "synchronous_commit = off" in warning) == (server_may, value == "off")
    assert warning.endswith(("the database and the role.", "None"))


async def test_refusals_do_not_repeat_the_password() -> None:
    with pytest.raises(DatabaseUnusableError) as caught:
        await verify_server(f"postgresql://user:secret@127.0.0.1:{free_port()}/funds")
    assert "secret" not in str(caught.value)
    with pytest.raises(DatabaseUnusableError) as caught:
        await verify_server("postgresql://user:secret@127.0.0.1:port/funds")
    assert "secret" not in str(caught.value)
