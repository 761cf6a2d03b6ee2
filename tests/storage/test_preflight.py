import pytest

from service.storage import preflight
from service.storage.preflight import DatabaseUnusableError, verify_server
from tests.servers import free_port


async def test_a_server_that_is_new_enough(database_url: str) -> None:
    await verify_server(database_url)


async def test_a_server_that_is_too_old(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "SERVER_MAJOR_MIN", 99)
    with pytest.raises(DatabaseUnusableError, match=r"is PostgreSQL \d+, and this service needs 99 or newer\.$"):
        await verify_server(database_url)


async def test_refusals_do_not_repeat_the_password() -> None:
    with pytest.raises(DatabaseUnusableError) as caught:
        await verify_server(f"postgresql://user:secret@127.0.0.1:{free_port()}/funds")
    assert "secret" not in str(caught.value)
    with pytest.raises(DatabaseUnusableError) as caught:
        await verify_server("postgresql://user:secret@127.0.0.1:port/funds")
    assert "secret" not in str(caught.value)
