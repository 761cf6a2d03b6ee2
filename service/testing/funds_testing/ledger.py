"""The ledger of a test: accounts with money in them, faults, time, and whether it is whole."""

import itertools
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from msgspec import Struct

from funds_testing.errors import LedgerNotWholeError
from funds_testing.wire import (
    AdvanceRequest,
    AnyFault,
    Check,
    CommitThenDrop,
    CutBody,
    Decline,
    Delay,
    DropBefore,
    Expired,
    FaultMet,
    FaultsView,
    Finding,
    LedgerMade,
    Scope,
    Unavailable,
)

if TYPE_CHECKING:
    from funds_testing.service import FundsService

JSON = dict[str, Any]
T = TypeVar("T")

_PAGE = 1000
_ADMIN = "admin"
"""The client of what a test asks for past the faults, such as the money of accounts."""


class Account(Struct, frozen=True):
    """An account of the ledger."""

    id: str
    currency: str
    ledger: "TestLedger"

    @property
    def balance(self) -> int:
        """Its balance now, in minor units: posted, whatever holds reserve."""
        return int(self.read()["balance"])

    def read(self) -> JSON:
        """Return it as the service shows it now."""
        account: JSON = self.ledger.get(f"/accounts/{self.id}")
        return account


class Faults:
    """What is to happen to the next requests of callers: of all in one ledger, or of the caller with one token.

    Each method asks for one kind of fault. ``times`` is how many requests meet it, ``requests`` which: those that
    change something (``writes``), those that do not (``reads``), or ``all``. Faults happen in the order in which they
    were asked for.
    """

    def __init__(self, service: "FundsService", *, ledger: str | None = None, token: str | None = None) -> None:
        self._service = service
        self._meant = {"ledger": ledger, "token": token}
        self._query = f"/faults?{'ledger' if token is None else 'token'}={ledger or token}"

    def commit_then_drop(self, **which: Unpack[Scope]) -> None:
        """Carry the request out, then close the connection instead of answering."""
        self._arm(CommitThenDrop(**self._meant, **which))

    def drop_before(self, **which: Unpack[Scope]) -> None:
        """Close the connection before the service has seen the request: nothing is applied."""
        self._arm(DropBefore(**self._meant, **which))

    def unavailable(self, **which: Unpack[Scope]) -> None:
        """Answer 503, with a problem and Retry-After: nothing is applied."""
        self._arm(Unavailable(**self._meant, **which))

    def delay(self, seconds: float, **which: Unpack[Scope]) -> None:
        """Carry the request out, and hold its answer back."""
        self._arm(Delay(**self._meant, **which, seconds=seconds))

    def cut_body(self, **which: Unpack[Scope]) -> None:
        """Carry the request out, and close the connection in the middle of the answer."""
        self._arm(CutBody(**self._meant, **which))

    def decline(self, code: str, **which: Unpack[Scope]) -> None:
        """Have the rules reject the command with ``code``, as a decision that stands. Raises ValueError."""
        self._arm(Decline(**self._meant, **which, code=code))

    @property
    def met(self) -> list[FaultMet]:
        """The requests that met a fault, in order, with what the service answered."""
        return self._service.control(FaultsView, "GET", self._query).met

    @property
    def armed(self) -> list[AnyFault]:
        """The faults that no request has met yet."""
        return self._service.control(FaultsView, "GET", self._query).armed

    def clear(self) -> None:
        """Forget all of them."""
        self._service.control(NoneType, "DELETE", self._query)

    def _arm(self, fault: AnyFault) -> None:
        self._service.control(NoneType, "POST", "/faults", fault)


class TestLedger:
    """A ledger that nobody else uses: its ``name``, and the ``token`` of a ``client`` who may read and write there.

    What the methods here ask of the service does not meet any faults.
    """

    __test__ = False

    def __init__(self, service: "FundsService", made: LedgerMade) -> None:
        self.service = service
        self.name, self.client, self.token = made.name, made.client, made.token
        self.faults = Faults(service, ledger=made.name)
        self._path = f"/v1/ledgers/{made.name}"
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        """Where callers find it: paths such as ``/transfers`` follow."""
        return f"{self.service.url}{self._path}"

    @property
    def headers(self) -> dict[str, str]:
        """What callers send with each request."""
        return {"Authorization": f"Bearer {self.token}"}

    def account(self, currency: str = "USD", balance: int = 0, **members: Any) -> Account:
        """Open an account with ``balance`` in minor units, which comes from an account of the test's own.

        ``members`` are those of the request, such as ``minimum_balance=0`` or ``normal_side="debit"``.
        """
        made = self.post("/accounts", {"currency": currency} | members)
        account = Account(made["id"], currency, self)
        if balance:
            source = self.post("/accounts", {"currency": currency, "normal_side": "debit"})
            falls = made["normal_side"] == "debit"
            debit, credit = (account.id, source["id"]) if (balance < 0) != falls else (source["id"], account.id)
            self.post(
                "/transfers",
                {"debit_account_id": debit, "credit_account_id": credit, "amount": abs(balance), "currency": currency},
            )
        return account

    def transfers(self) -> list[JSON]:
        """Return the transfers that stand, the oldest first, without those that gave accounts their money."""
        found: list[JSON] = []
        query: dict[str, Any] = {"limit": _PAGE}
        while True:
            page = self.get("/transfers", **query)
            found += [transfer for transfer in page["items"] if transfer["client"] != _ADMIN]
            if page["next_cursor"] is None:
                return found[::-1]
            query["cursor"] = page["next_cursor"]

    def advance(self, seconds: float) -> list[str]:
        """Let ``seconds`` pass for the holds; return those that expired. No clock is changed: the holds are."""
        return self._control(Expired, "POST", "/advance", AdvanceRequest(seconds=seconds)).expired

    def expire(self) -> list[str]:
        """Let the time of every open hold be over; return them."""
        return self._control(Expired, "POST", "/expire").expired

    def check(self) -> list[Finding]:
        """Return what is wrong: rules of the product that are broken, and transfers of which callers were told
        otherwise, or were never told and did not ask.
        """
        return self._control(Check, "GET", "/check").findings

    def assert_whole(self) -> None:
        """Raise LedgerNotWholeError if ``check`` finds anything. The fixture does it after each test."""
        __tracebackhide__ = True  # of pytest: the finding is not in this line
        findings = self.check()
        if findings:
            raise LedgerNotWholeError(self.name, findings)

    def leave_in_doubt(self) -> None:
        """Let callers leave it open what became of a request, which is otherwise a finding."""
        self._control(NoneType, "POST", "/doubt")

    def get(self, path: str, **query: Any) -> Any:
        """Return what the service answers to a GET below ``url``, past the faults."""
        return self.service.past_faults("GET", self._path + path, params=query).json()

    def post(self, path: str, body: JSON) -> Any:
        """Return what the service answers to a POST below ``url``, under a new key and past the faults."""
        headers = {"Idempotency-Key": f"funds-testing-{next(self._numbers)}"}
        return self.service.past_faults("POST", self._path + path, json=body, headers=headers).json()

    def forget(self) -> None:
        """Let the test server forget what it knows of callers and faults. The ledger stays."""
        self._control(NoneType, "DELETE", "")

    def _control(self, kind: type[T], method: str, path: str, body: Any = None) -> T:
        return self.service.control(kind, method, f"/ledgers/{self.name}{path}", body)
