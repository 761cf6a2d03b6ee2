"""``deploy/compose.yaml`` and HAProxy's configuration: they fit each other and the service."""

import os
import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path

import pytest

from service.settings import PREFIX
from tests.deploy.documents import DEPLOY, Document, read, settings_of, stop_seconds_max, unknown_settings
from tests.deploy.schemas import compose_faults

COMPOSE = read("compose.yaml")
SERVICES: dict[str, Document] = COMPOSE["services"]
INSTANCES = {name: service for name, service in SERVICES.items() if name.startswith("service-")}
PROXY = SERVICES["proxy"]
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
OURS = ("migrate", "operator", *INSTANCES)


def test_compose_knows_every_member() -> None:
    assert compose_faults(COMPOSE) == []


@pytest.mark.parametrize(("member", "value"), [("stop_grace_perio", "60s"), ("tmpfs", 1), ("cap_drop", "ALL")], ids=str)
def test_what_is_wrong_with_a_service_is_found(member: str, value: object) -> None:
    damaged = deepcopy(COMPOSE)
    damaged["services"]["proxy"][member] = value
    found = compose_faults(damaged)
    assert found
    assert all(fault.startswith("$.services.proxy") for fault in found), found


def test_every_setting_is_one_of_the_service() -> None:
    assert len(INSTANCES) == 2
    for name in OURS:
        assert unknown_settings(SERVICES[name]["environment"]) == [], name


@pytest.mark.parametrize("name", INSTANCES)
def test_a_stop_has_the_time_to_drain(name: str) -> None:
    settings = settings_of(INSTANCES[name]["environment"])
    assert int(INSTANCES[name]["stop_grace_period"].removesuffix("s")) >= stop_seconds_max(settings)


@pytest.mark.parametrize("name", INSTANCES)
def test_instances_write_nothing_and_may_nothing(name: str) -> None:
    instance = INSTANCES[name]
    assert instance["read_only"] is True
    assert instance["cap_drop"] == ["ALL"]
    assert instance["security_opt"] == ["no-new-privileges:true"]
    assert instance["command"] == ["serve", "--no-migrate"]


def test_the_proxy_asks_each_instance_where_it_is() -> None:
    given = PROXY["environment"]
    for name, instance in zip("AB", INSTANCES.values(), strict=True):
        settings = settings_of(instance["environment"])
        address = instance["networks"]["default"]["ipv4_address"]
        assert given[f"{PREFIX}{name}"] == f"{address}:8000"
        assert given[f"{PREFIX}{name}_CHECK"] == address
        assert given[f"{PREFIX}{name}_CHECK_PORT"] == settings.operations_port
    named = set(re.findall(r"\$\{(FUNDS_\w+)", (DEPLOY / "haproxy.cfg").read_text()))
    assert named == {*given, "FUNDS_PROXY_BIND"}


def test_the_proxy_notices_a_stop_before_it_happens() -> None:
    fall = re.search(r"check inter (\d+)s fall (\d+)", (DEPLOY / "haproxy.cfg").read_text())
    assert fall is not None
    for instance in INSTANCES.values():
        assert settings_of(instance["environment"]).drain_delay_seconds > int(fall[1]) * int(fall[2]) + 1


def test_every_image_is_given_with_its_digest() -> None:
    for name, service in SERVICES.items():
        assert service["image"] == "funds" or re.fullmatch(r"\$\{[A-Z]+_IMAGE:\?.+\}", service["image"]), name


def test_files_that_are_mounted_are_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).is_file(), volume


@pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed (Debian: haproxy)")
def test_haproxy_takes_its_configuration_as_compose_gives_it() -> None:
    given = {name: str(value) for name, value in PROXY["environment"].items()}
    checked = subprocess.run(
        [str(HAPROXY), "-c", "-f", str(DEPLOY / "haproxy.cfg")],
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


def test_compose_files_lie_where_they_say() -> None:
    build = SERVICES["migrate"]["build"]
    assert (Path(DEPLOY, build["context"]).resolve() / build["dockerfile"]).is_file()
