"""The named queries of the service, a repository a table.

Every repository has the same shape. It is made of the session of one unit of work, neither begins nor ends a
transaction, takes and returns structs of the domain, and has a method for each query. ``Repositories`` makes them all:

    async with session.begin():
        account = await Repositories(session).accounts.for_revision(ledger_id, account_id)

What a batch loads and writes is in ``group_commit``.
"""

from service.storage.database import Session
from service.storage.repositories.accounts import AccountRepository
from service.storage.repositories.balances import BalanceRepository
from service.storage.repositories.changes import ChangeRepository
from service.storage.repositories.codes import CodeRepository
from service.storage.repositories.cosignatures import CosignatureRepository
from service.storage.repositories.decisions import DecisionRepository
from service.storage.repositories.exports import ExportRepository
from service.storage.repositories.heads import HeadRepository
from service.storage.repositories.history import HistoryRepository
from service.storage.repositories.holds import HoldRepository
from service.storage.repositories.integrity import IntegrityRepository
from service.storage.repositories.ledgers import LedgerRepository
from service.storage.repositories.log import LogRepository
from service.storage.repositories.overview import OverviewRepository
from service.storage.repositories.statements import StatementRepository
from service.storage.repositories.token_uses import TokenUseRepository
from service.storage.repositories.tokens import TokenRepository
from service.storage.repositories.transfers import TransferRepository
from service.storage.repositories.verifications import VerificationRepository


class Repositories:
    """The repositories on the session of one unit of work, each made when it is asked for."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def ledgers(self) -> LedgerRepository:
        """Ledgers."""
        return LedgerRepository(self._session)

    @property
    def heads(self) -> HeadRepository:
        """Where the order of each ledger ends."""
        return HeadRepository(self._session)

    @property
    def accounts(self) -> AccountRepository:
        """Accounts."""
        return AccountRepository(self._session)

    @property
    def codes(self) -> CodeRepository:
        """The chart of accounts."""
        return CodeRepository(self._session)

    @property
    def balances(self) -> BalanceRepository:
        """Balances at a time."""
        return BalanceRepository(self._session)

    @property
    def transfers(self) -> TransferRepository:
        """Transfers."""
        return TransferRepository(self._session)

    @property
    def changes(self) -> ChangeRepository:
        """What changed in a period that was looked at before."""
        return ChangeRepository(self._session)

    @property
    def statements(self) -> StatementRepository:
        """The lines of statements."""
        return StatementRepository(self._session)

    @property
    def holds(self) -> HoldRepository:
        """Holds."""
        return HoldRepository(self._session)

    @property
    def decisions(self) -> DecisionRepository:
        """The decision under every idempotency key."""
        return DecisionRepository(self._session)

    @property
    def history(self) -> HistoryRepository:
        """The entries of a ledger's history."""
        return HistoryRepository(self._session)

    @property
    def log(self) -> LogRepository:
        """The log of a ledger's history: tiles and checkpoints."""
        return LogRepository(self._session)

    @property
    def cosignatures(self) -> CosignatureRepository:
        """What witnesses cosigned."""
        return CosignatureRepository(self._session)

    @property
    def tokens(self) -> TokenRepository:
        """Bearer tokens."""
        return TokenRepository(self._session)

    @property
    def token_uses(self) -> TokenUseRepository:
        """How often tokens were used."""
        return TokenUseRepository(self._session)

    @property
    def overview(self) -> OverviewRepository:
        """Counts and sums of a whole ledger."""
        return OverviewRepository(self._session)

    @property
    def integrity(self) -> IntegrityRepository:
        """The verification of ledgers."""
        return IntegrityRepository(self._session)

    @property
    def exports(self) -> ExportRepository:
        """All of a ledger, for those who recompute it."""
        return ExportRepository(self._session)

    @property
    def verifications(self) -> VerificationRepository:
        """What the verification of each ledger found."""
        return VerificationRepository(self._session)
