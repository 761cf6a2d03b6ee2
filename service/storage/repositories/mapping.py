"""From mapped rows to the structs of the domain: rows stay in storage."""

from operator import attrgetter

from service.domain.accounts import AccountDetails
from service.domain.transfers import Transfer, TransferWithAccounts
from service.storage.rows import AccountRow, TransferRow

# ``metadata`` is SQLAlchemy's own name on a mapped class.
_account_values = attrgetter(*(name.replace("metadata", "metadata_") for name in AccountDetails.__struct_fields__))
_transfer_attributes = {name: name.replace("metadata", "metadata_") for name in Transfer.__struct_fields__}


def account_of(row: AccountRow) -> AccountDetails:
    """Return the account that ``row`` holds."""
    return AccountDetails(*_account_values(row))


def transfer_of(row: TransferRow) -> Transfer:
    """Return the transfer that ``row`` holds."""
    return Transfer(**{name: getattr(row, attribute) for name, attribute in _transfer_attributes.items()})


def transfer_with_accounts(row: TransferRow) -> TransferWithAccounts:
    """Return the transfer that ``row`` holds with its accounts, which the query must have loaded."""
    return TransferWithAccounts(
        transfer=transfer_of(row),
        debit_account=account_of(row.debit_account),
        credit_account=account_of(row.credit_account),
    )
