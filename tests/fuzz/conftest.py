"""Nothing but the profile of ``make fuzz``."""

import tests.fuzz.drawing  # noqa: F401 - its profile must be known before the command line is read
