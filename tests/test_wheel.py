"""The package as an operator installs it: a wheel, away from the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from service.storage.migrations import downgrade
from service.storage.schema import SCHEMA_REVISION
from tests.support.servers import ROLES_SQL, ROOT, TestDatabase

SOURCES = ("pyproject.toml", "README.md", "service", "migrations", "deploy")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline from a copy of the repository."""
    work = tmp_path_factory.mktemp("wheel")
    copy = work / "copy"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    _run(*PIP, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(work), str(copy))
    [built] = work.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder into which the wheel, and nothing else, is installed."""
    target = wheel.parent / "installed"
    _run(*PIP, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(target), str(wheel))
    return target


def _run(*command: str, **settings: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FUNDS_", "PYTHONPATH"))}
    done = subprocess.run(
        command, cwd="/", env=kept | settings, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_holds_every_module_and_nothing_at_the_top_but_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    others = (ROOT / "service" / "client", ROOT / "service" / "testing")  # distributions of their own
    modules = [path for path in (ROOT / "service").rglob("*.py") if not any(map(path.is_relative_to, others))]
    expected = {str(path.relative_to(ROOT)) for path in modules}
    expected |= {f"service/{path.relative_to(ROOT)}" for path in (ROOT / "migrations").rglob("*.py")}
    console = ROOT / "service" / "console"
    expected |= {str(path.relative_to(ROOT)) for kind in ("static", "templates") for path in (console / kind).iterdir()}
    assert held == expected | {"service/deploy/roles.sql"}


def test_a_wheel_carries_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        information = {name.partition(".dist-info/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        assert archive.read(information["licenses/service/LICENSE"]) == (ROOT / "service" / "LICENSE").read_bytes()
        assert "\nLicense-Expression: Apache-2.0\n" in archive.read(information["METADATA"]).decode()


def test_what_is_installed_is_what_is_tested(installed: Path) -> None:
    where = _run(sys.executable, "-c", "import service; print(service.__file__)", PYTHONPATH=str(installed))
    assert Path(where.strip()).is_relative_to(installed)


async def test_migrations_are_found_in_a_wheel(installed: Path, test_database: TestDatabase) -> None:
    await downgrade(test_database.owner_url, "base")
    told = _run(
        sys.executable,
        str(installed / "bin" / "funds"),
        "migrate",
        PYTHONPATH=str(installed),
        FUNDS_DATABASE_URL=test_database.owner_url,
    )
    assert told == f"The database schema went from 0000 to {SCHEMA_REVISION}.\n"


def test_the_roles_are_printed_from_a_wheel(installed: Path) -> None:
    told = _run(sys.executable, str(installed / "bin" / "funds"), "roles", PYTHONPATH=str(installed))
    assert told == ROLES_SQL.read_text()
