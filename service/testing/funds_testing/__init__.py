"""A test kit for callers of the funds transfer service: a real service, faults on demand, and time that moves.

Most of it is used through its fixtures (``funds_testing.plugin``); ``FundsService`` is the same without pytest.
"""

from funds_testing.errors import LedgerNotWholeError, ServiceNotStartedError
from funds_testing.ledger import Account, Faults, TestLedger
from funds_testing.service import FundsService
from funds_testing.wire import FaultMet, Finding

__all__ = [
    "Account",
    "FaultMet",
    "Faults",
    "Finding",
    "FundsService",
    "LedgerNotWholeError",
    "ServiceNotStartedError",
    "TestLedger",
]
