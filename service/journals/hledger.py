"""hledger's journal format (https://hledger.org/hledger.html#journal), as hledger 1.25 and later read it.

Each transfer is a transaction: its value date, its identifier as the code, its description, and all else as tags. The
last transaction moves nothing: it asserts every account's balance, so that hledger compares what it has added up with
what the service says, whenever it reads the file.
"""

import re
from collections.abc import Mapping

from service.domain.exports import ExportedAccount, ExportedTransfer
from service.journals.amounts import decimal_text, exponent_of
from service.journals.names import account_name, percent_encoded
from service.journals.writing import Export, Written, day, facts, instant, last_day

# A name ends at two spaces and its parts between colons are not empty; a sign before it may be a status or brackets.
_UNSAFE_IN_NAMES = re.compile(r"^\W|;|(?<=[ :]) | (?=:)|(?<=:):|:$")
_UNSAFE_IN_DESCRIPTIONS = re.compile(r"[;|]|^ | $")
_UNSAFE_IN_TAGS = re.compile(r"[,;\[\]]|^ | $")


async def write_hledger(export: Export, write: Written) -> int:
    """Write ``export`` with ``write`` and return how many transfers it has. Raises UnknownCurrencyError."""
    write(f"; Ledger {export.ledger}: transfers with value dates from {instant(export.period.start)}, before")
    write(f" {instant(export.period.end)}, as recorded by {instant(export.as_of)}.\n")
    write("; Texts are percent-encoded where a character would mean something else here.\n\ndecimal-mark .\n")
    for currency in export.currencies:
        write(f"commodity {decimal_text(1000 * 10 ** exponent_of(currency), exponent_of(currency))}")
        write(f"{'' if exponent_of(currency) else '.'} {currency}\n")
    write("\n")
    has_opening = False
    async for account in export.accounts():
        has_opening |= account.opening != 0
        write(_account(account))
    if has_opening:
        await _write_openings(export, write)
    count = 0
    async for exported in export.transfers():
        write(_transaction(exported))
        count += 1
    if export.currencies:
        await _write_closings(export, write)
    write(f"\n; End: {count} transfers.\n")
    return count


def _account(account: ExportedAccount) -> str:
    told = {
        "account-id": str(account.id),
        "normal-side": account.normal_side,
        "code": account.code,
        "name": account.name,
    }
    return f"account {_name(account)}  ; {', '.join(_tags(told))}\n"


async def _write_openings(export: Export, write: Written) -> None:
    """Write one transaction of the balances before the period: over all accounts they add up to nothing."""
    write(f"\n{day(export.period.start)} * (opening) Opening balances\n")
    async for account in export.accounts():
        if account.opening:
            write(f"    {_name(account)}  {_amount(account.opening, account.currency)}\n")


async def _write_closings(export: Export, write: Written) -> None:
    write(f"\n{last_day(export.period)} * (closing) Closing balances, asserted\n")
    async for account in export.accounts():
        balance = _amount(account.closing, account.currency)
        write(f"    {_name(account)}  {_amount(0, account.currency)} = {balance}\n")


def _transaction(exported: ExportedTransfer) -> str:
    transfer = exported.transfer
    description = percent_encoded(transfer.description or "", _UNSAFE_IN_DESCRIPTIONS)
    debit = account_name(exported.debit_reference, transfer.debit_account_id, _UNSAFE_IN_NAMES)
    credit = account_name(exported.credit_reference, transfer.credit_account_id, _UNSAFE_IN_NAMES)
    lines = [
        f"{day(transfer.effective_at)} * ({transfer.id}) {description}".rstrip(),
        *(f"    ; {tag}" for tag in _tags(facts(transfer))),
        f"    {debit}  {_amount(transfer.amount, transfer.currency)}",
        f"    {credit}  {_amount(-transfer.amount, transfer.currency)}",
    ]
    return "\n" + "\n".join(lines) + "\n"


def _tags(values: Mapping[str, str | None]) -> list[str]:
    return [f"{name}: {percent_encoded(value, _UNSAFE_IN_TAGS)}" for name, value in values.items() if value is not None]


def _amount(amount: int, currency: str) -> str:
    return f"{decimal_text(amount, exponent_of(currency))} {currency}"


def _name(account: ExportedAccount) -> str:
    return account_name(account.reference, account.id, _UNSAFE_IN_NAMES)
