"""Dependencies: each is on the page with its reason and its licence, and no page says more than there is."""

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest

from tests.support.servers import ROOT

DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / "service" / "docs" / "dependencies.md").read_text()

NEEDED = "What the service needs"
BROUGHT = "What these bring"
EXTRAS = ("embedded", "docs", "oidc", "telemetry", "dev", "audit")
RUNTIME = (NEEDED, *(f"Extra `{extra}`" for extra in EXTRAS[:4]), BROUGHT)

# What packages without a licence expression (PEP 639) say instead, in a field of free text or as a classifier.
SPELLED = {
    "Apache-2.0": {"Apache", "Apache License 2.0", "Apache Software License"},
    "BSD-2-Clause": {"BSD 2-Clause License"},
    "BSD-3-Clause": {"3-Clause BSD License", "BSD License"},
    "GPL-3.0-only": {"GPL-3.0"},
    "MIT": {"MIT License"},
    "MPL-2.0": {"Mozilla Public License 2.0 (MPL 2.0)"},
    "public domain": {"Public Domain"},
}
PERMISSIVE = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MIT-0", "PSF-2.0", "public domain"}


def _rows(title: str) -> dict[str, tuple[str, str]]:
    """The rows of the table under ``title``: package, and its reason and licence."""
    [section] = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| ([a-z0-9-]+) \| (.+) \| (.+) \|$", section, re.MULTILINE)
    return {name: (why, licence) for name, why, licence in rows if name != "package"}


def _names(requirements: list[str]) -> set[str]:
    """The packages of ``requirements``, without the service itself, whose extras contain each other."""
    names = {re.split(r"[^a-z0-9.-]", requirement, maxsplit=1)[0].replace(".", "-") for requirement in requirements}
    return names - {PROJECT["name"]}


def _locked(file: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", (DEPLOY / file).read_text(), re.MULTILINE))


TITLES = [NEEDED, BROUGHT, *(f"Extra `{extra}`" for extra in EXTRAS)]
LICENCES = {name: licence for title in TITLES for name, (_, licence) in _rows(title).items()}


def test_every_package_has_its_reason_on_the_page() -> None:
    assert PROJECT["optional-dependencies"].keys() == set(EXTRAS)
    assert _rows(NEEDED).keys() == _names(PROJECT["dependencies"])
    for extra in EXTRAS:
        named = _names(PROJECT["optional-dependencies"][extra])
        if extra == "dev":
            named |= _locked("requirements-schemas.txt")
        assert _rows(f"Extra `{extra}`").keys() == named, extra


def test_what_is_installed_with_them_is_on_the_page_too() -> None:
    named = {name for title in RUNTIME for name in _rows(title)}
    assert named == _locked("requirements.txt")


def test_the_reason_that_is_given_for_an_indirect_package_is_a_package() -> None:
    known = _locked("requirements.txt")
    for name, (by, _) in _rows(BROUGHT).items():
        packages = by.removesuffix(", on Windows").split(", ")
        assert set(packages) <= known or name in {"setuptools", "typing-extensions"}, name


@pytest.mark.parametrize("name", LICENCES)
def test_the_licence_is_the_one_that_the_package_states(name: str) -> None:
    try:
        stated = metadata(name)
    except PackageNotFoundError:
        pytest.skip("not installed here")
    licence = LICENCES[name]
    if "License-Expression" in stated:
        assert stated["License-Expression"] == licence
        return
    said = {text.splitlines()[0] for text in stated.get_all("License", []) if text}
    said |= {one.rpartition(" :: ")[2] for one in stated.get_all("Classifier", []) if one.startswith("License ::")}
    assert ({licence} | SPELLED.get(licence, set())) & said, said


def test_nothing_that_is_installed_asks_for_more_than_notices() -> None:
    terms = {
        name: set(re.split(r" (?:AND|OR) ", licence)) - PERMISSIVE
        for title in RUNTIME
        for name, (_, licence) in _rows(title).items()
    }
    assert {name: more for name, more in terms.items() if more} == {"certifi": {"MPL-2.0"}}  # which the page explains


def test_the_service_states_its_own_licence() -> None:
    [file] = PROJECT["license-files"]
    assert PROJECT["license"] == "Apache-2.0"
    assert (ROOT / file).read_text().split("\n", 3)[1].strip() == "Apache License"


def test_the_versions_that_are_tested_are_those_of_production() -> None:
    pinned = {file: dict(re.findall(r"^([a-z0-9-]+)==(\S+)", file.read_text(), re.MULTILINE)) for file in _locks()}
    tested = pinned[DEPLOY / "requirements-dev.txt"]
    for file, versions in pinned.items():
        others = {name: version for name, version in versions.items() if tested.get(name, version) != version}
        assert others == {}, file.name


def _locks() -> list[Path]:
    return sorted(DEPLOY.glob("requirements*.txt"))


def test_no_lock_says_where_packages_come_from() -> None:
    for file in _locks():
        assert not re.search(r"https?://|--(?:extra-)?index-url|--find-links", file.read_text()), file.name


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which make finds all its tools installed; pip-audit is still to be written."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "deploy").mkdir()
    for file in _locks():
        (tmp_path / "deploy" / file.name).touch()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for stamp in (".created", ".development", ".audit"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ('echo "$*" | grep -q -- --strict', ""),
        ("while [ $1 != --output ]; do shift; done; echo 'leaky 1.0' > $2; exit 1", "leaky 1.0"),
        ("echo 'no such host' >&2; exit 1", "could not be asked"),
    ],
    ids=["nothing is known", "a vulnerability is known", "the service does not answer"],
)
def test_an_audit_that_did_not_take_place_does_not_pass(checkout: Path, script: str, told: str) -> None:
    tool = checkout / ".venv" / "bin" / "pip-audit"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    done = subprocess.run(["make", "audit"], cwd=checkout, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (not told), done.stdout + done.stderr
    assert told in done.stdout + done.stderr
