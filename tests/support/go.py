"""Programs in Go, for tests that run the libraries of others. Skipped where Go is absent, or its modules are."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_STEP_SECONDS_MAX = 240
"""The first time, everything is compiled."""
GO_SECONDS_MAX = 2 * _STEP_SECONDS_MAX


def go_program(sources: Path, program: Path) -> Path:
    """Compile the module in ``sources`` as ``program``, and return it. Where it cannot, skips the test and says why."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    environment = os.environ | {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    for command in (("mod", "download"), ("build", "-o", str(program), ".")):
        try:
            done = subprocess.run(
                (go, *command), cwd=sources, env=environment, capture_output=True, text=True, check=False,
                timeout=_STEP_SECONDS_MAX,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            pytest.skip(f"go {command[0]} takes longer than {_STEP_SECONDS_MAX} s here")
        if done.returncode and command[0] == "mod":
            pytest.skip(f"the Go modules cannot be had: {done.stderr[-200:]}")
        assert done.returncode == 0, done.stderr
    return program
