"""The control API of a test server, below /testing/ on a port of its own. Other paths there are the service's, past the
faults.
"""

import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from funds_testing.server.declines import CODES
from funds_testing.server.faults import Application, Faults, Receive
from funds_testing.server.ledgers import TestLedgers
from funds_testing.server.told import Send
from funds_testing.wire import AdvanceRequest, AnyFault, Check, Decline, Expired, LedgerRequest
from service.api.http.problems import problem_of
from service.errors import ProblemError
from service.wire import reasons
from service.wire.problems import MEDIA_TYPE

PREFIX = "/testing/"

_BODY_BYTES_MAX = 64 * 1024
_FOR_EVER_SECONDS = 10.0**9
"""Longer than any hold may last."""


class Control:
    """The control API as an ASGI application, in front of ``app``; callers have ``token``."""

    def __init__(self, app: Application, ledgers: TestLedgers, faults: Faults, token: str) -> None:
        self._app = app
        self._ledgers = ledgers
        self._faults = faults
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        if not path.startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        media_type = "application/json"
        try:
            self._admit(dict(scope["headers"]))
            status, answer = await self._answer(scope, await _body(receive))
        except ProblemError as error:
            media_type = MEDIA_TYPE
            answer = problem_of(error.reason, error.detail, path_prefix="", instance=path)
            status = answer.status
        content = b"" if answer is None else msgspec.json.encode(answer)
        headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers if content else []})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    def _admit(self, headers: Mapping[bytes, bytes]) -> None:
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
            raise ProblemError(reasons.Unauthenticated())

    async def _answer(self, scope: Mapping[str, Any], body: bytes) -> tuple[int, Any]:
        match (scope["method"], *scope["path"].removeprefix(PREFIX).split("/")):
            case ("POST", "ledgers"):
                return 201, await self._ledgers.make(_read(body, LedgerRequest).name)
            case (method, "faults"):
                return self._answer_faults(method, dict(parse_qsl(scope["query_string"].decode())), body)
            case (method, "ledgers", name, *action):
                ledger_id = await self._ledgers.find(name)
                if ledger_id is None:
                    raise ProblemError(reasons.LedgerNotFound())
                return await self._answer_ledger(method, name, ledger_id, action, body)
        raise ProblemError(reasons.NotFound())

    def _answer_faults(self, method: str, query: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        meant = {"ledger": query.get("ledger"), "token": query.get("token")}
        match method:
            case "POST":
                fault: AnyFault = _read(body, AnyFault)
                if (fault.ledger is None) == (fault.token is None):
                    raise _malformed(
                        "", "a fault is meant for the callers of a `ledger`, or for the one with a `token`"
                    )
                if isinstance(fault, Decline) and fault.code not in CODES:
                    raise _malformed("/code", f"a command can be declined with {', '.join(CODES)}")
                self._faults.arm(fault)
                return 204, None
            case "GET":
                return 200, self._faults.view(**meant)
            case "DELETE":
                self._faults.clear(**meant)
                return 204, None
        raise ProblemError(reasons.MethodNotAllowed())

    async def _answer_ledger(
        self, method: str, name: str, ledger_id: int, action: list[str], body: bytes
    ) -> tuple[int, Any]:
        ledgers = self._ledgers
        match (method, *action):
            case ("POST", "advance"):
                return 200, Expired(await ledgers.advance(ledger_id, _read(body, AdvanceRequest).seconds))
            case ("POST", "expire"):
                return 200, Expired(await ledgers.advance(ledger_id, _FOR_EVER_SECONDS))
            case ("POST", "doubt"):
                ledgers.mean_doubt(name)
                return 204, None
            case ("GET", "check"):
                return 200, Check(await ledgers.check(name, ledger_id))
            case ("DELETE",):
                ledgers.forget(name)
                self._faults.clear(ledger=name, token=None)
                return 204, None
        raise ProblemError(reasons.NotFound())


async def _body(receive: Receive) -> bytes:
    """Return the body of a request. Raises ProblemError for one that is too large."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > _BODY_BYTES_MAX:
            raise ProblemError(reasons.RequestTooLarge())
    return body


def _read(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise _malformed("", str(error)) from None


def _malformed(pointer: str, reason: str) -> ProblemError:
    return ProblemError(reasons.MalformedRequest([reasons.Fault(pointer, reason)]), reason)
