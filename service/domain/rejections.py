"""Why the service refuses: values with names that explain themselves, and the numbers behind each refusal.

A rejection is an outcome, not an exception: it is committed under its idempotency key and replays for ever.
The functions stand in the order in which the rules are checked.
"""

from typing import Any
from uuid import UUID

from msgspec import Struct


class Rejection(Struct, frozen=True, gc=False):
    """A refusal: ``code`` names the rule, ``detail`` says it in a sentence, ``members`` hold the numbers."""

    code: str
    detail: str
    members: dict[str, Any]


def idempotency_key_reused(idempotency_key: str) -> Rejection:
    """The key already stands for another request; nothing is stored."""
    return Rejection(
        "idempotency_key_reused",
        "This idempotency key was already used for another request; a new request needs a new key.",
        {"idempotency_key": idempotency_key},
    )


def same_account(account_id: UUID) -> Rejection:
    """A transfer needs two accounts."""
    return Rejection(
        "same_account", "The debit account and the credit account are the same.", {"account_id": str(account_id)}
    )


def currency_unknown(currency: str) -> Rejection:
    """ISO 4217 has no such currency, or gives it no minor unit."""
    return Rejection(
        "currency_unknown", f"{currency} is not a currency of ISO 4217 with a minor unit.", {"currency": currency}
    )


def account_not_found(account_id: UUID) -> Rejection:
    """The ledger has no such account."""
    return Rejection("account_not_found", f"This ledger has no account {account_id}.", {"account_id": str(account_id)})


def account_closed(account_id: UUID) -> Rejection:
    """A closed account never moves or changes again."""
    return Rejection("account_closed", f"Account {account_id} is closed.", {"account_id": str(account_id)})


def account_frozen(account_id: UUID) -> Rejection:
    """A frozen account takes neither debits nor credits."""
    return Rejection("account_frozen", f"Account {account_id} is frozen.", {"account_id": str(account_id)})


def currency_mismatch(account_id: UUID, *, account_currency: str, currency: str) -> Rejection:
    """The account holds another currency than the transfer moves."""
    return Rejection(
        "currency_mismatch",
        f"Account {account_id} holds {account_currency}, the transfer is in {currency}.",
        {"account_id": str(account_id), "account_currency": account_currency, "currency": currency},
    )


def balance_overflow(account_id: UUID, *, side: str, posted: int, held: int, amount: int) -> Rejection:
    """The counter of ``side`` (debit or credit) would pass the largest 64-bit integer."""
    return Rejection(
        "balance_overflow",
        f"The {side}s of account {account_id} would exceed the largest number it can hold.",
        {"account_id": str(account_id), "side": side, "posted": posted, "held": held, "amount": amount},
    )


def insufficient_funds(account_id: UUID, *, available_balance: int, minimum_balance: int, amount: int) -> Rejection:
    """The available balance less ``amount`` would lie below the account's minimum."""
    return Rejection(
        "insufficient_funds",
        f"Account {account_id} has {available_balance} available and a minimum of {minimum_balance}.",
        {
            "account_id": str(account_id),
            "available_balance": available_balance,
            "minimum_balance": minimum_balance,
            "amount": amount,
            "shortfall": minimum_balance - (available_balance - amount),
        },
    )


def balance_limit_exceeded(account_id: UUID, *, balance: int, maximum_balance: int, amount: int) -> Rejection:
    """The balance plus ``amount`` would lie above the account's maximum."""
    return Rejection(
        "balance_limit_exceeded",
        f"Account {account_id} has a balance of {balance} and a maximum of {maximum_balance}.",
        {
            "account_id": str(account_id),
            "balance": balance,
            "maximum_balance": maximum_balance,
            "amount": amount,
            "excess": balance + amount - maximum_balance,
        },
    )


def account_not_empty(account_id: UUID, *, balance: int, debits_held: int, credits_held: int) -> Rejection:
    """Only an account without balance and holds can be closed."""
    return Rejection(
        "account_not_empty",
        f"Account {account_id} cannot be closed while it has a balance or holds.",
        {
            "account_id": str(account_id),
            "balance": balance,
            "debits_held": debits_held,
            "credits_held": credits_held,
        },
    )


def bounds_crossed(account_id: UUID, *, minimum_balance: int, maximum_balance: int) -> Rejection:
    """No balance could lie between a minimum and a smaller maximum."""
    return Rejection(
        "balance_limit_exceeded",
        f"A minimum of {minimum_balance} lies above a maximum of {maximum_balance}.",
        {"account_id": str(account_id), "minimum_balance": minimum_balance, "maximum_balance": maximum_balance},
    )


def version_mismatch(account_id: UUID) -> Rejection:
    """The caller wants to change a state of the account that is no longer its state."""
    return Rejection(
        "version_mismatch",
        f"Account {account_id} is no longer in the state that If-Match names; read it again.",
        {"account_id": str(account_id)},
    )


def reference_taken(reference: str) -> Rejection:
    """Another account of the ledger has this reference."""
    return Rejection(
        "reference_taken", f"Another account of this ledger has the reference {reference!r}.", {"reference": reference}
    )


def ledger_name_taken(name: str) -> Rejection:
    """Another ledger has this name."""
    return Rejection("reference_taken", f"Another ledger is named {name!r}.", {"name": name})


def batch_rejected(idempotency_key: str, code: str) -> Rejection:
    """Applied together or not at all: the command under ``idempotency_key`` was refused with ``code``."""
    return Rejection(
        "batch_rejected",
        "Nothing of this batch was applied, because one of its transfers was refused.",
        {"refused_idempotency_key": idempotency_key, "refused_code": code},
    )


def internal_error() -> Rejection:
    """The database refused what the rules had allowed: a fault of ours. Nothing is applied, nothing is stored."""
    return Rejection("internal_error", "The service failed on this request; nothing was applied.", {})
