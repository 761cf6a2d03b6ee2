"""The small bank of ``funds demo``: its accounts, and what a day brings. Pure: the same randomness, the same bank."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random

from msgspec import Struct

from service.wire.accounts import AccountRequest

CUSTOMERS = 50
DAYS = 14

_CURRENCIES = ("USD", "EUR", "JPY")
_CURRENCY_WEIGHTS = (5, 3, 2)
_MINOR_UNITS = {"USD": 100, "EUR": 100, "JPY": 150}
"""What a dollar's worth is in minor units of each currency, roughly: the bank's people live alike."""

_PAY_EVERY_DAYS = 7
_RENT_DAY = 2
_FEE_DAY = DAYS - 1
_WITHDRAWAL_CHANCE = 0.2
"""Of a customer, on a day."""

_GIVEN_NAMES = ("Ada", "Bruno", "Chiara", "Dmitri", "Emre", "Fatima", "Greta", "Hiro", "Ines", "Jonas", "Keiko", "Lena")
_FAMILY_NAMES = ("Abe", "Becker", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Hansen", "Ito", "Jensen", "Kaya")
_MERCHANTS = (
    "Corner Bakery",
    "Green Grocer",
    "City Transit",
    "Book Nook",
    "Noodle Bar",
    "Pharmacy",
    "Cinema",
    "Garage",
)


class Movement(Struct, frozen=True, kw_only=True):
    """Money to move between the accounts with these references, in minor units."""

    debit: str
    credit: str
    amount: int
    currency: str
    reference: str
    description: str
    effective_at: datetime


class Customer(Struct, frozen=True):
    """A customer as the traffic needs it; ``pay`` a week and ``rent`` in dollars' worth."""

    reference: str
    currency: str
    pay: int
    rent: int


def open_bank(random: Random) -> tuple[list[AccountRequest], list[Customer]]:
    """Return the accounts to open, and the customers among them."""
    accounts = [account for currency in _CURRENCIES for account in _own_accounts(currency)]
    customers = []
    for number in range(1, CUSTOMERS + 1):
        [currency] = random.choices(_CURRENCIES, _CURRENCY_WEIGHTS)
        customer = Customer(f"customer-{number:03}", currency, random.randrange(500, 1500), random.randrange(300, 900))
        overdraft = random.choice((0, 0, 0, 500)) * _MINOR_UNITS[currency]
        accounts.append(
            AccountRequest(
                reference=customer.reference,
                code=_code("2000:customers", currency),
                name=f"{random.choice(_GIVEN_NAMES)} {random.choice(_FAMILY_NAMES)}",
                currency=currency,
                minimum_balance=-overdraft,
                metadata={"kind": "customer", "branch": random.choice(("north", "harbour", "station"))},
            )
        )
        customers.append(customer)
    return accounts, customers


def _own_accounts(currency: str) -> Iterator[AccountRequest]:
    yield AccountRequest(
        reference=_own("cash", currency),
        code=_code("1000:cash", currency),
        name=f"Cash {currency}",
        currency=currency,
        normal_side="debit",
    )
    yield AccountRequest(
        reference=_own("fees", currency), code=_code("4000:fees", currency), name=f"Fees {currency}", currency=currency
    )
    for kind, code, name in (
        ("settlement", "2000:settlement", "Card settlement"),
        ("employer", "2000:business", "Harbour Works"),
        ("landlord", "2000:business", "Lakeside Homes"),
    ):
        yield AccountRequest(
            reference=_own(kind, currency),
            code=_code(code, currency),
            name=f"{name} {currency}",
            currency=currency,
            minimum_balance=0,
        )


def traffic(random: Random, customers: Sequence[Customer], number: int, day: datetime) -> list[Movement]:
    """Return what day ``number`` (from 0), which begins at ``day``, brings, in the order of its value times."""
    movements: list[Movement] = []
    if number % _PAY_EVERY_DAYS == 0:
        movements += _payroll(customers, day)
    for customer in customers:
        if number == 0:
            movements.append(
                _movement(
                    customer, "cash", random.randrange(100, 1500), day, 8 * 60, "deposit", "Cash deposit", into=True
                )
            )
        if number == _RENT_DAY:
            movements.append(_movement(customer, "landlord", customer.rent, day, 10 * 60, "rent", "Rent"))
        if number == _FEE_DAY:
            movements.append(_movement(customer, "fees", 4, day, 22 * 60 + 30, "account-fee", "Account fee"))
        movements += _daily_life(random, customer, day)
    return sorted(movements, key=lambda movement: movement.effective_at)


def pay_out(currency: str, amount: int, day: datetime) -> Movement:
    """Return the evening's payment of what the cards brought in on ``day``."""
    return Movement(
        debit=_own("settlement", currency),
        credit=_own("cash", currency),
        amount=amount,
        currency=currency,
        reference=f"settlement-{day:%Y-%m-%d}",
        description="Card settlement of the day",
        effective_at=day + timedelta(hours=23, minutes=30),
    )


def is_card_payment(movement: Movement) -> bool:
    """Whether ``pay_out`` owes the amount to the merchants."""
    return movement.credit == _own("settlement", movement.currency)


def payroll_reference(day: datetime) -> str:
    """Return the reference of every salary paid on ``day``."""
    return f"payroll-{day:%Y-%m-%d}"


def _payroll(customers: Sequence[Customer], day: datetime) -> Iterator[Movement]:
    for currency in _CURRENCIES:
        paid = sum(customer.pay for customer in customers if customer.currency == currency)
        if paid:
            yield Movement(
                debit=_own("cash", currency),
                credit=_own("employer", currency),
                amount=paid * _MINOR_UNITS[currency],
                currency=currency,
                reference=f"payroll-funding-{day:%Y-%m-%d}",
                description="Wire from Harbour Works",
                effective_at=day + timedelta(hours=7),
            )
    for customer in customers:
        yield _movement(customer, "employer", customer.pay, day, 9 * 60, "payroll", "Salary", into=True)


def _daily_life(random: Random, customer: Customer, day: datetime) -> Iterator[Movement]:
    for _ in range(random.randint(2, 6)):
        minute = random.randrange(10 * 60, 22 * 60)
        price = min(random.lognormvariate(3, 0.8), 400)
        yield _movement(customer, "settlement", price, day, minute, "card", random.choice(_MERCHANTS))
    if random.random() < _WITHDRAWAL_CHANCE:
        minute = random.randrange(10 * 60, 22 * 60)
        amount = 20 * random.randint(1, 8)
        yield _movement(customer, "cash", amount, day, minute, "withdrawal", "Cash machine")
        yield _movement(customer, "fees", 1.5, day, minute, "withdrawal-fee", "Cash machine fee")


def _movement(
    customer: Customer,
    kind: str,
    dollars: float,
    day: datetime,
    minute: int,
    reference: str,
    description: str,
    *,
    into: bool = False,
) -> Movement:
    """Return a payment of ``customer`` to one of the bank's own accounts, or ``into`` the customer's from there."""
    own = _own(kind, customer.currency)
    return Movement(
        debit=own if into else customer.reference,
        credit=customer.reference if into else own,
        amount=max(1, round(dollars * _MINOR_UNITS[customer.currency])),
        currency=customer.currency,
        reference=f"{reference}-{day:%Y-%m-%d}",
        description=description,
        effective_at=day + timedelta(minutes=minute),
    )


def _own(kind: str, currency: str) -> str:
    return f"{kind}-{currency.lower()}"


def _code(group: str, currency: str) -> str:
    return f"{group}:{currency.lower()}"
