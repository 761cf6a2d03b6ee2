"""Another project uses the kit and the client as its developers would: from wheels, in an environment of its own."""

import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from tests.support.servers import ROOT, clean_environment

pytestmark = pytest.mark.timeout(600)  # wheels are built, and three services started

OUTSIDE = Path(__file__).parent / "outside"
SOURCES = ("pyproject.toml", "README.md", "service", "migrations", "deploy")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheels of the service, the kit, the client and the project, built here.

    Everything else that they depend on is not installed but found where the tests of this repository have it: a path
    file leads to that folder, behind the environment's own. The path files *of* that folder are not read, so the
    source of the service, which it has as an editable installation, is out of reach.
    """
    work = tmp_path_factory.mktemp("outside")
    copy = work / "copy"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, copy / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, copy / name)
    shutil.copytree(OUTSIDE, work / "payroll")
    built = (copy, copy / "service" / "client", copy / "service" / "testing", work / "payroll")
    wheels = work / "wheels"
    offline = ("--no-deps", "--no-index")
    _run(*PIP, "wheel", "--no-build-isolation", *offline, "--wheel-dir", str(wheels), *map(str, built))
    _run(sys.executable, "-m", "venv", "--without-pip", str(work / "venv"))
    python = work / "venv" / "bin" / "python"
    _run(*PIP, "--python", str(python), "install", *offline, "--no-compile", *map(str, wheels.glob("*.whl")))
    packages = _run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(packages) / "locked-dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd or "/", env=_without_paths(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _without_paths() -> dict[str, str]:
    return {name: value for name, value in clean_environment({}).items() if name != "PYTHONPATH"}


def test_nothing_of_this_repository_is_used(environment: Path) -> None:
    where = "import service as a, funds_client as b, funds_testing as c; print(a.__file__, b.__file__, c.__file__)"
    for file in _run(str(environment), "-c", where).split():
        assert Path(file).is_relative_to(environment.parents[1]), file


def test_the_kit_is_released_with_the_service_and_the_client() -> None:
    folders = (ROOT, ROOT / "service" / "client", ROOT / "service" / "testing")
    service, client, kit = (tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in folders)
    assert service["version"] == client["version"] == kit["version"]
    assert f"funds-transfer-service[embedded]=={kit['version']}" in kit["dependencies"]
    assert kit["optional-dependencies"]["client"] == [f"funds-client=={kit['version']}"]


def test_its_tests_pass_side_by_side_and_find_the_mistake(environment: Path) -> None:
    command = (str(environment), "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", "-n2")
    told = _run(*command, cwd=environment.parents[2] / "payroll")
    assert "= 8 passed, 2 xfailed in " in told, told
