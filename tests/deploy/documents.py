"""The documents of ``deploy/``, and what any of them must keep to."""

from collections.abc import Iterable, Mapping
from typing import Any

from ruamel.yaml import YAML

from service.settings import PREFIX, SECRETS, Settings
from tests.support.servers import ROOT

DEPLOY = ROOT / "deploy"

Document = dict[str, Any]


def read(name: str) -> Document:
    """The one document of a file of ``deploy/``."""
    [document] = YAML(typ="safe").load_all(DEPLOY / name)
    found: Document = document
    return found


def unknown_settings(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that the service would not start with."""
    known = {*Settings.__struct_fields__, *(f"{secret}_file" for secret in SECRETS)}
    settings = (name for name in names if name.startswith(PREFIX))
    return [name for name in settings if name.removeprefix(PREFIX).lower() not in known]


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that the service makes of ``environment``, without its secrets."""
    secrets = {f"{PREFIX}{secret}".upper() + ending for secret in SECRETS for ending in ("", "_FILE")}
    return Settings.from_environment({name: str(value) for name, value in environment.items() if name not in secrets})


def stop_seconds_max(settings: Settings) -> float:
    """How long a stop takes at most, from SIGTERM on, as deploy/Containerfile says."""
    return settings.drain_delay_seconds + 2 * settings.drain_timeout_seconds + 5
