"""What can be read of a ledger: each a request, and how its answer is read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from msgspec import Struct

from .courses import Conditions, reading
from .exchange import Answer, Course, Request, segment
from .feed import FeedPage, read_feed_page
from .intents import JSON
from .outcomes import KeyOutcome, read_outcome
from .receipts import check_receipt
from .wire.accounts import AccountStatus
from .wire.balances import BalancesRequest, BalancesView, BalanceView
from .wire.holds import HoldStatus
from .wire.log import ReceiptView
from .wire.pages import Page
from .wire.statements import Axis, StatementLine, StatementView
from .wire.views import AccountView, HoldView, TransferView

T = TypeVar("T")

Order = Literal["asc", "desc"]
PAGE_ITEMS = 1_000
"""How many items a page is asked for; the service makes pages of large items shorter."""


class Reading(Struct, Generic[T], frozen=True, kw_only=True):
    """Something to read. The service may take ``wait_seconds`` longer than usual to answer."""

    request: Request
    read: Callable[[Answer], T]
    wait_seconds: float = 0.0

    def course(self, conditions: Conditions) -> Course[T]:
        """Read it. Raises FundsError."""
        return reading(self.request, self.read, conditions, wait_seconds=self.wait_seconds)


class AnyPage(Protocol[T]):
    """A page of a list, whatever else it says."""

    @property
    def items(self) -> list[T]:
        """What it has."""

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins."""


class Listing(Struct, Generic[T], frozen=True, kw_only=True):
    """A list to read to its end, page by page."""

    path: str
    query: Sequence[tuple[str, str]]
    page_type: Any

    def page(self, cursor: str | None) -> Reading[AnyPage[T]]:
        """Return the reading of the page at ``cursor``."""
        query = [*self.query, ("limit", str(PAGE_ITEMS)), *([] if cursor is None else [("cursor", cursor)])]
        return Reading(request=_get(self.path, query), read=_reader(self.page_type))


def after(page: AnyPage[T], cursor: str | None) -> str | None:
    """Return the cursor of the page behind ``page``, which was at ``cursor``; None where the list ends, for now: in
    rising order, at a page without items that repeats its cursor.
    """
    return None if not page.items and page.next_cursor == cursor else page.next_cursor


class AccountState(Struct, frozen=True):
    """An account, and the ETag that a revision of just this state names."""

    account: AccountView
    etag: str


class Reads:
    """What can be read of ``ledger``. With ``log_key``, its verifier key, receipts are verified as they arrive."""

    def __init__(self, ledger: str, log_key: str | None) -> None:
        self._path = f"/v1/ledgers/{segment(ledger)}"
        self._log_key = log_key

    def get_account(self, account_id: UUID, *, min_version: int = 0) -> Reading[AccountView]:
        """Read an account, at ``min_version`` or later where a replica may answer."""
        return self._one(f"accounts/{account_id}", AccountView, {"min_version": min_version or None})

    def get_account_state(self, account_id: UUID) -> Reading[AccountState]:
        """Read an account to revise it."""

        def read(answer: Answer) -> AccountState:
            account = msgspec.json.decode(answer.body, type=AccountView)
            return AccountState(account, answer.headers.get("etag", ""))

        return Reading(request=_get(f"{self._path}/accounts/{account_id}"), read=read)

    def get_transfer(self, transfer_id: UUID) -> Reading[TransferView]:
        """Read a transfer."""
        return self._one(f"transfers/{transfer_id}", TransferView)

    def get_hold(self, hold_id: UUID) -> Reading[HoldView]:
        """Read a hold."""
        return self._one(f"holds/{hold_id}", HoldView)

    def get_outcome(self, key: str) -> Reading[KeyOutcome]:
        """Read what became of a key so far; a request that is on its way may still change ``never_seen``."""
        return Reading(request=_get(f"{self._path}/idempotency-keys/{segment(key)}"), read=read_outcome)

    def fence(self, key: str) -> Reading[KeyOutcome]:
        """Make a key unusable unless it was used, and read what became of it: certain from now on. Can be called again
        at will.
        """
        path = f"{self._path}/idempotency-keys/{segment(key)}/fence"
        return Reading(request=Request(method="POST", path=path), read=read_outcome)

    def get_balance(
        self, account_id: UUID, *, as_of: datetime | None = None, known_at: datetime | None = None
    ) -> Reading[BalanceView]:
        """Read an account's balances as of a value date, as they were known at a time; both are now if left out."""
        return self._one(f"accounts/{account_id}/balance", BalanceView, {"as_of": as_of, "known_at": known_at})

    def get_balances(
        self, account_ids: Iterable[UUID], *, as_of: datetime | None = None, known_at: datetime | None = None
    ) -> Reading[BalancesView]:
        """Read the balances of up to 1,000 accounts, all at the same times."""
        asked = BalancesRequest(account_ids=list(account_ids), as_of=_time(as_of), known_at=_time(known_at))
        request = Request(
            method="POST", path=f"{self._path}/balances/query", headers=JSON, body=msgspec.json.encode(asked)
        )
        return Reading(request=request, read=_reader(BalancesView))

    def get_receipt(self, of: TransferView | UUID) -> Reading[ReceiptView]:
        """Read the receipt of a transfer, or of the entry with this id, once it is sealed. With a log key it is
        verified, and so is that it says of the transfer what ``of`` does. Raises ReceiptError where it does not.
        """
        entry_id = of if isinstance(of, UUID) else of.id

        def read(answer: Answer) -> ReceiptView:
            view = msgspec.json.decode(answer.body, type=ReceiptView)
            if self._log_key is not None:
                check_receipt(view, of, self._log_key)
            return view

        return Reading(request=_get(f"{self._path}/log/entries/{entry_id}/receipt"), read=read)

    def get_events(self, after: UUID | None = None, *, limit: int = 100, wait_seconds: int = 0) -> Reading[FeedPage]:
        """Read what happened in the ledger behind the event ``after``; where there is nothing yet, wait for it."""
        query = {"after": after, "limit": limit, "wait_seconds": wait_seconds}
        request = _get(f"{self._path}/events", _query(query))
        return Reading(request=request, read=read_feed_page, wait_seconds=wait_seconds)

    def list_accounts(
        self,
        *,
        order: Order = "desc",
        currency: str | None = None,
        status: AccountStatus | None = None,
        reference: str | None = None,
        code: str | None = None,
        code_prefix: str | None = None,
    ) -> Listing[AccountView]:
        """List accounts."""
        filters = {"currency": currency, "status": status, "reference": reference}
        return self._list("accounts", Page[AccountView], order, filters | {"code": code, "code_prefix": code_prefix})

    def list_holds(
        self, *, order: Order = "desc", account_id: UUID | None = None, status: HoldStatus | None = None
    ) -> Listing[HoldView]:
        """List holds."""
        return self._list("holds", Page[HoldView], order, {"account_id": account_id, "status": status})

    def list_transfers(
        self,
        *,
        order: Order = "desc",
        account_id: UUID | None = None,
        counterparty_id: UUID | None = None,
        reference: str | None = None,
        reference_prefix: str | None = None,
        hold_id: UUID | None = None,
        reverses_id: UUID | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        effective_from: datetime | None = None,
        effective_to: datetime | None = None,
        amount_min: int | None = None,
        amount_max: int | None = None,
        currency: str | None = None,
        client: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Listing[TransferView]:
        """List transfers; filters combine (service/docs/semantics.md, "Searching transfers")."""
        filters = {
            "account_id": account_id,
            "counterparty_id": counterparty_id,
            "reference": reference,
            "reference_prefix": reference_prefix,
            "hold_id": hold_id,
            "reverses_id": reverses_id,
            "created_from": created_from,
            "created_to": created_to,
            "effective_from": effective_from,
            "effective_to": effective_to,
            "amount_min": amount_min,
            "amount_max": amount_max,
            "currency": currency,
            "client": client,
            "description": description,
            "metadata": None if metadata is None else [f"{name}:{value}" for name, value in metadata.items()],
        }
        return self._list("transfers", Page[TransferView], order, filters)

    def list_statement_lines(
        self, account_id: UUID, *, start: datetime, end: datetime, axis: Axis = "recorded"
    ) -> Listing[StatementLine]:
        """List what moved an account from ``start`` to before ``end``, in order, each with the balance after it."""
        query = _query({"from": start, "to": end, "axis": axis})
        return Listing(path=f"{self._path}/accounts/{account_id}/statement", query=query, page_type=StatementView)

    def _one(self, path: str, kind: type[T], query: Mapping[str, Any] | None = None) -> Reading[T]:
        return Reading(request=_get(f"{self._path}/{path}", _query(query or {})), read=_reader(kind))

    def _list(self, path: str, page_type: Any, order: Order, filters: Mapping[str, Any]) -> Listing[Any]:
        return Listing(path=f"{self._path}/{path}", query=_query({"order": order} | dict(filters)), page_type=page_type)


def _reader(kind: Any) -> Callable[[Answer], Any]:
    return lambda answer: msgspec.json.decode(answer.body, type=kind)


def _get(path: str, query: Sequence[tuple[str, str]] = ()) -> Request:
    return Request(method="GET", path=f"{path}?{urlencode(query)}" if query else path)


def _query(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is given of ``values`` as a query has it."""
    given = ((name, one) for name, value in values.items() for one in (value if isinstance(value, list) else [value]))
    return [(name, _text(value)) for name, value in given if value is not None]


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
