"""The history of a ledger: what happened in it, in order, each entry with its author.

A transfer is an entry, and so is a hold as it was opened; both have rows of their own that never change. The entries
here are of everything else.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct, structs

from service.domain.accounts import AccountDetails, AccountRevision, NewAccount
from service.domain.commands import Command
from service.domain.decisions import Key
from service.domain.holds import Hold, HoldStatus
from service.domain.ledgers import NO_LEDGER, Ledger
from service.domain.operations import Operation
from service.domain.order import ClosedPeriod, Moment
from service.domain.periods import LEDGER_ITSELF, Closing, ClosingTerms
from service.domain.rejections import Rejection
from service.domain.rights import DebitLimit

EntryType = Literal[
    "ledger.created",
    "account.opened",
    "account.revised",
    "hold.captured",
    "hold.voided",
    "hold.expired",
    "command.rejected",
    "key.fenced",
    "token.created",
    "token.revoked",
    "period.closed",
    "period.reopened",
]
"""What can have happened. The names stand in stored entries: they never change."""

NOT_APPLIED: tuple[EntryType, ...] = ("command.rejected", "key.fenced")
"""What entries tell of requests that were not applied: to whom of another client they are shown, a scope decides."""

_HOLD_CLOSED: dict[HoldStatus, EntryType] = {
    HoldStatus.CAPTURED: "hold.captured",
    HoldStatus.VOIDED: "hold.voided",
    HoldStatus.EXPIRED: "hold.expired",
}


class LedgerCreated(Struct, frozen=True, kw_only=True):
    """The ledger as it was created."""

    name: str
    description: str | None


class AccountRevised(Struct, frozen=True, kw_only=True):
    """What was changed of the account, by name: the values before, and those after."""

    before: dict[str, Any]
    after: dict[str, Any]


class HoldClosed(Struct, frozen=True, kw_only=True):
    """How a hold met its end: what was captured of it in all, what was released unused (both in minor units), and the
    versions of its accounts after that.
    """

    captured_amount: int
    released_amount: int
    debit_account_version: int
    credit_account_version: int


class RequestRejected(Struct, frozen=True):
    """What was asked for and why it was rejected. ``terms`` are those of a command that a batch decided."""

    operation: Operation
    rejection: Rejection
    terms: dict[str, Any] | None = None


class KeyFenced(Struct, frozen=True):
    """A key was made unusable; the entry names it."""


class TokenCreated(Struct, frozen=True, kw_only=True):
    """What a token proves, not the token: ``token_digest`` is the SHA-256, in hexadecimal, of the hash that is kept of
    it. ``ledgers`` are names, None is every one; ``expires_at`` None is never. ``debit_accounts`` and ``debit_codes``
    limit what it may debit, both None is any account. It may be a certificate, which a proxy passes on. ``by`` is the
    login under which it was made: operators are no clients.
    """

    by: str
    client: str
    scopes: list[str]
    ledgers: list[str] | None
    expires_at: datetime | None
    debit_accounts: list[UUID] | None
    debit_codes: list[str] | None
    is_certificate: bool
    token_digest: str


class TokenRevoked(Struct, frozen=True, kw_only=True):
    """Whose token was revoked, and by which login."""

    by: str
    client: str


EntryData = (
    LedgerCreated
    | NewAccount
    | AccountRevised
    | HoldClosed
    | RequestRejected
    | KeyFenced
    | TokenCreated
    | TokenRevoked
    | ClosingTerms
)


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks for something of a ledger, what the request is called, and which accounts the token may debit (None: any
    of them). ``under`` a key makes a ``Key``.
    """

    ledger_id: int
    client_id: str
    idempotency_key: None = None
    request_id: str | None = None
    debit_limit: DebitLimit | None = None

    def under(self, idempotency_key: str, operation: Operation, *, fingerprint: bytes) -> Key:
        """Return the key under which the caller asks for ``operation``."""
        return Key(
            ledger_id=self.ledger_id,
            client_id=self.client_id,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            operation=operation,
            request_id=self.request_id,
        )


Author = Command | Key | Caller
"""What names who did something, under which key and in which request."""


class HistoryEntry(Struct, frozen=True, kw_only=True, gc=False):
    """What happened, where it stands (``id``, and ``created_at`` with it), what it happened to (``subject_id``), and
    who did it: the client, under which key, in which request. Without a client it was the service itself.
    """

    ledger_id: int
    id: UUID
    type: EntryType
    subject_id: UUID | None = None
    client_id: str | None = None
    idempotency_key: str | None = None
    request_id: str | None = None
    data: EntryData
    created_at: datetime

    @classmethod
    def by(
        cls,
        author: Author,
        entry_id: UUID,
        entry_type: EntryType,
        data: EntryData,
        *,
        at: datetime,
        subject_id: UUID | None = None,
    ) -> "HistoryEntry":
        """Return the entry of what ``author`` did."""
        return cls(
            ledger_id=author.ledger_id,
            id=entry_id,
            type=entry_type,
            subject_id=subject_id,
            client_id=author.client_id,
            idempotency_key=author.idempotency_key,
            request_id=author.request_id,
            data=data,
            created_at=at,
        )


def source_of(ledger: str) -> str:
    """Return what the entries of the ledger of this name say where they happened. Without a name they are those of the
    installation: its ledgers and tokens.
    """
    return f"/v1/ledgers/{ledger}" if ledger else "/v1"


class LoggedLedger(Struct, frozen=True):
    """A ledger whose history is logged; without a name, the history of the installation: its ledgers and tokens."""

    id: int
    name: str

    @property
    def source(self) -> str:
        """What its entries say where they happened."""
        return source_of(self.name)

    @property
    def title(self) -> str:
        """What it is called in sentences: no ledger's name has a space."""
        return self.name or "the installation"


INSTALLATION = LoggedLedger(NO_LEDGER, "")


def ledger_created(key: Key, history_of: int, entry_id: UUID, ledger: Ledger) -> HistoryEntry:
    """Return the entry of the creation of ``ledger``, in the history of the ledger of the id ``history_of``: its own,
    or the installation's.
    """
    created = LedgerCreated(name=ledger.name, description=ledger.description)
    entry = HistoryEntry.by(key, entry_id, "ledger.created", created, at=ledger.created_at)
    return structs.replace(entry, ledger_id=history_of)


def request_rejected(key: Key, entry_id: UUID, rejection: Rejection, moment: Moment) -> HistoryEntry:
    """Return the entry of the rejection of the request of ``key`` at ``moment``."""
    rejected = RequestRejected(key.operation, rejection)
    return HistoryEntry.by(key, entry_id, "command.rejected", rejected, at=moment.place)


def account_opened(key: Key, new: NewAccount, account: AccountDetails) -> HistoryEntry:
    """Return the entry of the opening of ``account``, made of ``new``: it has the account's own identifier."""
    return HistoryEntry.by(key, account.id, "account.opened", new, at=account.updated_at, subject_id=account.id)


def account_revised(
    author: Author, entry_id: UUID, before: AccountDetails, after: AccountDetails
) -> Iterator[HistoryEntry]:
    """Yield the entry of what changed of an account, now ``after``; none when nothing did."""
    changed = [name for name in AccountRevision.__struct_fields__ if getattr(before, name) != getattr(after, name)]
    if not changed:
        return
    revised = AccountRevised(
        before={name: getattr(before, name) for name in changed}, after={name: getattr(after, name) for name in changed}
    )
    yield HistoryEntry.by(author, entry_id, "account.revised", revised, at=after.updated_at, subject_id=after.id)


def hold_closed(author: Author | None, entry_id: UUID, hold: Hold) -> HistoryEntry:
    """Return the entry of the end of ``hold``; without an author, the service freed what had expired."""
    assert hold.closed_at is not None
    assert hold.closed_debit_account_version is not None
    assert hold.closed_credit_account_version is not None
    closed = HoldClosed(
        captured_amount=hold.captured_amount,
        released_amount=hold.amount - hold.captured_amount,
        debit_account_version=hold.closed_debit_account_version,
        credit_account_version=hold.closed_credit_account_version,
    )
    entry_type = _HOLD_CLOSED[HoldStatus(hold.status)]
    if author is None:
        return HistoryEntry(
            ledger_id=hold.ledger_id,
            id=entry_id,
            type=entry_type,
            subject_id=hold.id,
            data=closed,
            created_at=hold.closed_at,
        )
    return HistoryEntry.by(author, entry_id, entry_type, closed, at=hold.closed_at, subject_id=hold.id)


def period_closed(key: Key, closing: Closing, before: ClosedPeriod | None) -> HistoryEntry:
    """Return the entry of ``closing``, which has its identifier, of a ledger of which ``before`` was closed: that its
    period was closed, or opened again.
    """
    after = closing.period
    opened = before is not None and (after is None or after.until < before.until)
    terms = ClosingTerms(closed_until=closing.closed_until, late_entries=closing.late_entries, reason=closing.reason)
    entry_type: EntryType = "period.reopened" if opened else "period.closed"
    return HistoryEntry.by(key, closing.id, entry_type, terms, at=closing.created_at, subject_id=LEDGER_ITSELF)
