"""Requests of callers, each under its key."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class AnyOrder(ABC):
    """The members that all orders have."""

    operation: ClassVar[str]

    ledger: str
    key: str

    @property
    @abstractmethod
    def path(self) -> str: ...

    @property
    def body(self) -> dict[str, Any] | None:
        return None

    @property
    def terms(self) -> dict[str, Any]:
        """What is asked for: the body's members, and what the path names."""
        return self.body or {}


@dataclass(frozen=True)
class Order(AnyOrder):
    """A transfer; with ``at_most`` of what is available, up to the amount."""

    operation: ClassVar[str] = "post_transfer"

    debit: str
    credit: str
    amount: int
    currency: str = "USD"
    at_most: bool = False

    @property
    def path(self) -> str:
        return f"/v1/ledgers/{self.ledger}/transfers"

    @property
    def body(self) -> dict[str, Any]:
        return {
            "debit_account_id": self.debit,
            "credit_account_id": self.credit,
            "amount": {"at_most": self.amount} if self.at_most else self.amount,
            "currency": self.currency,
        }


@dataclass(frozen=True)
class HoldOrder(AnyOrder):
    """A hold to open."""

    operation: ClassVar[str] = "open_hold"

    debit: str
    credit: str
    amount: int
    expires_in_seconds: int = 3_600
    currency: str = "USD"

    @property
    def path(self) -> str:
        return f"/v1/ledgers/{self.ledger}/holds"

    @property
    def body(self) -> dict[str, Any]:
        return {
            "debit_account_id": self.debit,
            "credit_account_id": self.credit,
            "amount": self.amount,
            "currency": self.currency,
            "expires_in_seconds": self.expires_in_seconds,
        }


@dataclass(frozen=True)
class CaptureOrder(AnyOrder):
    """A capture of ``amount``, or of all that the hold reserves; ``final`` frees the rest."""

    operation: ClassVar[str] = "capture_hold"

    hold: str
    amount: int | None
    final: bool

    @property
    def path(self) -> str:
        return f"/v1/ledgers/{self.ledger}/holds/{self.hold}/captures"

    @property
    def body(self) -> dict[str, Any]:
        return {"amount": self.amount, "final": self.final}

    @property
    def terms(self) -> dict[str, Any]:
        return (self.body or {}) | {"hold_id": self.hold}


@dataclass(frozen=True)
class VoidOrder(AnyOrder):
    """The end of a hold without a capture."""

    operation: ClassVar[str] = "void_hold"

    hold: str

    @property
    def path(self) -> str:
        return f"/v1/ledgers/{self.ledger}/holds/{self.hold}/void"

    @property
    def terms(self) -> dict[str, Any]:
        return (self.body or {}) | {"hold_id": self.hold}


@dataclass(frozen=True)
class ReversalOrder(AnyOrder):
    """A reversal of ``amount``, or of all that is left of the transfer."""

    operation: ClassVar[str] = "reverse_transfer"

    transfer: str
    amount: int | None

    @property
    def path(self) -> str:
        return f"/v1/ledgers/{self.ledger}/transfers/{self.transfer}/reversals"

    @property
    def body(self) -> dict[str, Any]:
        return {"amount": self.amount}

    @property
    def terms(self) -> dict[str, Any]:
        return (self.body or {}) | {"transfer_id": self.transfer}


@dataclass(frozen=True)
class AccountOrder(AnyOrder):
    """An account to open."""

    operation: ClassVar[str] = "create_account"

    @property
    def path(self) -> str:
        return f"/v1/ledgers/{self.ledger}/accounts"

    @property
    def body(self) -> dict[str, Any]:
        return {"currency": "USD"}


@dataclass(frozen=True)
class Look:
    """A read, or the fence of a key: ``path`` is below the ledger."""

    operation: str
    ledger: str
    below: str
    key: str | None = None
    terms: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def account(cls, ledger: str, account: str, min_version: int | None = None) -> "Look":
        query = "" if min_version is None else f"?min_version={min_version}"
        terms = {"account_id": account, "min_version": min_version}
        return cls("read_account", ledger, f"accounts/{account}{query}", terms=terms)

    @classmethod
    def transfer(cls, ledger: str, transfer: str) -> "Look":
        return cls("read_transfer", ledger, f"transfers/{transfer}", terms={"transfer_id": transfer})

    @classmethod
    def key_of(cls, order: AnyOrder) -> "Look":
        return cls("read_key", order.ledger, f"idempotency-keys/{order.key}", order.key)

    @classmethod
    def fence(cls, order: AnyOrder) -> "Look":
        return cls("fence_key", order.ledger, f"idempotency-keys/{order.key}/fence", order.key)

    @property
    def method(self) -> str:
        return "POST" if self.operation == "fence_key" else "GET"

    @property
    def path(self) -> str:
        return f"/v1/ledgers/{self.ledger}/{self.below}"
