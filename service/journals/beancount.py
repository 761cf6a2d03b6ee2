"""Beancount's format (https://beancount.github.io/docs/beancount_language_syntax.html), as versions 2 and 3 read it.

Its account names are of one of five kinds, and of few characters. Accounts whose normal side is debit stand under
``Assets``, the others under ``Liabilities``, each under a name made of its reference (``component``); the reference
itself, and all else that is told of accounts and transfers, is metadata.
"""

import re
from collections.abc import Mapping
from uuid import UUID

from service.domain.exports import ExportedAccount, ExportedTransfer
from service.journals.amounts import decimal_text, exponent_of
from service.journals.writing import Export, Written, day, facts, instant

_KIND = {"debit": "Assets", "credit": "Liabilities"}
_PLAIN = re.compile(r"[A-Za-z0-9]|-(?!x|$)")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"})


async def write_beancount(export: Export, write: Written) -> int:
    """Write ``export`` with ``write`` and return how many transfers it has. Raises UnknownCurrencyError."""
    write(f'option "title" {_quoted(f"Ledger {export.ledger}")}\n')
    write(f"; Transfers with value dates from {instant(export.period.start)}, before {instant(export.period.end)},")
    write(f" as recorded by {instant(export.as_of)}.\n\n")
    has_opening = False
    async for account in export.accounts():
        has_opening |= account.opening != 0
        write(_open(account))
    if has_opening:
        write(f'\n{day(export.period.start)} * "Opening balances"\n')
        async for account in export.accounts():
            if account.opening:
                write(f"  {_name_of(account)}  {_amount(account.opening, account.currency)}\n")
    count = 0
    async for exported in export.transfers():
        write(_transaction(exported))
        count += 1
    write(f"\n; End: {count} transfers.\n")
    return count


def account_name(reference: str | None, account_id: UUID, normal_side: str) -> str:
    """Return the name of an account: each has one of its own."""
    if reference is None:
        return f"{_KIND[normal_side]}:Account-xid-{account_id}"
    return ":".join((_KIND[normal_side], *map(component, reference.split(":"))))


def component(text: str) -> str:
    """Return ``text`` as a part of a name, which begins with a capital letter or a digit and has letters, digits and
    ``-``. What it must not have is written ``-xHH``, the bytes of UTF-8 in hexadecimal digits.

    A first letter is made a capital. What began with one ends in ``-x``, so that no two texts come out the same, and
    what begins with any other sign gets ``X-x-`` before it.
    """
    encoded = "".join(
        character if _PLAIN.match(text, place) else "".join(f"-x{byte:02X}" for byte in character.encode())
        for place, character in enumerate(text)
    )
    first = text[:1]
    if not first or not first.isascii() or not first.isalnum():
        return f"X-x-{encoded}"
    if first.isupper():
        return f"{encoded}-x"
    return first.upper() + encoded[1:]


def _open(account: ExportedAccount) -> str:
    told = {
        "account-id": str(account.id),
        "normal-side": account.normal_side,
        "reference": account.reference,
        "code": account.code,
        "name": account.name,
    }
    return f"{day(account.created_at)} open {_name_of(account)} {account.currency}\n{_metadata(told)}"


def _transaction(exported: ExportedTransfer) -> str:
    transfer = exported.transfer
    debit = account_name(exported.debit_reference, transfer.debit_account_id, exported.debit_normal_side)
    credit = account_name(exported.credit_reference, transfer.credit_account_id, exported.credit_normal_side)
    return (
        f"\n{day(transfer.effective_at)} * {_quoted(transfer.description or '')}\n"
        f"{_metadata({'transfer-id': str(transfer.id), **facts(transfer)})}"
        f"  {debit}  {_amount(transfer.amount, transfer.currency)}\n"
        f"  {credit}  {_amount(-transfer.amount, transfer.currency)}\n"
    )


def _metadata(values: Mapping[str, str | None]) -> str:
    return "".join(f"  {name}: {_quoted(value)}\n" for name, value in values.items() if value is not None)


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'


def _amount(amount: int, currency: str) -> str:
    return f"{decimal_text(amount, exponent_of(currency))} {currency}"


def _name_of(account: ExportedAccount) -> str:
    return account_name(account.reference, account.id, account.normal_side)
