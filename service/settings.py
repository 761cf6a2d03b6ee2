"""Every setting of the service, read from ``FUNDS_*`` environment variables. Names end in units: ``_seconds``."""

import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

from service.domain.limits import HOLD_SECONDS_MAX
from service.domain.policy import Policy
from service.errors import SettingsError
from service.strength import BITS_MIN, estimated_bits

PREFIX = "FUNDS_"

SECRETS = (
    "admin_token",
    "console_key",
    "database_url",
    "log_key",
    "migration_database_url",
    "operator_database_url",
    "read_database_url",
)
"""The settings that hold a secret. Each may be read from a file, whose path is in the variable with ``_FILE`` added to
its name. No error and no ``repr`` shows one."""

_FILE = "_file"
_SECRET_BYTES_MAX = 8192
_QUOTED = re.compile(r" ['\"]| - at ")
_VISIBLE = re.compile(r"[!-~]+")
_ORIGIN = r"^[A-Za-z0-9._~-]+(?::[0-9]+)?(?:/[A-Za-z0-9._~-]+)*\Z"
_VERIFIER_KEY = re.compile(r"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*")
_TRACES_ENDPOINT = r"^https?://[^\s@?#]+\Z"
_WITNESS = re.compile(rf"{_VERIFIER_KEY.pattern} +https?://[^\s@?#]+")
_ISSUER = r"^https?://[^\s@?#]+\Z"
_KEYS_ENDPOINT = r"^(?:https://[^\s@?#/]+|http://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]+)?)(?:/[^\s@?#]*)?\Z"
_CLIENT_PREFIX = r"^[a-z][a-z0-9-]*:\Z"
_BETWEEN_PARTS = re.compile(r"[,\n]")
_PATH_PREFIX = re.compile(r"(?:/[A-Za-z0-9_-]+)+")

OIDC_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
"""By what an issuer may sign: with keys of which only the public part is known here."""

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Milliseconds = Annotated[int, Meta(ge=1, le=3_600_000)]
Bytes = Annotated[int, Meta(ge=1024, le=1 << 30)]
Claim = Annotated[str, Meta(pattern=r"^[!-~]+\Z", max_length=200)]


class RetryLimits(msgspec.Struct, frozen=True):
    """How many attempts a unit of work has at most, and how much time for all of them."""

    attempts_max: int
    deadline_seconds: float


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one service process. Field ``pool_size`` is variable ``FUNDS_POOL_SIZE``, and so on.

    ``database_url`` is what the service itself uses (role without UPDATE or DELETE on append-only tables);
    ``migration_database_url`` is what ``funds migrate`` uses (the owner) and falls back to ``database_url``;
    ``operator_database_url`` is what ``funds tokens`` uses (the only role but the owner that may write tokens) and
    falls back to ``migration_database_url``, then to ``database_url``;
    ``read_database_url`` may name a replica for reads and falls back to ``database_url``. Without
    ``database_url``, the service uses the embedded PostgreSQL, whose data is under ``data_dir``.

    ``path_prefix`` is what every path begins with that callers use, as a proxy in front of the service has it
    (``/funds``). With ``path_prefix_stripped``, the proxy removes it before it passes a request on.
    """

    database_url: str | None = None
    migration_database_url: str | None = None
    operator_database_url: str | None = None
    read_database_url: str | None = None
    data_dir: Path = Path(".data")

    host: str = "127.0.0.1"
    port: Port = 8000
    path_prefix: str = ""
    path_prefix_stripped: bool = False
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    admin_token: Annotated[str, Meta(min_length=32, max_length=512)] | None = None
    client_certificate_proxies: str = ""
    oidc_issuer: Annotated[str, Meta(pattern=_ISSUER, max_length=500)] | None = None
    oidc_audiences: str = ""
    oidc_algorithms: str = "RS256,PS256,ES256,EdDSA"
    oidc_keys_endpoint: Annotated[str, Meta(pattern=_KEYS_ENDPOINT, max_length=500)] | None = None
    oidc_keys_file: Path | None = None
    oidc_keys_interval_seconds: Annotated[float, Meta(ge=10, le=86_400)] = 300.0
    oidc_client_claim: Claim = "sub"
    oidc_client_prefix: Annotated[str, Meta(pattern=_CLIENT_PREFIX, max_length=32)] = "oidc:"
    oidc_scopes_claim: Claim = "scope"
    oidc_ledgers_claim: Claim = "ledgers"
    oidc_ledgers_default: Literal["none", "all"] = "none"
    oidc_debit_accounts_claim: Claim | None = None
    oidc_debit_codes_claim: Claim | None = None
    oidc_leeway_seconds: Annotated[float, Meta(ge=0, le=300)] = 30.0
    oidc_lifetime_seconds_max: Seconds = 7_200.0
    console: bool = True
    console_key: Annotated[str, Meta(min_length=32, max_length=512)] | None = None
    console_session_seconds_max: Seconds = 28_800.0
    console_idle_seconds_max: Seconds = 900.0
    log_key: str | None = None
    log_origin: Annotated[str, Meta(pattern=_ORIGIN, max_length=200)] = "localhost/funds"
    log_seal_interval_seconds: Seconds = 1.0
    log_verifier_keys: str = ""
    log_witnesses: str = ""
    log_witness_interval_seconds: Seconds = 5.0
    log_witness_timeout_seconds: Seconds = 10.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_requests: bool = True
    metrics: bool = False
    traces_endpoint: Annotated[str, Meta(pattern=_TRACES_ENDPOINT, max_length=500)] | None = None
    trace_share: Annotated[float, Meta(ge=0, le=1)] = 0.01
    request_bytes_max: Bytes = 64 * 1024
    drain_delay_seconds: Annotated[float, Meta(ge=0, le=3_600)] = 0.0
    drain_timeout_seconds: Seconds = 20.0

    operations_host: str = "127.0.0.1"
    operations_port: Port | None = None
    connections_max: Count = 10_000
    idle_timeout_seconds: Seconds = 75.0
    head_timeout_seconds: Seconds = 10.0
    body_timeout_seconds: Seconds = 10.0
    write_timeout_seconds: Seconds = 10.0
    rate_bytes_per_second_min: Annotated[int, Meta(ge=1, le=1 << 30)] = 16 * 1024

    pool_size: Count = 4
    pool_max_overflow: Annotated[int, Meta(ge=0, le=1000)] = 4
    look_up_pool_size: Count = 4
    administration_pool_size: Count = 4
    dry_run_pool_size: Count = 2
    client_requests_max: Count = 512
    client_requests_per_second: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    file_seconds_max: Seconds = 1_800.0
    event_wait_seconds_max: Seconds = 30.0
    event_stream_seconds_max: Seconds = 300.0
    event_followers_max: Count = 4_000
    client_event_followers_max: Count = 1_000
    pool_timeout_seconds: Seconds = 2.0
    pool_recycle_seconds: Annotated[int, Meta(ge=1)] = 1800
    connect_timeout_seconds: Seconds = 2.0
    statement_timeout_ms: Milliseconds = 3_000
    lock_timeout_ms: Milliseconds = 1_000
    application_name: Annotated[str, Meta(min_length=1, max_length=63)] = "funds"

    queue_commands_max: Count = 20_000
    queue_wait_seconds_max: Seconds = 3.0
    batch_commands_max: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    batches_in_flight_max: Annotated[int, Meta(ge=1, le=64)] = 4
    commit_attempts_max: Annotated[int, Meta(ge=1, le=100)] = 8
    commit_deadline_seconds: Seconds = 4.0
    read_attempts_max: Annotated[int, Meta(ge=1, le=100)] = 4
    read_deadline_seconds: Seconds = 4.0

    hold_seconds_default: Annotated[int, Meta(ge=1)] = 7 * 86_400
    hold_seconds_max: Annotated[int, Meta(ge=1, le=HOLD_SECONDS_MAX)] = 31 * 86_400
    hold_sweep_interval_seconds: Seconds = 0.25
    hold_sweep_holds_max: Annotated[int, Meta(ge=1, le=10_000)] = 500
    effective_past_days_max: Annotated[int, Meta(ge=0, le=36_600)] = 366
    effective_future_days_max: Annotated[int, Meta(ge=0, le=36_600)] = 366
    clock_ahead_seconds_max: Annotated[float, Meta(ge=0, le=3_600)] = 5.0

    verify_share: Annotated[float, Meta(gt=0, le=1)] = 0.01
    verify_interval_seconds: Seconds = 60.0
    stop_on_damage: bool = False

    def __post_init__(self) -> None:
        """Check what the types of the fields cannot express. Raises ValueError."""
        if self.path_prefix and not _PATH_PREFIX.fullmatch(self.path_prefix):
            raise ValueError(
                "a path prefix begins with a slash, ends without one, and has letters, digits, - and _ in between:"
                " /funds, or /bank/funds"
            )
        if self.traces_endpoint is not None and find_spec("opentelemetry") is None:
            raise ValueError(
                "traces need OpenTelemetry: install funds-transfer-service[telemetry], or set no URL of them"
            )
        if self.oidc_issuer is not None and find_spec("joserfc") is None:
            raise ValueError(
                "tokens of an issuer need joserfc: install funds-transfer-service[oidc], or name no issuer of them"
            )
        if not self.oidc_algorithm_names or not OIDC_ALGORITHMS.issuperset(self.oidc_algorithm_names):
            raise ValueError(f"an issuer signs by some of {', '.join(sorted(OIDC_ALGORITHMS))}: between commas")
        if not all(network.prefixlen for network in self.client_certificate_networks):
            raise ValueError("a network of every address has anybody in it, and is no proxy's")
        if not all(_VERIFIER_KEY.fullmatch(text) for text in self.log_verifier_key_texts):
            raise ValueError(
                "a verifier key is a name, a key ID and base64, with a plus between them: several are separated by"
                " commas or stand in lines of their own"
            )
        if not all(_WITNESS.fullmatch(text) for text in self.log_witness_texts):
            raise ValueError(
                "a witness is its verifier key, a space and the URL below which it is asked: several are separated by"
                " commas or stand in lines of their own"
            )

    @property
    def served_prefix(self) -> str:
        """The prefix of the paths in requests as the service receives them; "" for none."""
        return "" if self.path_prefix_stripped else self.path_prefix

    @property
    def client_certificate_networks(self) -> list[IPv4Network | IPv6Network]:
        """The addresses and networks of proxies that are believed what they say of a caller's certificate."""
        try:
            return [ip_network(text) for text in _parts(self.client_certificate_proxies)]
        except ValueError:
            raise ValueError(
                "a proxy is an address or a network (10.0.0.7, 10.1.0.0/16): several are separated by commas"
            ) from None

    @property
    def oidc_audience_names(self) -> list[str]:
        """The audiences that a token of the issuer may be meant for."""
        return _parts(self.oidc_audiences)

    @property
    def oidc_algorithm_names(self) -> list[str]:
        """The algorithms by which a token of the issuer may be signed."""
        return _parts(self.oidc_algorithms)

    @property
    def log_verifier_key_texts(self) -> list[str]:
        """The text of each verifier key that is named beside the key of the log and the witnesses."""
        return _parts(self.log_verifier_keys)

    @property
    def log_witness_texts(self) -> list[str]:
        """The text of each witness: its verifier key, a space and its URL."""
        return _parts(self.log_witnesses)

    @property
    def commit_limits(self) -> RetryLimits:
        """The limits of attempts for units of work that write."""
        return RetryLimits(self.commit_attempts_max, self.commit_deadline_seconds)

    @property
    def read_limits(self) -> RetryLimits:
        """The limits of attempts for units of work that only read."""
        return RetryLimits(self.read_attempts_max, self.read_deadline_seconds)

    @property
    def policy(self) -> Policy:
        """The limits of this installation that the rules take."""
        return Policy(
            hold_duration_default=timedelta(seconds=min(self.hold_seconds_default, self.hold_seconds_max)),
            hold_duration_max=timedelta(seconds=self.hold_seconds_max),
            effective_past_max=timedelta(days=self.effective_past_days_max),
            effective_future_max=timedelta(days=self.effective_future_days_max),
            clock_ahead_max=timedelta(seconds=self.clock_ahead_seconds_max),
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from ``environment`` (by default the process's own). An empty value counts as none.

        Raises SettingsError, which names the variable and the rule that its value breaks.
        """
        source = os.environ if environment is None else environment
        values = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in source.items()
            if name.startswith(PREFIX) and value != ""
        }
        _read_files(values)
        unknown = sorted(values.keys() - set(cls.__struct_fields__))
        if unknown:
            raise SettingsError(f"{variable_of(unknown[0])} is no setting of this service")
        for name, value in values.items():
            try:
                msgspec.convert({name: value}, cls, strict=False, dec_hook=_from_text)
            except msgspec.ValidationError as error:
                # msgspec quotes a value that is not one of those allowed, and it may be a secret in the wrong variable.
                reason = _QUOTED.split(str(error), maxsplit=1)[0]
                raise SettingsError(f"{variable_of(name)}: {reason}") from None
        settings = msgspec.convert(values, cls, strict=False, dec_hook=_from_text)
        _refuse_weak(settings.admin_token)
        if settings.metrics and settings.operations_port is None:
            where = variable_of("operations_port")
            raise SettingsError(f"{variable_of('metrics')}: metrics are served on {where} alone")
        _check_issuer(settings, values)
        return settings

    def __repr__(self) -> str:
        """Return every setting with its value, secrets as ``***``."""
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return names and values, as msgspec does for the library rich, secrets as ``***``."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return [(name, "***" if name in SECRETS and value is not None else value) for name, value in values]


def given_by(name: str) -> Literal["default", "environment", "file"]:
    """Return what gives this process the value of setting ``name``."""
    if os.environ.get(variable_of(name)):
        return "environment"
    return "file" if name in SECRETS and os.environ.get(variable_of(name + _FILE)) else "default"


def given_by_file(secret: str) -> bool:
    """Return whether this process read the setting ``secret`` from a file."""
    return given_by(secret) == "file"


def _parts(texts: str) -> list[str]:
    """Return the parts of a setting that stand between commas or in lines of their own."""
    parts = (text.strip() for text in _BETWEEN_PARTS.split(texts))
    return [text for text in parts if text]


def variable_of(name: str) -> str:
    """Return the variable that gives setting ``name``."""
    return f"{PREFIX}{name.upper()}"


def _read_files(values: dict[str, str]) -> None:
    """Replace the paths of files in ``values`` by the secrets in the files."""
    for name in SECRETS:
        path = values.pop(name + _FILE, None)
        if path is None:
            continue
        variable = variable_of(name + _FILE)
        if name in values:
            raise SettingsError(f"{variable_of(name)} and {variable} are both set: keep one of them")
        values[name] = _secret_in(Path(path), variable)


def _secret_in(path: Path, variable: str) -> str:
    """Return the text of a file without the line break at its end. Raises SettingsError.

    The error does not name the path, which may be the secret itself in the wrong variable.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_SECRET_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "not a path").lower()
        raise SettingsError(f"{variable}: the file cannot be read: {reason}") from None
    if len(content) > _SECRET_BYTES_MAX:
        raise SettingsError(f"{variable}: the file has more than {_SECRET_BYTES_MAX} bytes, which no secret has")
    try:
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}: the file is no text in UTF-8") from None
    if not secret:
        raise SettingsError(f"{variable}: the file is empty")
    return secret


def _refuse_weak(admin_token: str | None) -> None:
    if admin_token is None:
        return
    how = "make one with: openssl rand -hex 32"
    if _VISIBLE.fullmatch(admin_token) is None:
        raise SettingsError(f"{variable_of('admin_token')}: only visible ASCII without spaces can be sent: {how}")
    if estimated_bits(admin_token) < BITS_MIN:
        raise SettingsError(
            f"{variable_of('admin_token')}: too easy to guess (repeated signs, sequences or known words): {how}"
        )


def _check_issuer(settings: Settings, given: Iterable[str]) -> None:
    """Check that what is said of an issuer is said of one, and all that must be. Raises SettingsError."""
    issuer = variable_of("oidc_issuer")
    if settings.oidc_issuer is None:
        for name in sorted(given):
            if name.startswith("oidc_"):
                raise SettingsError(f"{variable_of(name)}: it says nothing without {issuer}")
    elif not settings.oidc_audience_names:
        raise SettingsError(f"{issuer}: say with {variable_of('oidc_audiences')} for whom its tokens must be meant")
    elif (settings.oidc_keys_endpoint is None) == (settings.oidc_keys_file is None):
        places = f"{variable_of('oidc_keys_endpoint')} and {variable_of('oidc_keys_file')}"
        raise SettingsError(f"{issuer}: its keys are read at one place: set one of {places}")


def _from_text(kind: type, value: str) -> object:
    """Make a value of a type that msgspec does not know (a path) from its text."""
    return kind(value)
