"""Why the service refuses: values with names that explain themselves, and the numbers behind each refusal.

A rejection is an outcome, not an exception: it is committed under its idempotency key and replays for ever.
The functions stand in the order in which the rules are checked.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct


class Rejection(Struct, frozen=True, gc=False):
    """A refusal: ``code`` names the rule, ``detail`` says it in a sentence, ``members`` hold the numbers."""

    code: str
    detail: str
    members: dict[str, Any]


def short_of_room(rejection: Rejection) -> UUID | None:
    """Return the account that lacked room for what was refused, if it has some that holds reserve."""
    members = rejection.members
    if members.get("held") or members.get("debits_held") or members.get("credits_held"):
        return UUID(members["account_id"])
    return None


def earlier_request(
    *, operation: str, outcome: str, decided_at: datetime, code: str | None = None, **resource: object
) -> dict[str, str]:
    """Return what stands under a key that is used: ``outcome`` is applied, rejected (with ``code``) or fenced.

    ``resource`` names what an applied one made or changed: transfer_id, hold_id, account_id or ledger.
    """
    said = {"operation": operation, "outcome": outcome, "decided_at": _text(decided_at)}
    if code is not None:
        said["code"] = code
    return said | {name: str(value) for name, value in resource.items()}


def idempotency_key_reused(idempotency_key: str, earlier: dict[str, str]) -> Rejection:
    """The key already stands for another request, ``earlier``; nothing is stored."""
    decided = f"{earlier['operation']}, {earlier['outcome']} at {earlier['decided_at']}"
    if earlier["outcome"] == "applied":
        made = next(f"{name.removesuffix('_id')} {earlier[name]}" for name in _RESOURCES if name in earlier)
        what = f"{decided} ({made}). That one HAS been applied and stands; read it before you send anything anew"
    else:
        what = f"{decided} ({earlier['code']}). Nothing was or will be applied under this key"
    return Rejection(
        "idempotency_key_reused",
        f"This request was not carried out: its idempotency key stands for another request, {what}.",
        {"idempotency_key": idempotency_key, "earlier_request": earlier},
    )


_RESOURCES = ("transfer_id", "hold_id", "account_id", "ledger")


def key_fenced(idempotency_key: str, earlier: dict[str, str]) -> Rejection:
    """The key was made unusable by ``earlier`` before it was used; nothing is stored."""
    return Rejection(
        "key_fenced",
        f"This request was not carried out: its idempotency key was fenced at {earlier['decided_at']}. Nothing was or"
        " will be applied under it.",
        {"idempotency_key": idempotency_key, "earlier_request": earlier},
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


def time_out_of_range(field: str, value: datetime, *, earliest: datetime, latest: datetime) -> Rejection:
    """The time in ``field`` lies outside of what this installation allows, or before what it refers to."""
    return Rejection(
        "time_out_of_range",
        f"{field} must lie between {_text(earliest)} and {_text(latest)}.",
        {"field": field, "value": _text(value), "earliest": _text(earliest), "latest": _text(latest)},
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
    """The account holds another currency than the transfer names, which may be one that no account holds."""
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


def insufficient_funds(
    account_id: UUID, *, balance: int, available_balance: int, minimum_balance: int, amount: int
) -> Rejection:
    """The available balance less ``amount`` would lie below the minimum."""
    return Rejection(
        "insufficient_funds",
        f"Account {account_id} has {available_balance} available and a minimum of {minimum_balance}.",
        {
            "account_id": str(account_id),
            "balance": balance,
            "held": balance - available_balance,
            "available_balance": available_balance,
            "minimum_balance": minimum_balance,
            "amount": amount,
            "shortfall": minimum_balance - (available_balance - amount),
        },
    )


def balance_limit_exceeded(account_id: UUID, *, balance: int, maximum_balance: int, amount: int) -> Rejection:
    """The balance plus ``amount`` would lie above the maximum."""
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


def hold_not_found(hold_id: UUID) -> Rejection:
    """The ledger has no such hold."""
    return Rejection("hold_not_found", f"This ledger has no hold {hold_id}.", {"hold_id": str(hold_id)})


def hold_expired(hold_id: UUID, *, expires_at: datetime) -> Rejection:
    """The hold's time is over, whether or not what it reserved has been freed yet."""
    return Rejection(
        "hold_expired",
        f"Hold {hold_id} expired at {_text(expires_at)}.",
        {"hold_id": str(hold_id), "expires_at": _text(expires_at)},
    )


def hold_not_open(hold_id: UUID, *, status: str, captured_amount: int) -> Rejection:
    """The hold has met its end before: captured or voided."""
    return Rejection(
        "hold_not_open",
        f"Hold {hold_id} is {status}.",
        {"hold_id": str(hold_id), "hold_status": status, "captured_amount": captured_amount},
    )


def capture_exceeds_hold(hold_id: UUID, *, hold_amount: int, captured_amount: int, amount: int) -> Rejection:
    """More was to be captured than the hold still reserves."""
    return Rejection(
        "capture_exceeds_hold",
        f"Hold {hold_id} still reserves {hold_amount - captured_amount}.",
        {
            "hold_id": str(hold_id),
            "hold_amount": hold_amount,
            "captured_amount": captured_amount,
            "amount": amount,
            "excess": captured_amount + amount - hold_amount,
        },
    )


def transfer_not_found(transfer_id: UUID) -> Rejection:
    """The ledger has no such transfer."""
    return Rejection(
        "transfer_not_found", f"This ledger has no transfer {transfer_id}.", {"transfer_id": str(transfer_id)}
    )


def reversal_not_reversible(transfer_id: UUID, *, reverses_id: UUID) -> Rejection:
    """A reversal is final; money goes out again by a new transfer."""
    return Rejection(
        "reversal_not_reversible",
        f"Transfer {transfer_id} is itself a reversal; post a new transfer instead.",
        {"transfer_id": str(transfer_id), "reverses_id": str(reverses_id)},
    )


def already_reversed(transfer_id: UUID, *, amount: int) -> Rejection:
    """All of the transfer has been moved back before."""
    return Rejection(
        "already_reversed",
        f"All of transfer {transfer_id} has been reversed.",
        {"transfer_id": str(transfer_id), "reversed_amount": amount},
    )


def reversal_exceeds_transfer(
    transfer_id: UUID, *, transfer_amount: int, reversed_amount: int, amount: int
) -> Rejection:
    """More was to be moved back than is left of the transfer."""
    return Rejection(
        "reversal_exceeds_transfer",
        f"Of transfer {transfer_id}, {transfer_amount - reversed_amount} can still be reversed.",
        {
            "transfer_id": str(transfer_id),
            "transfer_amount": transfer_amount,
            "reversed_amount": reversed_amount,
            "amount": amount,
            "excess": reversed_amount + amount - transfer_amount,
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


def clock_behind(account_id: UUID, *, last_change: datetime, clock: datetime) -> Rejection:
    """The account's last change lies ahead of the clock, too far to place another one after it. Nothing is stored: it
    passes when the clock has been put right, or has caught up.
    """
    ahead = last_change - clock
    return Rejection(
        "clock_behind",
        f"The last change of account {account_id} lies {ahead.total_seconds()} seconds ahead of the database's clock;"
        " nothing was applied.",
        {
            "account_id": str(account_id),
            "last_change": _text(last_change),
            "clock": _text(clock),
            "ahead_seconds": ahead.total_seconds(),
        },
    )


def internal_error() -> Rejection:
    """The database refused what the rules had allowed: a fault of ours. Nothing is applied, nothing is stored."""
    return Rejection("internal_error", "The service failed on this request; nothing was applied.", {})


def _text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
