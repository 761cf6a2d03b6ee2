"""The guide for auditors: what it says to type answers what it says."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import ROOT, RunningService, clean_environment, free_port

GUIDE = ROOT / "service" / "docs" / "auditors.md"
QUESTIONS = 10


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """``make run``, in a folder of its own."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    settings = {"FUNDS_DATA_DIR": str(tmp_path / ".data"), "FUNDS_PORT": str(free_port())}
    service = RunningService(settings, tmp_path / "serve.log")
    service.wait_until_ready()
    yield service
    service.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide asks with curl, which is not installed")
def test_everything_in_the_guide_for_auditors_works(service: RunningService, tmp_path: Path) -> None:
    text = GUIDE.read_text()
    assert re.findall(r"(?m)^## (\d+)\. .*$", text) == [str(number + 1) for number in range(QUESTIONS)]
    script = "\n".join(re.findall(r"(?s)```sh\n(.*?)```", text))

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=clean_environment({"API": service.url}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "demo: sound" in done.stdout
    for file in (tmp_path / "audit").glob("*.json"):
        assert json.loads(file.read_text()), file
