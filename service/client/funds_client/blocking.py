"""The client without asyncio: the same, in a shell that blocks."""

import time
from collections.abc import Callable, Iterator
from functools import wraps
from types import TracebackType
from typing import Concatenate, NoReturn, ParamSpec, Self, TypeVar

import httpx

from .connections import Calls, Token, answered, check_size, lost
from .exchange import Course, Event, Send, Step
from .feed import BlockingConsumer, Handle, following
from .intents import Intent
from .ledger_intents import Intents
from .ledger_reads import Listing, Reading, Reads, after
from .settings import ClientSettings

P = ParamSpec("P")
T = TypeVar("T")

Method = Callable[Concatenate["BlockingFundsClient", P], T]


def _writing(make: Callable[Concatenate[Intents, P], Intent[T]]) -> Method[P, T]:
    @wraps(make)
    def method(self: "BlockingFundsClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        intent = make(self.intents, *args, **kwargs)
        return self._run(intent.course(self._calls.conditions, in_doubt=False))

    return method


def _reading(make: Callable[Concatenate[Reads, P], Reading[T]]) -> Method[P, T]:
    @wraps(make)
    def method(self: "BlockingFundsClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(make(self._calls.reads, *args, **kwargs).course(self._calls.conditions))

    return method


def _listing(make: Callable[Concatenate[Reads, P], Listing[T]]) -> Method[P, Iterator[T]]:
    @wraps(make)
    def method(self: "BlockingFundsClient", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        listing, cursor = make(self._calls.reads, *args, **kwargs), None
        while True:
            page = self._run(listing.page(cursor).course(self._calls.conditions))
            yield from page.items
            cursor = after(page, cursor)
            if cursor is None:
                return

    return method


class BlockingFundsClient:
    """FundsClient without asyncio. Threads may share one."""

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        ledger: str = "main",
        log_key: str | None = None,
        settings: ClientSettings | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self._calls = Calls(url, token=token, ledger=ledger, log_key=log_key, settings=settings or ClientSettings())
        self.ledger = ledger
        self.intents = self._calls.intents
        self._http = http or httpx.Client()
        self._own_http = http is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        if self._own_http:
            self._http.close()

    transfer = _writing(Intents.transfer)
    open_hold = _writing(Intents.open_hold)
    capture = _writing(Intents.capture)
    void = _writing(Intents.void)
    reverse = _writing(Intents.reverse)
    open_account = _writing(Intents.open_account)
    revise_account = _writing(Intents.revise_account)
    batch = _writing(Intents.batch)

    fence = _reading(Reads.fence)
    get_account = _reading(Reads.get_account)
    get_account_state = _reading(Reads.get_account_state)
    get_balance = _reading(Reads.get_balance)
    get_balances = _reading(Reads.get_balances)
    get_events = _reading(Reads.get_events)
    get_hold = _reading(Reads.get_hold)
    get_outcome = _reading(Reads.get_outcome)
    get_receipt = _reading(Reads.get_receipt)
    get_transfer = _reading(Reads.get_transfer)

    list_accounts = _listing(Reads.list_accounts)
    list_holds = _listing(Reads.list_holds)
    list_statement_lines = _listing(Reads.list_statement_lines)
    list_transfers = _listing(Reads.list_transfers)

    def resume(self, intent: Intent[T]) -> T:
        """Have a kept intent applied once at most, whoever sent it before, and return what it was answered."""
        return self._run(intent.course(self._calls.conditions, in_doubt=True))

    def follow(self, consumer: BlockingConsumer, *, wait_seconds: int = 20, limit: int = 100) -> NoReturn:
        """Have ``consumer`` handle what happens in the ledger, in order, until it raises something. An outage is waited
        out; what does not pass is raised.
        """
        conditions, reads = self._calls.conditions, self._calls.reads
        course = following(
            consumer.load(),
            lambda place: reads.get_events(place, limit=limit, wait_seconds=wait_seconds).course(conditions),
            conditions,
        )
        event = None
        while True:
            step = course.send(event)
            if isinstance(step, Handle):
                consumer.handle(step.events)
                consumer.store(step.place)
                event = None
            else:
                event = self._take(step)

    def _run(self, course: Course[T]) -> T:
        """Do what ``course`` says until it has a result."""
        event = None
        while True:
            try:
                step = course.send(event)
            except StopIteration as end:
                result: T = end.value
                return result
            event = self._take(step)

    def _take(self, step: Step) -> Event | None:
        if isinstance(step, Send):
            return self._send(step)
        time.sleep(step.seconds)
        return None

    def _send(self, step: Send) -> Event:
        calls, body, until = self._calls, bytearray(), time.monotonic() + step.seconds
        try:
            with self._http.stream(
                step.request.method,
                calls.url_of(step),
                headers=calls.headers_of(step),
                content=step.request.body,
                timeout=calls.timeout_of(step),
            ) as response:
                for part in response.iter_bytes():
                    body += part
                    check_size(body)
                    if time.monotonic() > until:
                        raise TimeoutError("the answer comes too slowly")  # noqa: TRY301
                return answered(response, body)
        except (httpx.RequestError, TimeoutError, ValueError) as error:
            return lost(error)
