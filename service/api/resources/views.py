"""How answers show what is stored: ledgers, accounts, transfers and holds."""

from typing import cast

from msgspec import UNSET, UnsetType

from service.domain.accounts import AccountDetails
from service.domain.holds import Hold
from service.domain.ledgers import Ledger
from service.domain.periods import Closing
from service.domain.transfers import Transfer, TransferWithAccounts
from service.wire.accounts import AccountStatus, NormalSide
from service.wire.closings import ClosingView
from service.wire.holds import HoldStatus
from service.wire.ledgers import LedgerView
from service.wire.views import AccountView, HoldView, TransferView


def ledger_view(ledger: Ledger) -> LedgerView:
    """Return how the API shows ``ledger``."""
    return LedgerView(name=ledger.name, description=ledger.description, created_at=ledger.created_at)


def closing_view(ledger: str, closing: Closing) -> ClosingView:
    """Return how the API shows ``closing`` of the ledger named ``ledger``."""
    return ClosingView(
        id=closing.id,
        ledger=ledger,
        closed_until=closing.closed_until,
        late_entries=closing.late_entries,
        reason=closing.reason,
        client=closing.client_id,
        created_at=closing.created_at,
    )


def account_view(
    ledger: str,
    account: AccountDetails,
    *,
    transfers: list[TransferView] | UnsetType = UNSET,
    holds: list[HoldView] | UnsetType = UNSET,
) -> AccountView:
    """Return how the API shows ``account`` of the ledger named ``ledger``."""
    return AccountView(
        id=account.id,
        ledger=ledger,
        reference=account.reference,
        code=account.code,
        name=account.name,
        currency=account.currency,
        normal_side=cast("NormalSide", account.normal_side),  # constraints of the table keep these to the known ones
        minimum_balance=account.minimum_balance,
        maximum_balance=account.maximum_balance,
        status=cast("AccountStatus", account.status),
        debits_posted=account.debits_posted,
        credits_posted=account.credits_posted,
        debits_held=account.debits_held,
        credits_held=account.credits_held,
        balance=account.balance,
        available_balance=account.available_balance,
        version=account.version,
        metadata=account.metadata,
        client=account.client_id,
        created_at=account.created_at,
        updated_at=account.updated_at,
        transfers=transfers,
        holds=holds,
    )


def transfer_view(
    ledger: str,
    transfer: Transfer,
    *,
    debit_account: AccountView | UnsetType = UNSET,
    credit_account: AccountView | UnsetType = UNSET,
) -> TransferView:
    """Return how the API shows ``transfer`` of the ledger named ``ledger``."""
    return TransferView(
        id=transfer.id,
        ledger=ledger,
        debit_account_id=transfer.debit_account_id,
        credit_account_id=transfer.credit_account_id,
        amount=transfer.amount,
        currency=transfer.currency,
        debit_account_version=transfer.debit_account_version,
        credit_account_version=transfer.credit_account_version,
        debit_balance_after=transfer.debit_balance_after,
        credit_balance_after=transfer.credit_balance_after,
        hold_id=transfer.hold_id,
        reverses_id=transfer.reverses_id,
        group_id=transfer.group_id,
        reference=transfer.reference,
        description=transfer.description,
        metadata=transfer.metadata,
        client=transfer.client_id,
        effective_at=transfer.effective_at,
        requested_effective_at=UNSET if transfer.requested_effective_at is None else transfer.requested_effective_at,
        created_at=transfer.created_at,
        debit_account=debit_account,
        credit_account=credit_account,
    )


def expanded_transfer_view(ledger: str, expanded: TransferWithAccounts) -> TransferView:
    """Return how the API shows a transfer with both of its accounts."""
    return transfer_view(
        ledger,
        expanded.transfer,
        debit_account=account_view(ledger, expanded.debit_account),
        credit_account=account_view(ledger, expanded.credit_account),
    )


def hold_view(ledger: str, hold: Hold) -> HoldView:
    """Return how the API shows ``hold`` of the ledger named ``ledger``."""
    return HoldView(
        ledger=ledger,
        id=hold.id,
        debit_account_id=hold.debit_account_id,
        credit_account_id=hold.credit_account_id,
        amount=hold.amount,
        captured_amount=hold.captured_amount,
        currency=hold.currency,
        status=cast("HoldStatus", hold.status),  # a constraint of the table keeps it to the known ones
        expires_at=hold.expires_at,
        debit_account_version=hold.debit_account_version,
        credit_account_version=hold.credit_account_version,
        closed_debit_account_version=hold.closed_debit_account_version,
        closed_credit_account_version=hold.closed_credit_account_version,
        group_id=hold.group_id,
        reference=hold.reference,
        description=hold.description,
        metadata=hold.metadata,
        client=hold.client_id,
        created_at=hold.created_at,
        closed_at=hold.closed_at,
    )


def result_view(ledger: str, result: object) -> TransferView | HoldView:
    """Return how the API shows what was applied."""
    if isinstance(result, Transfer):
        return transfer_view(ledger, result)
    assert isinstance(result, Hold), "what is applied is a transfer or a hold"
    return hold_view(ledger, result)
