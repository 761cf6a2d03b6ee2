"""The general ledger files of the AICPA's Audit Data Standards: General Ledger Standard, July 2015, as flat files.

UTF-8, a line a row, the names of the fields first, fields separated by ``|``, which no field contains (texts are
percent-encoded). Three of the standard's files are written: GL_Detail, Chart_Of_Accounts and Trial_Balance, with the
standard's fields as far as the service knows what belongs there, under the standard's names. What it knows beyond that
follows in fields of other names. The fiscal year is taken to be the calendar's, its periods the months.
"""

import re
from datetime import UTC

from service.domain.exports import ExportedAccount, ExportedTransfer
from service.domain.transfers import Transfer
from service.journals.amounts import decimal_text, exponent_of
from service.journals.names import account_name, percent_encoded
from service.journals.writing import Export, Written, day, facts, last_day

_UNSAFE = re.compile(r"\|")

DETAIL_FIELDS = (
    "Journal_ID",
    "Journal_ID_Line_Number",
    "JE_Header_Description",
    "JE_Line_Description",
    "Source",
    "Business_Unit_Code",
    "Effective_Date",
    "Fiscal_Year",
    "Period",
    "GL_Account_Number",
    "Amount",
    "Amount_Credit_Debit_Indicator",
    "Amount_Currency",
    "Entered_By",
    "Entered_Date",
    "Entered_Time",
    # Beyond the standard.
    "Group_ID",
    "Hold_ID",
    "Reversed_Journal_ID",
    "Idempotency_Key",
    "Metadata",
)
ACCOUNT_FIELDS = ("GL_Account_Number", "GL_Account_Name", "Account_ID", "Account_Currency", "Normal_Side", "Code")
BALANCE_FIELDS = (
    "Business_Unit_Code",
    "Balance_As_Of_Date",
    "Fiscal_Year",
    "Period",
    "GL_Account_Number",
    "Amount_Beginning",
    "Amount_Ending",
    "Amount_Currency",
    # Beyond the standard.
    "Amount_Debits",
    "Amount_Credits",
)


def file_names(export: Export) -> tuple[str, str, str]:
    """Return the names of the files, with the first and the last day of the period as the standard has them."""
    days = f"{day(export.period.start)}_{last_day(export.period)}".replace("-", "")
    return f"GL_Detail_{days}.txt", f"Chart_Of_Accounts_{days}.txt", f"Trial_Balance_{days}.txt"


async def write_audit_data(export: Export, detail: Written, accounts: Written, balances: Written) -> int:
    """Write ``export`` into three files and return how many transfers it has. Raises UnknownCurrencyError."""
    accounts(_row(*ACCOUNT_FIELDS))
    balances(_row(*BALANCE_FIELDS))
    async for account in export.accounts():
        accounts(_account(account))
        balances(_balance(export, account))
    detail(_row(*DETAIL_FIELDS))
    count = 0
    async for exported in export.transfers():
        detail(_lines(export.ledger, exported))
        count += 1
    return count


def _account(account: ExportedAccount) -> str:
    return _row(
        _name(account), _text(account.name), str(account.id), account.currency, account.normal_side, account.code
    )


def _balance(export: Export, account: ExportedAccount) -> str:
    """Return the row of ``account``; balances are debits less credits, as the standard has them."""
    exponent = exponent_of(account.currency)
    end = last_day(export.period)
    amounts = [decimal_text(amount, exponent) for amount in (account.opening, account.closing)]
    moved = [decimal_text(amount, exponent) for amount in (account.debits, account.credits)]
    return _row(export.ledger, end, end[:4], end[5:7], _name(account), *amounts, account.currency, *moved)


def _lines(ledger: str, exported: ExportedTransfer) -> str:
    transfer = exported.transfer
    told = facts(transfer)
    amount = decimal_text(transfer.amount, exponent_of(transfer.currency))
    effective, entered = day(transfer.effective_at), transfer.created_at.astimezone(UTC)
    sides = (
        (exported.debit_reference, transfer.debit_account_id, "D"),
        (exported.credit_reference, transfer.credit_account_id, "C"),
    )
    return "".join(
        _row(
            str(transfer.id),
            str(number),
            _text(transfer.description),
            _text(transfer.reference),
            _source(transfer),
            ledger,
            effective,
            effective[:4],
            effective[5:7],
            account_name(reference, account_id, _UNSAFE),
            amount,
            side,
            transfer.currency,
            _text(transfer.client_id),
            entered.date().isoformat(),
            f"{entered:%H:%M:%S}",
            told.get("group"),
            told.get("hold"),
            told.get("reverses"),
            _text(transfer.idempotency_key),
            _text(told.get("metadata")),
        )
        for number, (reference, account_id, side) in enumerate(sides, 1)
    )


def _source(transfer: Transfer) -> str:
    if transfer.hold_id is not None:
        return "capture"
    return "reversal" if transfer.reverses_id is not None else "transfer"


def _name(account: ExportedAccount) -> str:
    return account_name(account.reference, account.id, _UNSAFE)


def _text(text: str | None) -> str | None:
    return text and percent_encoded(text, _UNSAFE)


def _row(*fields: str | None) -> str:
    """Return a line of ``fields``, of which texts are encoded; None is an empty one."""
    return "|".join(field or "" for field in fields) + "\n"
