"""Which scenarios are drawn, and how many.

``pytest tests/property`` draws the same ones every time. To search further, among others:
``pytest tests/property --hypothesis-profile=search --timeout=0``.
"""

from typing import Any

from hypothesis import HealthCheck, settings

_EITHER: dict[str, Any] = {
    "database": None,
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
_SEARCH = "search"

settings.register_profile(_SEARCH, max_examples=1_000, print_blob=True, **_EITHER)


def drawn() -> settings:
    """Return the settings that were asked for on the command line."""
    if settings.get_current_profile_name() == _SEARCH:
        return settings.get_profile(_SEARCH)
    return settings(max_examples=150, derandomize=True, **_EITHER)
