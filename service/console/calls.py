"""Calls of the API within the process: a screen shows what the API answers whoever signed in, and nothing else."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlencode

import msgspec
from litestar import Request, Response
from msgspec import Struct, structs

from service.api.application import Application
from service.console.headers import HEADERS
from service.errors import ApiRefusedError
from service.server.exchange import CUT_ANSWER
from service.telemetry.records import RECORD, REQUEST_ID_HEADER, RequestRecord, record_of

T = TypeVar("T")

Query = Mapping[str, Any]


class _Problem(Struct):
    """Of a problem that the API answered, what a page tells."""

    status: int
    code: str
    title: str
    detail: str


class Call(Struct, frozen=True):
    """A call that a page was made of, as anybody can repeat it."""

    method: str
    path: str


class Answer(Struct, frozen=True):
    """What the API answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def as_type(self, kind: type[T]) -> T:
        """Return its JSON as ``kind``."""
        return msgspec.json.decode(self.body, type=kind)


class Api:
    """Calls the API on behalf of whoever sent ``request``, with their ``token``: by the same routes, and so with the
    same rights, limits and answers. ``calls`` are those that were made.
    """

    def __init__(self, request: Request[Any, Any, Any], token: str) -> None:
        self._app: Application = request.app  # type: ignore[assignment]
        self._scope = request.scope
        self._token = token
        self.calls: list[Call] = []

    async def read(self, kind: type[T], *segments: object, **query: Any) -> T:
        """Return what GET of the path answers, as ``kind``. Raises ApiRefusedError."""
        return (await self.answer("GET", segments, query)).as_type(kind)

    async def text(self, *segments: object, **query: Any) -> str:
        """Return the text that GET of the path answers. Raises ApiRefusedError."""
        return (await self.answer("GET", segments, query)).body.decode()

    async def answer(
        self, method: str, segments: Sequence[object], query: Query, headers: Query | None = None, body: Any = None
    ) -> Answer:
        """Return what the path answers, which consists of ``segments`` behind ``/v1``. What is None or empty in
        ``query`` is left out. Raises ApiRefusedError.
        """
        content = b"" if body is None else msgspec.json.encode(body)
        scope = self._scope_of(method, *self._called(method, segments, query), headers or {}, content)
        answer = await _answered(self._app, scope, content)
        if answer.status >= 400:  # noqa: PLR2004
            raise _refused(answer.body)
        return answer

    def file(self, segments: Sequence[object], query: Query) -> "FileAnswer":
        """Return the answer that passes on the file that GET of the path answers, as it comes."""
        return FileAnswer(self._app, self._scope_of("GET", *self._called("GET", segments, query), {}, b""))

    def _called(self, method: str, segments: Sequence[object], query: Query) -> tuple[str, str]:
        """Return path and query of a call, which is noted."""
        path = "/".join(["/v1", *(quote(str(segment), safe="") for segment in segments)])
        given = urlencode([(name, value) for name, value in query.items() if value is not None and value != ""])
        self.calls.append(Call(method, f"{path}?{given}" if given else path))
        return path, given

    def _scope_of(self, method: str, path: str, query: str, headers: Query, content: bytes) -> dict[str, Any]:
        told = {
            "host": self._scope["server"][0] if self._scope["server"] else "console",
            "authorization": f"Bearer {self._token}",
            REQUEST_ID_HEADER.lower(): record_of(self._scope).id,
        }
        if content:
            told |= {"content-type": "application/json", "content-length": str(len(content))}
        raw = [(name.lower().encode(), str(value).encode()) for name, value in (told | dict(headers)).items()]
        full = f"{self._app.served_prefix}{path}"
        return {
            "type": "http",
            "asgi": self._scope["asgi"],
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": unquote(full),
            "raw_path": full.encode(),
            "query_string": query.encode(),
            "headers": raw,
            "client": self._scope["client"],
            "server": self._scope["server"],
            RECORD: RequestRecord(method, raw),
        }


def _refused(body: bytes) -> ApiRefusedError:
    return ApiRefusedError(**structs.asdict(msgspec.json.decode(body, type=_Problem)))


async def _answered(app: Application, scope: dict[str, Any], content: bytes) -> Answer:
    incoming = [{"type": "http.request", "body": content, "more_body": False}]
    status, headers, parts = 500, {}, []

    async def receive() -> Any:
        if not incoming:
            await asyncio.Event().wait()  # nobody leaves: whoever waits for that is cancelled
        return incoming.pop()

    async def send(message: Any) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
        else:
            parts.append(message.get("body", b""))

    await app.answer_within(scope, receive, send)
    return Answer(status, headers, b"".join(parts))


class FileAnswer(Response[None]):
    """Answers with a file of the API's as it comes: however long it is, it is in memory in parts alone."""

    def __init__(self, app: Application, inner: dict[str, Any]) -> None:
        super().__init__(None)
        self._answered_by = app
        self._inner = inner

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """Return what passes the answer on."""
        return self._pass_on

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the answer on. Raises ApiRefusedError, before it begins."""
        refused: list[bytes] | None = None
        self._inner["extensions"] = {
            name: one for name, one in (scope.get("extensions") or {}).items() if name == CUT_ANSWER
        }

        async def send_on(message: Any) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                if message["status"] >= 400:  # noqa: PLR2004
                    refused = []
                    return
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = message | {"headers": [*message["headers"], *added]}
            if refused is None:
                await send(message)
            else:
                refused.append(message.get("body", b""))

        await self._answered_by.answer_within(self._inner, _no_body(receive), send_on)
        if refused is not None:
            raise _refused(b"".join(refused))


def _no_body(receive: Any) -> Any:
    """Return ``receive`` behind an empty body: then it tells when whoever reads the file has left."""
    begun = False

    async def receive_on() -> Any:
        nonlocal begun
        if begun:
            return await receive()
        begun = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive_on
