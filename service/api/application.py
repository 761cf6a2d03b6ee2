"""The ASGI application: Litestar, with what it cannot be told by configuration."""

from typing import Any, cast

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import HTTPScope, LifeSpanReceive, LifeSpanScope, LifeSpanSend, Receive, Scope, Send

from service.api.bodies import read_before_answering
from service.api.direct import DirectRoutes
from service.api.paths import keep_escaped_slashes


class Application(Litestar):
    """Litestar, with escaped slashes kept in their segments of a path, answers held back until the body is read, and a
    shorter way to the hot routes.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._direct = DirectRoutes(self)

    async def __call__(
        self, scope: Scope | LifeSpanScope, receive: Receive | LifeSpanReceive, send: Send | LifeSpanSend
    ) -> None:
        """Serve one connection."""
        if scope["type"] == ScopeType.HTTP:
            http = cast("HTTPScope", scope)
            keep_escaped_slashes(http)
            headers = dict(http["headers"])
            receive, send = read_before_answering(headers, cast("Receive", receive), cast("Send", send))
            if await self._direct.answer(http, headers, receive, send):
                return
        await super().__call__(scope, receive, send)
