import secrets
import traceback
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from service.audit.log_keys import LogKeys
from service.audit.witnesses import Witness, witnesses_of
from service.errors import SettingsError
from service.proofs.keys import KeyKind, SignerKey
from service.settings import PREFIX, SECRETS, Settings
from service.strength import BITS_MIN, estimated_bits
from tests.support.servers import ROOT

STRONG = secrets.token_urlsafe(32)
WITNESS_KEY = SignerKey.generate("witness.example/w1", KeyKind.WITNESS).verifier_key
WITNESS = f"{WITNESS_KEY} https://witness.example/prefix"


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


def test_the_rules_are_told_what_is_allowed() -> None:
    policy = Settings.from_environment({"FUNDS_CLOCK_AHEAD_SECONDS_MAX": "0.5"}).policy
    assert policy.clock_ahead_max == timedelta(milliseconds=500)
    assert Settings().policy.clock_ahead_max == timedelta(seconds=5)


@pytest.mark.parametrize("prefix", ["/funds", "/bank/funds-2", "/A_b/c"])
def test_a_path_prefix(prefix: str) -> None:
    settings = Settings.from_environment({"FUNDS_PATH_PREFIX": prefix, "FUNDS_PATH_PREFIX_STRIPPED": "true"})
    assert (settings.path_prefix, settings.path_prefix_stripped) == (prefix, True)


def test_witnesses_stand_in_lines_or_between_commas() -> None:
    other = SignerKey.generate("other.example", KeyKind.WITNESS).verifier_key
    for between in (",", ", ", "\n", ",\n  "):
        text = f"{WITNESS}/{between}{other} http://10.0.0.7:8080{between}"
        named = witnesses_of(Settings.from_environment({"FUNDS_LOG_WITNESSES": text}))
        expected = [
            Witness(WITNESS_KEY, "https://witness.example/prefix"),
            Witness(other, "http://10.0.0.7:8080"),
        ]
        assert named == expected
    assert list(witnesses_of(Settings())) == []


@pytest.mark.parametrize(
    ("witnesses", "reason"),
    [
        (f"{SignerKey.generate('log.example').verifier_key} https://a.example", "The key of a log cannot be"),
        (WITNESS.replace("w1", "w2"), "The key ID is not that of"),
        (f"{WITNESS},{WITNESS}", "two of them have the same key"),
    ],
    ids=["that of a log", "of another name", "twice"],
)
def test_a_key_that_no_witness_can_have(witnesses: str, reason: str) -> None:
    settings = Settings.from_environment({"FUNDS_LOG_WITNESSES": witnesses})
    with pytest.raises(SettingsError, match=f"^FUNDS_LOG_WITNESSES: {reason}"):
        witnesses_of(settings)


def test_further_keys_that_verify() -> None:
    log = SignerKey.generate("log.example").verifier_key
    settings = Settings.from_environment({"FUNDS_LOG_VERIFIER_KEYS": f"{log},\n{WITNESS_KEY}\n"})
    assert LogKeys.of(settings) == LogKeys([log], [WITNESS_KEY])
    assert LogKeys.of(Settings()) == LogKeys([], [])
    wrong = Settings.from_environment({"FUNDS_LOG_VERIFIER_KEYS": str(log).replace("log", "logs")})
    with pytest.raises(SettingsError, match=r"^FUNDS_LOG_VERIFIER_KEYS: The key ID is not"):
        LogKeys.of(wrong)
    for refused in (f"{log}, log.example", SignerKey.generate("log.example").secret_text()):
        with pytest.raises(SettingsError, match=r"^FUNDS_LOG_VERIFIER_KEYS: [aA] verifier key is"):
            Settings.from_environment({"FUNDS_LOG_VERIFIER_KEYS": refused})


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
        ("FUNDS_CLOCK_AHEAD_SECONDS_MAX", "-1"),
        ("FUNDS_CLOCK_AHEAD_SECONDS_MAX", "3601"),
        ("FUNDS_WORKERS", "0"),
        ("FUNDS_WORKERS", "1.5"),
        ("FUNDS_LOG_LEVEL", "loud"),
        ("FUNDS_ADMIN_TOKEN", "short"),
        ("FUNDS_DRAIN_TIMEOUT_SECONDS", "0"),
        ("FUNDS_DRAIN_TIMEOUT_SECONDS", "nan"),
        ("FUNDS_APPLICATION_NAME", "x" * 64),
        ("FUNDS_LOG_ORIGIN", "bank.example/funds\n"),
        ("FUNDS_LOG_WITNESSES", "https://witness.example"),
        ("FUNDS_LOG_WITNESSES", f"{WITNESS},{WITNESS_KEY}"),
        ("FUNDS_LOG_WITNESSES", WITNESS.replace("https", "ftp")),
        ("FUNDS_LOG_WITNESSES", WITNESS.replace("https://", "https://user:S3cr@")),
        ("FUNDS_LOG_WITNESSES", f"{WITNESS} {WITNESS}"),
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


def test_traces_need_what_records_them(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"FUNDS_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}
    assert Settings.from_environment(environment).traces_endpoint == environment["FUNDS_TRACES_ENDPOINT"]
    monkeypatch.setattr("service.settings.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"traces need OpenTelemetry: install funds-transfer-service\[telemetry\]"):
        Settings.from_environment(environment)


def test_proxies_of_client_certificates() -> None:
    given = Settings.from_environment({"FUNDS_CLIENT_CERTIFICATE_PROXIES": "10.0.0.7, 10.1.0.0/16,fd00::/8"})
    assert [str(one) for one in given.client_certificate_networks] == ["10.0.0.7/32", "10.1.0.0/16", "fd00::/8"]
    for wrong in ("proxy.example", "10.0.0.7/16", "10.0.0.0/33", "0.0.0.0/0", "::/0", "10.0.0.7 10.0.0.8"):
        with pytest.raises(SettingsError, match=r"^FUNDS_CLIENT_CERTIFICATE_PROXIES: a "):
            Settings.from_environment({"FUNDS_CLIENT_CERTIFICATE_PROXIES": wrong})


OIDC = {
    "FUNDS_OIDC_ISSUER": "https://issuer.example/realm",
    "FUNDS_OIDC_AUDIENCES": "funds, funds-too",
    "FUNDS_OIDC_KEYS_FILE": "/etc/funds/keys.json",
}


def test_an_issuer_needs_what_verifies_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_environment(OIDC)
    assert settings.oidc_audience_names == ["funds", "funds-too"]
    assert settings.oidc_algorithm_names == ["RS256", "PS256", "ES256", "EdDSA"]
    monkeypatch.setattr("service.settings.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"need joserfc: install funds-transfer-service\[oidc\]"):
        Settings.from_environment(OIDC)


@pytest.mark.parametrize(
    "algorithms",
    ["none", "None", "HS256", "RS256,HS256", "RS256,none", "ES256K", "RS1", "RSA-OAEP", ",", "dir", "rs256"],
)
def test_an_issuer_signs_with_keys_that_have_a_public_part(algorithms: str) -> None:
    with pytest.raises(SettingsError, match=r"^FUNDS_OIDC_ALGORITHMS: an issuer signs by some of ES256, "):
        Settings.from_environment(OIDC | {"FUNDS_OIDC_ALGORITHMS": algorithms})


@pytest.mark.parametrize(
    "endpoint",
    ["https://issuer.example/keys", "http://localhost:80/keys", "http://127.0.0.1/k", "http://[::1]:8080/keys"],
)
def test_the_keys_of_an_issuer_are_read_in_private(endpoint: str) -> None:
    given = OIDC | {"FUNDS_OIDC_KEYS_FILE": "", "FUNDS_OIDC_KEYS_ENDPOINT": endpoint}
    assert Settings.from_environment(given).oidc_keys_endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://issuer.example/keys",
        "http://127.0.0.1.issuer.example/keys",
        "http://localhost@issuer.example/keys",
        "http://10.0.0.7/keys",
        "https://user:S3cr@issuer.example/keys",
        "https://issuer.example/keys?key=S3cr",
        "https://issuer.example/keys\n",
        "file:///etc/keys",
        "issuer.example",
    ],
)
def test_an_endpoint_of_keys_that_is_refused(endpoint: str) -> None:
    with pytest.raises(SettingsError, match=r"^FUNDS_OIDC_KEYS_ENDPOINT: ") as caught:
        Settings.from_environment(OIDC | {"FUNDS_OIDC_KEYS_FILE": "", "FUNDS_OIDC_KEYS_ENDPOINT": endpoint})
    assert "S3cr" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"FUNDS_OIDC_ISSUER": ""}, "^FUNDS_OIDC_AUDIENCES: it says nothing without FUNDS_OIDC_ISSUER$"),
        ({"FUNDS_OIDC_AUDIENCES": ""}, "^FUNDS_OIDC_ISSUER: say with FUNDS_OIDC_AUDIENCES"),
        ({"FUNDS_OIDC_AUDIENCES": ", "}, "^FUNDS_OIDC_ISSUER: say with FUNDS_OIDC_AUDIENCES"),
        ({"FUNDS_OIDC_KEYS_FILE": ""}, "^FUNDS_OIDC_ISSUER: its keys are read at one place"),
        ({"FUNDS_OIDC_KEYS_ENDPOINT": "https://a.example"}, "^FUNDS_OIDC_ISSUER: its keys are read at one place"),
        ({"FUNDS_OIDC_CLIENT_PREFIX": "oidc"}, "^FUNDS_OIDC_CLIENT_PREFIX: "),
        ({"FUNDS_OIDC_CLIENT_PREFIX": ":"}, "^FUNDS_OIDC_CLIENT_PREFIX: "),
        ({"FUNDS_OIDC_CLIENT_PREFIX": "OIDC:"}, "^FUNDS_OIDC_CLIENT_PREFIX: "),
        ({"FUNDS_OIDC_CLIENT_CLAIM": "a b"}, "^FUNDS_OIDC_CLIENT_CLAIM: "),
        ({"FUNDS_OIDC_LEDGERS_DEFAULT": "every"}, "^FUNDS_OIDC_LEDGERS_DEFAULT: "),
        ({"FUNDS_OIDC_LEEWAY_SECONDS": "301"}, "^FUNDS_OIDC_LEEWAY_SECONDS: "),
        ({"FUNDS_OIDC_LIFETIME_SECONDS_MAX": "0"}, "^FUNDS_OIDC_LIFETIME_SECONDS_MAX: "),
        ({"FUNDS_OIDC_KEYS_INTERVAL_SECONDS": "1"}, "^FUNDS_OIDC_KEYS_INTERVAL_SECONDS: "),
        ({"FUNDS_OIDC_ISSUER": "issuer.example"}, "^FUNDS_OIDC_ISSUER: "),
    ],
    ids=str,
)
def test_what_is_said_of_an_issuer_must_be_whole(changed: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        Settings.from_environment(OIDC | changed)


def test_an_endpoint_holds_no_secret() -> None:
    for wrong in ("collector:4318", "http://user:secret@collector/v1/traces", "http://collector/v1/traces?key=secret"):
        with pytest.raises(SettingsError, match="FUNDS_TRACES_ENDPOINT") as caught:
            Settings.from_environment({"FUNDS_TRACES_ENDPOINT": wrong})
        assert "secret" not in str(caught.value)


def test_the_refusal_does_not_repeat_a_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"FUNDS_ADMIN_TOKEN": "secret"})
    assert "secret" not in str(caught.value)


FIELDS = [field.name for field in msgspec.structs.fields(Settings)]


@pytest.mark.parametrize("name", FIELDS)
def test_no_refusal_repeats_a_value(name: str) -> None:
    """A secret may be given to any variable by mistake."""
    for value in ("S3cr", "S3cr'S3cr - at S3cr", 'S3cr "', " 'S3cr", "S3cr\0", "S3cr" * 1000):
        shown = ""
        try:
            shown = repr(Settings.from_environment({f"FUNDS_{name.upper()}": value}))
        except SettingsError:
            shown = traceback.format_exc()
        assert "S3cr" not in shown or name in {"host", "operations_host", "data_dir", "application_name", "log_origin"}


def test_what_may_hold_a_secret_is_named() -> None:
    suspicious = ("url", "token", "password", "secret", "key")
    assert {name for name in FIELDS if any(word in name.split("_") for word in suspicious)} == set(SECRETS)


def test_settings_do_not_show_their_secrets() -> None:
    settings = msgspec.convert(dict.fromkeys(SECRETS, "S3cr" * 8), Settings)
    for shown in (repr(settings), str(settings), f"{settings}", repr([settings]), str(settings.__rich_repr__())):
        assert "S3cr" not in shown
        assert "***" in shown
    assert "read_database_url=None" in repr(Settings())


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_a_file(tmp_path: Path, name: str, ending: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes((STRONG + ending).encode())
    assert getattr(Settings.from_environment({f"FUNDS_{name.upper()}_FILE": str(path)}), name) == STRONG


def test_no_other_setting_is_read_from_a_file() -> None:
    with pytest.raises(SettingsError, match=r"^FUNDS_PORT_FILE is no setting of this service$"):
        Settings.from_environment({"FUNDS_PORT_FILE": "/dev/null"})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the file cannot be read: no such file or directory"),
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"S3cr\xff", "the file is no text in UTF-8"),
        (b"S3cr" * 5000, "the file has more than 8192 bytes, which no secret has"),
    ],
)
def test_a_file_without_a_secret(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "S3cr"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"FUNDS_DATABASE_URL_FILE": str(path)})
    assert str(caught.value) == f"FUNDS_DATABASE_URL_FILE: {reason}"


@pytest.mark.parametrize("path", ["/", "/dev/zero", "S3cr\0", "S3cr" * 2000])
def test_a_file_that_is_none(path: str) -> None:
    with pytest.raises(SettingsError, match=r"^FUNDS_ADMIN_TOKEN_FILE: the file") as caught:
        Settings.from_environment({"FUNDS_ADMIN_TOKEN_FILE": path})
    assert "S3cr" not in str(caught.value)


def test_a_secret_given_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="FUNDS_ADMIN_TOKEN and FUNDS_ADMIN_TOKEN_FILE are both set"):
        Settings.from_environment({"FUNDS_ADMIN_TOKEN": STRONG, "FUNDS_ADMIN_TOKEN_FILE": "/dev/null"})


@pytest.mark.parametrize(
    "token",
    [
        "a" * 32,
        "ab" * 32,
        "0" * 63 + "1",
        "0123456789abcdef" * 4,
        "fedcba9876543210" * 2,
        "00112233445566778899aabbccddeeff",
        "12345678901234567890123456789012",
        "deadbeef" * 8,
        "password" * 5,
        "Pa$$w0rd" * 4,
        "changeme-changeme-changeme-changeme",
        "my-super-secret-development-token-1234567890",
        "this-is-a-very-secret-admin-token-for-funds",
        "S3cr3tAdm1nT0ken4FundsS3rv1ce2026",
        "replace-this-with-a-random-32-char-string",
        "FundsTransferServiceAdminToken01",
        "qwertyuiopasdfghjklzxcvbnm123456",
        "1q2w3e4r5t6y7u8i9o0p1q2w3e4r5t6y",
        "00000000-0000-0000-0000-000000000001",
        "correct-horse-battery-staple-funds",
        "a1b2c3d4e5f6" * 3,
        "Summer2026!" * 3,
    ],
)
def test_an_admin_token_that_can_be_guessed_is_refused(token: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"FUNDS_ADMIN_TOKEN": token})
    assert "make one with: openssl rand -hex 32" in str(caught.value)
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: secrets.token_urlsafe(32),
        lambda: secrets.token_hex(32),
        lambda: secrets.token_hex(16),
        lambda: str(uuid.uuid4()),
    ],
)
def test_random_admin_tokens_are_taken(make: Callable[[], str]) -> None:
    for _ in range(1000):
        assert estimated_bits(make()) > BITS_MIN


@pytest.mark.parametrize("sign", [" ", "\n", "\t", "é", "\x7f"])
def test_an_admin_token_that_cannot_be_sent_is_refused(sign: str) -> None:
    with pytest.raises(SettingsError, match="only visible ASCII"):
        Settings.from_environment({"FUNDS_ADMIN_TOKEN": f"{STRONG}{sign}{STRONG}"})


def test_every_setting_is_documented() -> None:
    page = (ROOT / "service" / "docs" / "configuration.md").read_text()
    names = [f"`{PREFIX}{name.upper()}`" for name in Settings.__struct_fields__]
    assert [name for name in names if name not in page] == []
