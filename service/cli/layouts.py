"""How the files of others say what a transfer is: which column has what, and how amounts and days are written."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct

Origin = Literal["hledger", "beancount", "gnucash", "formance"]

ENTRY_FIELDS = ("number", "effective_at", "reference", "description")
AMOUNT_FIELDS = ("amount", "debit", "credit")
FIELDS = (*ENTRY_FIELDS, "debit_account", "credit_account", "account", *AMOUNT_FIELDS, "currency")
METADATA = "metadata."


class Layout(Struct, frozen=True, kw_only=True):
    """How a file is read. ``columns`` has the header of each field of FIELDS (and ``metadata.NAME``) that is called
    otherwise; other columns are an error, or ignored with ``ignore_columns``.

    ``numbers_last`` says that the source calls an entry the same for ever. ``account`` makes references of what the
    file calls accounts. ``currencies`` has the code of what is written otherwise; ``currency`` is that of rows which
    name none, ``effective_at`` the value date of those without. With ``opening_account``, rows are balances that this
    account is the other side of.
    """

    columns: Mapping[str, str] = {}
    ignore_columns: bool = False
    delimiter: str = ","
    major_units: bool = False
    decimal_comma: bool = False
    date_format: str | None = None
    effective_at: datetime | None = None
    currency: str | None = None
    currencies: Mapping[str, str] = {}
    account: str = "{account}"
    opening_account: str | None = None
    numbers_last: bool = True
    continued: bool = False
    """Whether a row that says nothing of its entry goes on with the one before it."""


ORIGINS: Mapping[Origin, Layout] = {
    # hledger print -x -O csv. It numbers the transactions of a journal anew each time.
    "hledger": Layout(
        columns={
            "number": "txnidx",
            "effective_at": "date",
            "reference": "code",
            "description": "description",
            "account": "account",
            "amount": "amount",
            "currency": "commodity",
        },
        ignore_columns=True,
        major_units=True,
        numbers_last=False,
    ),
    # bean-query -f csv FILE "SELECT id, date, payee, narration, account, number, currency". An id is made of what a
    # transaction says: another one that says the same has the same.
    "beancount": Layout(
        columns={
            "number": "id",
            "effective_at": "date",
            "metadata.payee": "payee",
            "description": "narration",
            "account": "account",
            "amount": "number",
            "currency": "currency",
        },
        ignore_columns=True,
        major_units=True,
        numbers_last=False,
    ),
    # File, Export, Export Transactions to CSV. Values are in the transaction's currency.
    "gnucash": Layout(
        columns={
            "number": "Transaction ID",
            "effective_at": "Date",
            "reference": "Number",
            "description": "Description",
            "account": "Full Account Name",
            "amount": "Value Num.",
            "currency": "Commodity/Currency",
        },
        ignore_columns=True,
        major_units=True,
        continued=True,
    ),
    # Transactions as its API lists them, one a line: jq -c '.cursor.data[]'.
    "formance": Layout(),
}
