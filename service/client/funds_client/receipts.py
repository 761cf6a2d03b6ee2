"""Receipts, verified with a key of the ledger's log that the caller has kept (the extra ``receipts``)."""

from uuid import UUID

import msgspec
from msgspec import Struct

from .errors import ReceiptError
from .wire.events import TransferPostedEvent
from .wire.log import ReceiptView
from .wire.views import TransferView


class _Entry(Struct, frozen=True):
    id: UUID


_entry = msgspec.json.Decoder(_Entry)
_posted = msgspec.json.Decoder(TransferPostedEvent)


def check_receipt(view: ReceiptView, of: TransferView | UUID, log_key: str) -> None:
    """Check that the log of ``log_key`` (a verifier key, https://c2sp.org/signed-note) has the entry that was asked
    for, and that it says of a transfer what ``of`` does. Raises ReceiptError.
    """
    # Imported where they are needed: who verifies nothing needs no cryptography.
    from .proofs.errors import ProofsError  # noqa: PLC0415
    from .proofs.keys import parse_verifier_key  # noqa: PLC0415
    from .proofs.verify import Trust, verify_receipt  # noqa: PLC0415

    entry = view.entry.encode()
    try:
        verify_receipt(entry, view.receipt, Trust([parse_verifier_key(log_key)]))
    except ProofsError as error:
        raise ReceiptError(str(error)) from error
    try:
        matches = _entry.decode(entry).id == of if isinstance(of, UUID) else _facts(_posted.decode(entry)) == _shown(of)
    except msgspec.MsgspecError as error:
        raise ReceiptError("The receipt is of an entry of another kind.") from error
    if not matches:
        raise ReceiptError("The receipt is of another entry than the one that it was asked for.")


def _facts(event: TransferPostedEvent) -> tuple[object, ...]:
    data = event.data
    return event.id, data.debit_account_id, data.credit_account_id, data.amount, data.currency, data.effective_at


def _shown(transfer: TransferView) -> tuple[object, ...]:
    accounts = transfer.debit_account_id, transfer.credit_account_id
    return transfer.id, *accounts, transfer.amount, transfer.currency, transfer.effective_at
