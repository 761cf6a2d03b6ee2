"""``python -m service.proofs``: verification where nothing of the service is installed but this package."""

import sys

from .command import main

raise SystemExit(main(sys.argv[1:], "python -m service.proofs"))
