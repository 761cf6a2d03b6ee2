"""Every exception of the kit."""

from collections.abc import Sequence

from funds_testing.wire import Finding


class ServiceNotStartedError(Exception):
    """The service for tests did not start; the text is what it said."""


class LedgerNotWholeError(AssertionError):
    """A ledger breaks a rule of the product, or is not what its callers were told."""

    def __init__(self, ledger: str, findings: Sequence[Finding]) -> None:
        lines = [f"\n  {found.rule}: {found.id}: {found.wrong}" for found in findings]
        super().__init__(f"ledger {ledger} is not whole:{''.join(lines)}")
        self.findings = findings


class AskedInVainError(Exception):
    """The service answers the test server itself with a problem: a fault of the kit."""
