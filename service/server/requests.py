"""Parsing of the requests that arrive on one connection: with llhttp (httptools), and checks of our own.

llhttp in its strict mode refuses what proxies and servers have understood differently (request smuggling): a length
beside chunks, bare line feeds, folded headers, spaces before a colon. ``heads`` checks what RFC 9112 demands beyond
that.
"""

from collections import deque
from collections.abc import MutableSequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools

from service.server.errors import RefusedError
from service.server.heads import TARGET_BYTES_MAX, check_head, split_target, without_upgrade
from service.server.refusals import Refusal

if TYPE_CHECKING:
    from service.server.connection import Connection

_ASGI = {"version": "3.0", "spec_version": "2.3"}


class RequestParser:
    """Parses the bytes that arrive on ``connection``, and calls it for each complete head (``begin_request``), each
    part of a body (``add_body``), the end of a body (``end_body``) and a request that is refused (``refuse``).

    ``in_head`` says whether a part of a head has arrived, and ``head_begun`` whether some of it had before.
    """

    __slots__ = (
        "_connection",
        "_head_bytes",
        "_headers",
        "_parser",
        "_target",
        "in_head",
        "on_body",
        "on_message_complete",
    )

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        # The parser calls these two methods of the connection directly.
        self.on_body = connection.add_body
        self.on_message_complete = connection.end_body
        self._target = b""
        self._headers: MutableSequence[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self.in_head = False
        self._parser: Any = httptools.HttpRequestParser(self)

    def feed(self, data: "memoryview | bytes") -> None:
        """Parse ``data``, which follows what was parsed before."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserError as error:
            refused = error.__context__
            if isinstance(refused, RefusedError):
                self._connection.refuse(refused.refusal, refused.detail)
            elif not self._connection.last_was_answered():
                self._connection.refuse(Refusal.MALFORMED, f"The request is not valid HTTP/1.1: {error}.")

    @property
    def head_begun(self) -> bool:
        """Whether some of the head that is arriving was counted already."""
        return self._head_bytes > 0

    def count_head(self, nbytes: int, bytes_max: int) -> None:
        """Count what has arrived of a head that is not complete, and refuse one that gets too large."""
        self._head_bytes += nbytes
        if self._head_bytes > bytes_max:
            if len(self._target) > TARGET_BYTES_MAX:
                detail = f"A target has at most {TARGET_BYTES_MAX} bytes."
                self._connection.refuse(Refusal.TARGET_TOO_LONG, detail)
            else:
                detail = f"The head of a request has at most {bytes_max} bytes."
                self._connection.refuse(Refusal.HEAD_TOO_LARGE, detail)

    def close(self) -> None:
        """Let go of the connection and of the parser, which refer to this object; there is nothing more to parse."""
        del self._parser, self._connection, self.on_body, self.on_message_complete

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self._target = b""
        self._headers = []
        self._head_bytes = 0
        self.in_head = True

    def on_url(self, part: bytes) -> None:
        """Add a part of the request's target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. Trailers arrive here too, and are dropped."""
        self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Hand on the head that is complete. Raises RefusedError for one that is not valid."""
        if self._parser.should_upgrade():
            return
        self.in_head = False
        version = self._parser.get_http_version()
        headers, self._headers = cast("list[tuple[bytes, bytes]]", self._headers), deque(maxlen=0)
        values = dict(headers)
        check_head(version, headers, values)
        raw_path, query = split_target(self._target)
        path = raw_path.decode("ascii")
        self._connection.begin_request(
            {
                "type": "http",
                "asgi": _ASGI,
                "http_version": version,
                "method": self._parser.get_method().decode("ascii"),
                "scheme": "http",
                "path": unquote(path) if "%" in path else path,
                "raw_path": raw_path,
                "query_string": query,
                "root_path": "",
                "headers": headers,
                "client": self._connection.peer,
                "server": self._connection.own,
                "state": {},
            },
            keep_alive=version == "1.1" and self._parser.should_keep_alive(),
            continue_expected=values.get(b"expect", b"").lower() == b"100-continue",
        )

    def _decline_upgrade(self, rest: bytes) -> None:
        """Serve a request that offers to change the protocol as if it had not offered (RFC 9110, section 7.8): some
        clients offer HTTP/2 with every first request. The parser stops at such a head, so a new parser reads it again
        without the offer.
        """
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._connection.refuse(Refusal.MALFORMED, "CONNECT is not served.")
            return
        head = without_upgrade(method, self._target, self._headers)
        self._parser = httptools.HttpRequestParser(self)
        self.feed(head + rest)
