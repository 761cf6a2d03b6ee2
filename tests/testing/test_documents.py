"""The kit's README: its examples are run as they stand, as tests of another project."""

import re
import subprocess
from pathlib import Path

from tests.support.servers import FUNDS, ROOT, clean_environment
from tests.testing.projects import run_pytest
from tests.testing.test_start import PATH

README = (ROOT / "service" / "testing" / "README.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_examples_run(tmp_path: Path) -> None:
    for number, example in enumerate(PYTHON):
        (tmp_path / f"test_example_{number}.py").write_text(example)
    done = run_pytest(tmp_path, "-q")
    tests = len(re.findall(r"^def test_", "\n".join(PYTHON), re.MULTILINE))
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr


def test_the_session_in_a_shell_runs(tmp_path: Path) -> None:
    [session] = [example for example in SHELL if "ready.json" in example]
    command = " ".join(f"'{part}'" for part in FUNDS)
    script = f'set -eu\nfunds() {{ {command} "$@"; }}\n{session}'
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=clean_environment(PATH), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    refused, opened = done.stdout.splitlines()
    assert refused.startswith('{"code":"overloaded"')
    assert opened.startswith('{"id":')
