"""The ASGI application: Litestar, with what it cannot be told by configuration."""

from collections.abc import Iterable
from typing import Any, cast

from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import HTTPScope, LifeSpanReceive, LifeSpanScope, LifeSpanSend, Message, Receive, Scope, Send

from service.api.http.authorization import admit
from service.api.http.bodies import refuse_cut_off
from service.api.http.direct import DirectRoutes, send_response
from service.api.http.headers import added_to_answer
from service.api.http.paths import ServedPath, ServedPaths
from service.api.http.problems import NOT_STORED, answer_exception
from service.errors import ProblemError
from service.telemetry.records import record_of
from service.telemetry.requests import RequestTelemetry
from service.wire.reasons import MethodNotAllowed, NotFound


class Application(Litestar):
    """Litestar, with paths in one spelling, HEAD and OPTIONS wherever they belong, answers that no cache keeps, bodies
    that are cut off told from faults, and a shorter way to the hot routes.

    ``served_prefix`` stands before every path that is served; empty for none. ``telemetry`` tells of every request.
    """

    def __init__(self, *arguments: Any, served_prefix: str, telemetry: RequestTelemetry, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.telemetry = telemetry
        self._told = telemetry.around(self._serve)
        self.served_prefix = served_prefix
        self._paths = ServedPaths(self.routes, served_prefix)
        self._direct = DirectRoutes(self)

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        """Return ``plugins`` and the one for msgspec's types, which is what all of ours are.

        Litestar adds those for pydantic and attrs wherever these are installed: an application would not be the same in
        each environment, and would take a fifth longer to start in some.
        """
        return [*plugins, MsgspecDIPlugin()]

    @property
    def templates(self) -> list[str]:
        """The template of every path that is served."""
        return self._paths.templates

    async def __call__(
        self, scope: Scope | LifeSpanScope, receive: Receive | LifeSpanReceive, send: Send | LifeSpanSend
    ) -> None:
        """Serve one connection."""
        await self._told(scope, receive, send)

    async def answer_within(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request that another one consists of: it is told of with that one alone. ``scope`` has a record."""
        await self._serve(scope, receive, send)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == ScopeType.HTTP:
            http = cast("HTTPScope", scope)
            receive, send = cast("Receive", receive), cast("Send", send)
            if http["method"] == "HEAD":
                scope = http = cast("HTTPScope", {**http, "method": "GET"})
                send = _without_body(send)
            if self.served_prefix:
                http["path"] = self._paths.within(http["path"])
            http["litestar_app"] = self
            record = record_of(http)
            headers = record.headers
            if await self._direct.answer(http, headers, receive, send):
                return
            served = self._paths.find(http)
            if served is not None:
                record.route = served.template
            if served is None or http["method"] not in served.handlers:
                await self._answer_without_handler(served, http, headers, receive, send)
                return
            send = _completed(send, http)
            receive = refuse_cut_off(receive)
        await super().__call__(scope, receive, send)

    async def _answer_without_handler(
        self, served: ServedPath | None, http: HTTPScope, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        """Answer for a path that is not served, or by a method without a handler."""
        error: Exception
        if served is None:
            error = ProblemError(NotFound())
        elif http["method"] != "OPTIONS":
            error = ProblemError(MethodNotAllowed(), headers={"Allow": served.allow})
        else:
            try:
                await admit(self.state.services.authenticator, http, served.foremost, headers, receive)
            except Exception as refusal:  # noqa: BLE001 - as Litestar's own exception handling
                error = refusal
            else:
                await _send_no_content([(b"allow", served.allow.encode()), NOT_STORED, *added_to_answer(http)], send)
                return
        await send_response(
            answer_exception(Request(http, receive, send), error), http, send, added=added_to_answer(http)
        )


def _completed(send: Send, http: HTTPScope) -> Send:
    """Return ``send``, which completes what Litestar answers as ``send_response`` does: it marks it for caches, unless
    it says itself what they may do, and adds what the answer was given (``add_to_answer``).
    """

    async def send_completed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            if b"cache-control" not in dict(headers):
                headers.append(NOT_STORED)
            message["headers"] = [*headers, *added_to_answer(http)]
        await send(message)

    return send_completed


def _without_body(send: Send) -> Send:
    """Return ``send``, which keeps the body of an answer to GET back: the answer to HEAD. It ends with the first part
    of the body, so that no long answer goes on.
    """
    ended = False

    async def send_head(message: Message) -> None:
        nonlocal ended
        if ended:
            return
        if message["type"] == "http.response.body":
            ended = True
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return send_head


async def _send_no_content(headers: Iterable[tuple[bytes, bytes]], send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
