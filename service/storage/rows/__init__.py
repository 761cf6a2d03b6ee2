"""The tables of schema ``funds``, as SQLAlchemy maps them.

Every key begins with ``ledger_id``: it keeps tenants apart and makes a ledger the unit of distribution.
Relationships load only when a query says so (``lazy="raise"``).
"""

from service.storage.rows.accounts import RECENT_CHANGES, AccountRow, ReversedTransferRow, TransferRow
from service.storage.rows.base import UUIDS, Base
from service.storage.rows.decisions import DecisionRow
from service.storage.rows.history import HistoryRow
from service.storage.rows.holds import OPEN_MILLISECONDS_DIGITS, HoldRow
from service.storage.rows.ledgers import LedgerHeadRow, LedgerRow
from service.storage.rows.log import LogCheckpointRow, LogCosignatureRow, LogTileRow
from service.storage.rows.tokens import TokenRow, TokenUseRow
from service.storage.rows.verifications import VerificationRow
from service.storage.schema import SCHEMA

__all__ = [
    "OPEN_MILLISECONDS_DIGITS",
    "RECENT_CHANGES",
    "SCHEMA",
    "UUIDS",
    "AccountRow",
    "Base",
    "DecisionRow",
    "HistoryRow",
    "HoldRow",
    "LedgerHeadRow",
    "LedgerRow",
    "LogCheckpointRow",
    "LogCosignatureRow",
    "LogTileRow",
    "ReversedTransferRow",
    "TokenRow",
    "TokenUseRow",
    "TransferRow",
    "VerificationRow",
]
