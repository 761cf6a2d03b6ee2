from pathlib import Path

import pytest

from service.settings import Settings, SettingsError


def test_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert settings.database_url is None
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.data_dir == Path(".data")


def test_values_are_read_by_their_type() -> None:
    settings = Settings.from_environment(
        {
            "FUNDS_PORT": "9000",
            "FUNDS_POOL_TIMEOUT_SECONDS": "2.5",
            "FUNDS_DATA_DIR": "/somewhere else/data",
            "FUNDS_DATABASE_URL": "postgresql://funds_service@/funds",
            "FUNDS_LOG_LEVEL": "warning",
        }
    )
    assert settings.port == 9000
    assert settings.pool_timeout_seconds == 2.5
    assert settings.data_dir == Path("/somewhere else/data")
    assert settings.database_url == "postgresql://funds_service@/funds"
    assert settings.log_level == "warning"


@pytest.mark.parametrize("prefix", ["/funds", "/bank/funds-2", "/A_b/c"])
def test_a_path_prefix(prefix: str) -> None:
    settings = Settings.from_environment({"FUNDS_PATH_PREFIX": prefix, "FUNDS_PATH_PREFIX_STRIPPED": "true"})
    assert (settings.path_prefix, settings.path_prefix_stripped) == (prefix, True)


def test_an_empty_value_is_no_value() -> None:
    assert Settings.from_environment({"FUNDS_DATABASE_URL": "", "FUNDS_PORT": ""}) == Settings()


def test_variables_of_others_are_left_alone() -> None:
    assert Settings.from_environment({"PORT": "1", "MY_FUNDS_PORT": "2"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FUNDS_PORT", "65536"),
        ("FUNDS_PORT", "-1"),
        ("FUNDS_PORT", "eight thousand"),
        ("FUNDS_WORKERS", "0"),
        ("FUNDS_WORKERS", "1.5"),
        ("FUNDS_LOG_LEVEL", "loud"),
        ("FUNDS_ADMIN_TOKEN", "short"),
        ("FUNDS_DRAIN_TIMEOUT_SECONDS", "0"),
        ("FUNDS_DRAIN_TIMEOUT_SECONDS", "nan"),
        ("FUNDS_APPLICATION_NAME", "x" * 64),
        ("FUNDS_PATH_PREFIX", "funds"),
        ("FUNDS_PATH_PREFIX", "/"),
        ("FUNDS_PATH_PREFIX", "/funds/"),
        ("FUNDS_PATH_PREFIX", "/a//b"),
        ("FUNDS_PATH_PREFIX", "/a/../b"),
        ("FUNDS_PATH_PREFIX", "/f%75nds"),
        ("FUNDS_PATH_PREFIX", "/funds\n"),
        ("FUNDS_PATH_PREFIX", "http://bank/funds"),
        ("FUNDS_PATH_PREFIX_STRIPPED", "perhaps"),
    ],
)
def test_a_value_out_of_its_rule_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        Settings.from_environment({name: value})


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^FUNDS_PROT is no setting of this service$"):
        Settings.from_environment({"FUNDS_PROT": "8000"})


def test_the_refusal_does_not_repeat_a_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"FUNDS_ADMIN_TOKEN": "secret"})
    assert "secret" not in str(caught.value)
