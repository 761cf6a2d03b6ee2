"""The client as its users install it: a wheel that needs nothing of the service, and stands beside it."""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.support.servers import ROOT

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")
NEEDED = ("httpx", "httpcore", "h11", "anyio", "idna", "certifi", "msgspec", "typing_extensions")
"""What a client's installation has: what it depends on, and what that does. (Packages have no index here.)"""


def _run(*command: str, cwd: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FUNDS_", "PYTHONPATH"))}
    done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline from a copy of the repository's folder ``service``."""
    work = tmp_path_factory.mktemp("client")
    shutil.copytree(
        ROOT / "service", work / "service", symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "build")
    )
    options = ("--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(work))
    _run(*PIP, "wheel", *options, str(work / "service" / "client"), cwd=work)
    [built] = work.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path) -> str:
    """The interpreter of a fresh environment that has the wheel, and of the service nothing."""
    environment = wheel.parent / "environment"
    venv.create(environment, with_pip=False)
    [packages] = environment.glob("lib/*/site-packages")
    for name in NEEDED:
        for file in distribution(name).files or ():
            if not (packages / file.parts[0]).exists():
                (packages / file.parts[0]).symlink_to(Path(str(distribution(name).locate_file(file.parts[0]))))
    _run(*PIP, "--python", str(environment), "install", "--no-deps", "--no-index", str(wheel), cwd=wheel.parent)
    return str(environment / "bin" / "python")


def test_a_wheel_holds_the_package_and_what_it_shares_as_files(wheel: Path) -> None:
    package = ROOT / "service" / "client" / "funds_client"
    rooms = (package, package / "domain", package / "proofs", package / "wire")
    expected = {str(path.relative_to(package.parent)) for room in rooms for path in room.glob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    assert held.keys() == expected | {"funds_client/py.typed"}
    assert held["funds_client/wire/transfers.py"] == (ROOT / "service" / "wire" / "transfers.py").read_bytes()


def test_a_wheel_has_the_services_version_and_no_file_in_common_with_it(wheel: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    with zipfile.ZipFile(wheel) as archive:
        top = {name.partition("/")[0] for name in archive.namelist()}
    assert top == {"funds_client", f"funds_client-{version}.dist-info"}


def test_it_is_imported_where_there_is_no_service(python: str, wheel: Path) -> None:
    """Nor is anything loaded that only some need."""
    program = "import funds_client, importlib.util, sys; print(importlib.util.find_spec('service'), *sys.modules)"
    found, *loaded = _run(python, "-I", "-c", program, cwd=wheel.parent).split()
    assert found == "None"
    assert not {"cryptography", "funds_client.proofs"} & set(loaded)
