"""Making intents: what can be asked for in a ledger, as it is written in a program."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID, uuid4

from msgspec import UNSET, UnsetType

from .errors import IntentError
from .intents import (
    AccountIntent,
    BatchIntent,
    CaptureIntent,
    HoldIntent,
    ReversalIntent,
    RevisionIntent,
    TransferIntent,
    VoidIntent,
    checked,
    checked_batch,
)
from .wire.accounts import AccountPatch, AccountRequest, AccountStatus, NormalSide
from .wire.batches import BatchItem, BatchMode, HoldTerms
from .wire.holds import CaptureRequest, HoldRequest
from .wire.transfers import AtMost, ReversalRequest, TransferRequest

ANY_STATE = "*"
"""The ETag of a revision that does not ask in which state the account is."""


class Intents:
    """Makes the intents of a ledger. Amounts are in minor units; times have an offset from UTC.

    Each has a key: the caller's, or one that is made here. Every method raises IntentError for what the service would
    refuse as malformed.
    """

    def __init__(self, ledger: str) -> None:
        self._ledger = ledger

    def transfer(
        self,
        *,
        debit: UUID,
        credit: UUID,
        amount: int | AtMost,
        currency: str,
        reference: str | None = None,
        description: str | None = None,
        effective_at: datetime | None = None,
        metadata: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> TransferIntent:
        """Move ``amount`` from the account ``debit`` to ``credit``: exactly it, or what is available ``AtMost``."""
        terms = TransferRequest(
            debit_account_id=debit,
            credit_account_id=credit,
            amount=amount,
            currency=currency,
            reference=reference,
            description=description,
            effective_at=_written(effective_at),
            metadata=dict(metadata or {}),
        )
        return checked(TransferIntent(ledger=self._ledger, idempotency_key=_key(key), terms=terms))

    def open_hold(
        self,
        *,
        debit: UUID,
        credit: UUID,
        amount: int,
        currency: str,
        expires_at: datetime | None = None,
        expires_in_seconds: int | None = None,
        reference: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> HoldIntent:
        """Reserve ``amount`` for later captures, until its time is over."""
        terms = HoldRequest(
            debit_account_id=debit,
            credit_account_id=credit,
            amount=amount,
            currency=currency,
            expires_at=_written(expires_at),
            expires_in_seconds=expires_in_seconds,
            reference=reference,
            description=description,
            metadata=dict(metadata or {}),
        )
        return checked(HoldIntent(ledger=self._ledger, idempotency_key=_key(key), terms=terms))

    def capture(
        self,
        hold_id: UUID,
        *,
        amount: int | None = None,
        final: bool = True,
        reference: str | None = None,
        description: str | None = None,
        effective_at: datetime | None = None,
        metadata: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> CaptureIntent:
        """Post what a hold reserves, all that is left without an ``amount``. A ``final`` capture frees the rest."""
        terms = CaptureRequest(
            amount=amount,
            final=final,
            reference=reference,
            description=description,
            effective_at=_written(effective_at),
            metadata=dict(metadata or {}),
        )
        return checked(CaptureIntent(ledger=self._ledger, idempotency_key=_key(key), hold_id=hold_id, terms=terms))

    def void(self, hold_id: UUID, *, key: str | None = None) -> VoidIntent:
        """Free what a hold still reserves."""
        return checked(VoidIntent(ledger=self._ledger, idempotency_key=_key(key), hold_id=hold_id))

    def reverse(
        self,
        transfer_id: UUID,
        *,
        amount: int | None = None,
        reference: str | None = None,
        description: str | None = None,
        effective_at: datetime | None = None,
        metadata: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> ReversalIntent:
        """Move a transfer back, all that is left of it without an ``amount``."""
        terms = ReversalRequest(
            amount=amount,
            reference=reference,
            description=description,
            effective_at=_written(effective_at),
            metadata=dict(metadata or {}),
        )
        intent = ReversalIntent(ledger=self._ledger, idempotency_key=_key(key), transfer_id=transfer_id, terms=terms)
        return checked(intent)

    def open_account(
        self,
        *,
        currency: str,
        reference: str | None = None,
        name: str | None = None,
        normal_side: NormalSide = "credit",
        minimum_balance: int | None = None,
        maximum_balance: int | None = None,
        metadata: Mapping[str, str] | None = None,
        code: str | None = None,
        key: str | None = None,
    ) -> AccountIntent:
        """Open an account with a balance of zero. A minimum of 0 forbids overdraft; None is no bound."""
        terms = AccountRequest(
            currency=currency,
            reference=reference,
            name=name,
            normal_side=normal_side,
            minimum_balance=minimum_balance,
            maximum_balance=maximum_balance,
            metadata=dict(metadata or {}),
            code=code,
        )
        return checked(AccountIntent(ledger=self._ledger, idempotency_key=_key(key), terms=terms))

    def revise_account(
        self,
        account_id: UUID,
        *,
        etag: str = ANY_STATE,
        name: str | None | UnsetType = UNSET,
        minimum_balance: int | None | UnsetType = UNSET,
        maximum_balance: int | None | UnsetType = UNSET,
        status: AccountStatus | UnsetType = UNSET,
        metadata: Mapping[str, str] | UnsetType = UNSET,
        code: str | None | UnsetType = UNSET,
        key: str | None = None,
    ) -> RevisionIntent:
        """Change what is given of an account, while it is in the state ``etag``; None removes a value."""
        terms = AccountPatch(
            name=name,
            minimum_balance=minimum_balance,
            maximum_balance=maximum_balance,
            status=status,
            metadata=UNSET if metadata is UNSET else dict(metadata),
            code=code,
        )
        intent = RevisionIntent(
            ledger=self._ledger, idempotency_key=_key(key), account_id=account_id, etag=etag, terms=terms
        )
        return checked(intent)

    def batch(self, items: Iterable[BatchItem], *, mode: BatchMode = "independent") -> BatchIntent:
        """Post the transfers and open the holds of ``items``, which ``batch_item`` makes, in this order."""
        return checked_batch(checked(BatchIntent(ledger=self._ledger, items=list(items), mode=mode)))


def batch_item(
    *,
    debit: UUID,
    credit: UUID,
    amount: int | AtMost,
    currency: str,
    group: str | None = None,
    hold: HoldTerms | None = None,
    reference: str | None = None,
    description: str | None = None,
    effective_at: datetime | None = None,
    metadata: Mapping[str, str] | None = None,
    key: str | None = None,
) -> BatchItem:
    """Return one item of a batch: a transfer, or with ``hold`` a hold. Items of a ``group`` apply together."""
    return BatchItem(
        idempotency_key=_key(key),
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        currency=currency,
        group=group,
        hold=hold,
        reference=reference,
        description=description,
        effective_at=_written(effective_at),
        metadata=dict(metadata or {}),
    )


def _key(key: str | None) -> str:
    """Return the caller's key, or a new one. Raises IntentError for one that no path can name, and so no fence."""
    if key is None:
        return str(uuid4())
    if not {".", ".."}.isdisjoint(key.split("/")):
        raise IntentError("A key has no part that is . or .. between slashes.")
    return key


def _written(time: datetime | None) -> str | None:
    """Return a time as requests have it. Raises IntentError for one without an offset."""
    if time is None:
        return None
    if time.tzinfo is None:
        raise IntentError("A time needs an offset from UTC.")
    return time.isoformat()
