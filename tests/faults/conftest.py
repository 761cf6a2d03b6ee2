"""What the tests of faults share: callers who expect trouble."""

import pytest

from tests.concurrency.journal import Journal


@pytest.fixture
def journal() -> Journal:
    """A journal that takes lost connections and 503 for what they say, and holds them to it."""
    return Journal(faults_expected=True)
