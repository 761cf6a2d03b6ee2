"""Check a history again that was written to a file: ``python -m funds_testing.histories FILE``."""

import sys
from pathlib import Path

from funds_testing.histories.checker import check
from funds_testing.histories.files import read


def main() -> int:
    """Print every finding; 1 where there is one."""
    calls, standing = read(Path(sys.argv[1]))
    findings = check(calls, standing)
    sys.stdout.write("".join(f"{one}\n" for one in findings) or f"{len(calls)} calls: nothing is wrong\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
