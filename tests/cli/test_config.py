"""``funds config``: what is in force and where it comes from; what cannot be used is told in one sentence."""

import json
import secrets
from pathlib import Path

import pytest

from service.proofs.keys import KeyKind, SignerKey
from service.settings import SECRETS, Settings, variable_of
from tests.support.servers import TestDatabase, free_port, run_funds

PASSWORD = secrets.token_hex(16)
URL = f"postgresql://funds_service:{PASSWORD}@one.example,two.example:5433/funds"
PARAMETERS = f"target_session_attrs=read-write&sslmode=verify-full&sslpassword={PASSWORD}"


def configured(*arguments: str, **settings: str) -> str:
    ended = run_funds("config", *arguments, settings=settings)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def refused(*arguments: str, **settings: str) -> str:
    ended = run_funds("config", *arguments, settings=settings)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    return ended.stderr


def test_every_setting_is_told_with_its_default() -> None:
    told = json.loads(configured("--json"))
    assert list(told) == [variable_of(name) for name in Settings.__struct_fields__]
    assert {one["from"] for one in told.values()} == {"default"}
    assert told["FUNDS_PORT"]["value"] == 8000
    assert told["FUNDS_DATABASE_URL"]["value"] is None
    lines = configured().splitlines()
    assert [line.split()[0] for line in lines] == list(told)
    assert "FUNDS_PORT default 8000" in [" ".join(line.split()) for line in lines]


def test_where_a_value_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(secrets.token_hex(32))
    told = json.loads(
        configured("--json", FUNDS_PORT="8000", FUNDS_LOG_LEVEL="", FUNDS_ADMIN_TOKEN_FILE=str(file), FUNDS_HOST="::1")
    )
    given = {name: one for name, one in told.items() if one["from"] != "default"}
    assert given == {
        "FUNDS_PORT": {"value": 8000, "from": "environment"},
        "FUNDS_HOST": {"value": "::1", "from": "environment"},
        "FUNDS_ADMIN_TOKEN": {"value": "***", "from": "file"},
    }


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_no_secret_is_shown(arguments: tuple[str, ...]) -> None:
    hidden = {name: f"{URL}?{PARAMETERS}" for name in SECRETS if name.endswith("_url")}
    hidden["admin_token"] = secrets.token_hex(32)
    hidden["console_key"] = secrets.token_hex(32)
    hidden["log_key"] = SignerKey.generate("localhost/funds", KeyKind.LOG).secret_text()
    assert hidden.keys() == set(SECRETS)
    shown = configured(*arguments, **{variable_of(name): value for name, value in hidden.items()})
    for secret in (PASSWORD, hidden["admin_token"], hidden["console_key"], hidden["log_key"]):
        assert secret not in shown
    assert "postgresql://funds_service:***@one.example,two.example:5433/funds?target_session_attrs=read-write" in shown


def test_what_cannot_be_used_is_told_in_one_sentence() -> None:
    assert "FUNDS_PORTS is no setting" in refused(FUNDS_PORTS="1")
    assert "FUNDS_PORT: " in refused(FUNDS_PORT="no port")
    assert "FUNDS_LOG_KEY: " in refused(FUNDS_LOG_KEY="no key")
    told = refused(FUNDS_READ_DATABASE_URL=URL)
    assert "FUNDS_READ_DATABASE_URL: The database URL names several servers" in told
    assert PASSWORD not in told


def test_the_databases_are_asked_on_request(test_database: TestDatabase) -> None:
    away = f"postgresql://u@127.0.0.1:{free_port()}/funds"
    both = {"FUNDS_DATABASE_URL": test_database.service_url, "FUNDS_READ_DATABASE_URL": away}
    assert configured(**both)
    assert configured("--connect", FUNDS_DATABASE_URL=test_database.service_url)
    assert "cannot be reached: Connection refused" in refused("--connect", **both)
