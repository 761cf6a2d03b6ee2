"""Projects of others, whose tests run in a process of their own with the plugin of the kit."""

import subprocess
import sys
from pathlib import Path

from tests.support.servers import clean_environment
from tests.testing.test_start import PATH


def run_pytest(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tests in ``directory``, as somebody does who has installed the kit."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "funds_testing.plugin", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env=clean_environment(PATH),
        capture_output=True,
        text=True,
        check=False,
    )
