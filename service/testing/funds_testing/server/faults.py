"""Faults on demand: a layer around the service, which does to requests what tests have asked for.

What is not applied never reaches the service; what is applied has been answered by it before anything goes wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct, structs

from funds_testing.server.declines import Declines
from funds_testing.server.told import Send, Told
from funds_testing.wire import (
    AnyFault,
    CommitThenDrop,
    CutBody,
    Decline,
    Delay,
    DropBefore,
    FaultMet,
    FaultsView,
    Unavailable,
)
from service.api.http.idempotency import parse_key
from service.errors import ProblemError
from service.server.exchange import CUT_ANSWER, WHOLE_ANSWER
from service.server.refusals import Refusal, Refuse

Application = Callable[[Any, Any, Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]

_WRITES = frozenset({"POST", "PATCH"})
_READ_BY_POST = "/balances/query"
_LEDGERS = "/v1/ledgers/"
_SUCCESS = range(200, 300)
_FLUSH_SECONDS = 0.05
"""For the beginning of an answer to leave before the connection is closed."""


class Asked(Struct, frozen=True):
    """Of a request, what decides whether a fault is meant for it."""

    method: str
    path: str
    writes: bool
    streams: bool
    ledger: str | None
    token: str | None
    idempotency_key: str | None

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> "Asked":
        """Read it from a request's head."""
        method, path = scope["method"], scope["path"]
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        name = path.removeprefix(_LEDGERS).partition("/")[0] if path.startswith(_LEDGERS) else ""
        try:
            key = parse_key(headers.get(b"idempotency-key"))
        except ProblemError:
            key = None
        return cls(
            method,
            path,
            writes=method in _WRITES and b"dry_run" not in scope["query_string"] and not path.endswith(_READ_BY_POST),
            streams="text/event-stream" in headers.get(b"accept", ""),
            ledger=name or None,
            token=headers.get(b"authorization", "").removeprefix("Bearer ") or None,
            idempotency_key=key,
        )

    def is_meant(self, fault: AnyFault) -> bool:
        """Whether ``fault`` is for this request. A stream of events has no end at which an answer could be lost."""
        if self.streams or (fault.requests != "all" and self.writes != (fault.requests == "writes")):
            return False
        if fault.ledger is not None:
            return self.ledger == fault.ledger
        return fault.token is not None and self.token == fault.token


class Answer(Struct):
    """An answer of the service, kept back."""

    start: Mapping[str, Any] = {}
    body: bytes = b""

    @property
    def status(self) -> int:
        """Its HTTP status."""
        return int(self.start["status"])

    async def take(self, message: Mapping[str, Any]) -> None:
        """Take a part of it, as ``send`` does."""
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.body += message.get("body", b"")

    async def give(self, send: Send) -> None:
        """Send all of it."""
        await send(self.start)
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class Faults:
    """The service ``app`` with faults in front of it. ``refuse`` makes the answers that are given in its place,
    ``find_ledger`` returns the internal id of a ledger, ``told`` has what callers were told, by ledger.
    """

    def __init__(
        self,
        app: Application,
        refuse: Refuse,
        declines: Declines,
        find_ledger: Callable[[str], Awaitable[int | None]],
        told: Mapping[str, Told],
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._declines = declines
        self._find_ledger = find_ledger
        self._told = told
        self._armed: list[AnyFault] = []
        self._met: list[tuple[AnyFault, FaultMet]] = []

    def arm(self, fault: AnyFault) -> None:
        """Have ``fault`` happen, after those that were asked for before."""
        self._armed.append(fault)

    def view(self, *, ledger: str | None, token: str | None) -> FaultsView:
        """Return the faults of a ledger or a token, and what met them."""
        meant = (ledger, token)
        return FaultsView(
            [fault for fault in self._armed if (fault.ledger, fault.token) == meant],
            [met for fault, met in self._met if (fault.ledger, fault.token) == meant],
        )

    def clear(self, *, ledger: str | None, token: str | None) -> None:
        """Forget the faults of a ledger or a token, and what met them."""
        meant = (ledger, token)
        self._armed = [fault for fault in self._armed if (fault.ledger, fault.token) != meant]
        self._met = [(fault, met) for fault, met in self._met if (fault.ledger, fault.token) != meant]

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = Asked.of(scope)
        told = self._told.get(asked.ledger or "")
        if told is not None and b"dry_run" not in scope["query_string"]:
            send = told.listening(send)
            scope["extensions"].pop(WHOLE_ANSWER, None)  # which would go past what listens
        fault = self._take(asked)
        if fault is None:
            await self._app(scope, receive, send)
        elif isinstance(fault, DropBefore | Unavailable):
            await _take_body(receive)
            self._met.append((fault, _met(fault, asked, None)))
            if isinstance(fault, DropBefore):
                scope["extensions"][CUT_ANSWER]()
            else:
                await _give(self._refuse(Refusal.OVERLOADED, "", scope), send)
        else:
            await self._meet(fault, asked, told, scope, receive, send)

    async def _meet(
        self, fault: AnyFault, asked: Asked, told: Told | None, scope: Any, receive: Receive, send: Send
    ) -> None:
        """Have the service answer, and do to the answer what is asked for."""
        answer = Answer()
        scope["extensions"].pop(WHOLE_ANSWER, None)
        if isinstance(fault, Decline):
            meets = await self._declined(fault, asked, scope, receive, answer)
        else:
            await self._app(scope, receive, answer.take)
            meets = not isinstance(fault, CommitThenDrop) or answer.status in _SUCCESS
        if not meets:
            self._armed.insert(0, structs.replace(fault, times=1))
            await answer.give(send)
            return
        self._met.append((fault, _met(fault, asked, answer.status)))
        if isinstance(fault, Decline) or (isinstance(fault, Delay) and await _stays(receive, fault.seconds)):
            await answer.give(send)
            return
        if told is not None:
            told.miss(answer.body, asked.idempotency_key)
        if isinstance(fault, CutBody):
            await send(answer.start)
            half = answer.body[: len(answer.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            await asyncio.sleep(_FLUSH_SECONDS)
        scope["extensions"][CUT_ANSWER]()

    async def _declined(self, fault: Decline, asked: Asked, scope: Any, receive: Receive, answer: Answer) -> bool:
        """Have the service answer; return whether it decided on the command and rejected it as asked for."""
        ledger_id = None if asked.ledger is None else await self._find_ledger(asked.ledger)
        if ledger_id is None or asked.idempotency_key is None:
            await self._app(scope, receive, answer.take)
            return False
        with self._declines.wanting(ledger_id, asked.idempotency_key, fault.code) as wanted:
            await self._app(scope, receive, answer.take)
        return wanted.met

    def _take(self, asked: Asked) -> AnyFault | None:
        """Return the fault that is meant for a request, which happens once less from now on."""
        for place, fault in enumerate(self._armed):
            if asked.is_meant(fault):
                if fault.times == 1:
                    del self._armed[place]
                else:
                    self._armed[place] = structs.replace(fault, times=fault.times - 1)
                return fault
        return None


def _met(fault: AnyFault, asked: Asked, status: int | None) -> FaultMet:
    kind = type(fault).__struct_config__.tag
    return FaultMet(
        fault=str(kind),
        method=asked.method,
        path=asked.path,
        idempotency_key=asked.idempotency_key,
        status=status,
    )


async def _take_body(receive: Receive) -> None:
    """Read a request to its end, or until the caller has gone."""
    while (await receive()).get("more_body", False):
        pass


async def _give(answer: tuple[int, list[tuple[bytes, bytes]], bytes], send: Send) -> None:
    status, headers, body = answer
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _stays(receive: Receive, seconds: float) -> bool:
    """Wait; return False as soon as the caller has gone."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return True
    return False
