"""Ledgers in which damage was found, and whether that stops what writes to them."""

from collections.abc import Collection

from service.errors import LedgerDamagedError


class DamagedLedgers:
    """The ledgers that verification found damaged, as far as this process knows. With ``stop``, what writes to one of
    them is refused until a pass finds it sound.
    """

    def __init__(self, *, stop: bool) -> None:
        self._stop = stop
        self.ids: Collection[int] = frozenset()

    def refuse_writes(self, ledger_id: int) -> None:
        """Raise LedgerDamagedError where nothing may be written to the ledger."""
        if self._stop and ledger_id in self.ids:
            raise LedgerDamagedError
