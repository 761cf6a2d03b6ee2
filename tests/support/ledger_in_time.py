"""A ledger whose accounts and texts are as hostile as callers can make them, with value dates in two years."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from service.domain.accounts import AccountDetails, NewAccount
from service.domain.commands import PostTransfer
from service.domain.decisions import Key
from service.domain.transfers import Transfer
from service.posting.openings import Opening, open_accounts
from service.settings import Settings
from service.storage.database import Database
from service.storage.transactions import Transactions
from tests.support.committing import commit_batch
from tests.support.rows import MAIN

FIRST_DAY = datetime(2025, 12, 1, tzinfo=UTC)
DAYS = 400
HUGE = 2**62

REFERENCES = (
    None,
    None,
    "cash",
    "Cash",
    "cash:eur",
    "cash:EUR",
    "cash:",
    ":cash",
    "cash::eur",
    "a  b",
    "a   b",
    "a : b",
    "a;b",
    "a ; b",
    "(virtual)",
    "[balanced]",
    "* starred",
    "! pending",
    "; remark",
    "# remark",
    "= auto",
    "~ monthly",
    '"quoted" \\ name',
    "100%",
    "100%25",
    "id:17",
    "%69d:17",
    "1000:cash:eur",
    "-dash-",
    "x-x2D",
    "x-",
    "dash-x",
    "Ünïcödé:日本:ß",
    "pipe|pipe",
    "comma, tag: value",
    "2026-01-01",
    "include other.journal",
    "account",
    "USD",
    "5 USD",
    "a=b@c",
    "{}[]<>&'`^$",
)
TEXTS = (
    None,
    "",
    " ",
    "Rent",
    "two\nlines",
    "carriage\rreturn\r\n",
    "tab\ttab",
    "; a remark",
    "before ; after",
    "pay | pipe",
    "(code) * ! status",
    "date: 2001-01-01",
    "[2001-01-01] date:2001-01-01, date2:2001-01-02",
    '"quoted" and \\backslashed\\n "',
    "100% %0A",
    "  spaces around  ",
    "\u2028separated\u2029",
    "#tag ^link",
    "include /etc/passwd",
    "日本 Ünïcödé \U0001f600",
    "x" * 1000,
    "\n    cash  1000.00 USD\n    ada",
)
CURRENCIES = ("USD", "JPY", "KWD", "CLF")


@dataclass(frozen=True)
class LedgerInTime:
    """What was made in ledger ``main``: its accounts by identifier, its transfers in order."""

    accounts: Mapping[Any, AccountDetails]
    transfers: Sequence[Transfer]

    def balances(self, *, before: datetime) -> Counter[Any]:
        """Debits less credits by account, of value dates before ``before``."""
        sums: Counter[Any] = Counter(dict.fromkeys(self.accounts, 0))
        for transfer in self.transfers:
            if transfer.effective_at < before:
                sums[transfer.debit_account_id] += transfer.amount
                sums[transfer.credit_account_id] -= transfer.amount
        return sums


async def fill_in_time(service_url: str, *, transfers: int = 300) -> LedgerInTime:
    """Open an account for each reference and post between those of a currency."""
    settings = Settings(effective_past_days_max=3_660)
    database = Database.connect(service_url, settings)
    try:
        accounts = await _open(database, settings)
        return LedgerInTime(
            {account.id: account for account in accounts}, await _post(database, settings, accounts, transfers)
        )
    finally:
        await database.close()


def _key(kind: str, number: int) -> dict[str, Any]:
    return {"ledger_id": MAIN, "client_id": 'it\'s "a" client; yes, 1%', "idempotency_key": f"{kind}-{number}"}


async def _open(database: Database, settings: Settings) -> list[AccountDetails]:
    page = [
        Opening(
            Key(fingerprint=b"%d" % number, operation="create_account", **_key("account", number)),
            NewAccount(
                currency=CURRENCIES[number % len(CURRENCIES)],
                normal_side="debit" if number % 3 == 0 else "credit",
                reference=reference,
                name=reference and f"The account {reference}",
                minimum_balance=None,
                maximum_balance=None,
                code=("1000:cash", None)[number % 2],
                metadata={},
            ),
        )
        for number, reference in enumerate(REFERENCES)
    ]
    answers = await open_accounts(Transactions(database, settings.commit_limits), settings, page, opened_at=FIRST_DAY)
    assert all(isinstance(answer.result, AccountDetails) for answer in answers), answers
    return [answer.result for answer in answers if isinstance(answer.result, AccountDetails)]


async def _post(
    database: Database, settings: Settings, accounts: Sequence[AccountDetails], count: int
) -> list[Transfer]:
    chance = random.Random(7)
    by_currency = {
        currency: [account for account in accounts if account.currency == currency] for currency in CURRENCIES
    }
    groups = []
    for number in range(count):
        debit, credit = chance.sample(by_currency[CURRENCIES[number % len(CURRENCIES)]], 2)
        groups.append(
            [
                PostTransfer(
                    debit_account_id=debit.id,
                    credit_account_id=credit.id,
                    amount=HUGE if number < len(CURRENCIES) else chance.choice((1, 10, 99, 100, 12_345, 10**12 + 7)),
                    currency=debit.currency,
                    reference=chance.choice(REFERENCES),
                    description=TEXTS[number % len(TEXTS)],
                    metadata=chance.choice(({}, {"a|b": "c\nd", "date": "2001-01-01", 'q"': "[2001-01-01]; x:y"})),
                    effective_at=FIRST_DAY + timedelta(seconds=chance.randrange(DAYS * 86_400)),
                    **_key("transfer", number),
                )
            ]
        )
    answers = await commit_batch(database, settings, MAIN, groups)
    assert all(isinstance(answer.result, Transfer) for [answer] in answers), answers
    return [answer.result for [answer] in answers if isinstance(answer.result, Transfer)]
