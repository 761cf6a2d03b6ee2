"""What callers were told of the transfers in the ledgers of tests."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

JSON = dict[str, Any]
Send = Callable[[Any], Awaitable[None]]

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_TRANSFERS = frozenset({"id", "debit_balance_after", "credit_balance_after"})
"""Members that nothing but a transfer has together."""
_JSON_TYPES = (b"application/json", b"application/problem+json")
_BODY_BYTES_MAX = 32 * 2**20
"""A longer answer is not read: what it tells is not known here."""


class Told(Struct):
    """What the callers of one ledger were told: ``transfers`` as they were shown last, by identifier; every identifier
    in an answer that reached them whole; and the keys under which answers with a transfer did not reach them. With
    ``doubt_is_meant``, they need not know of every transfer.
    """

    transfers: dict[str, JSON] = {}
    ids: set[str] = set()
    lost: dict[str, str | None] = {}
    doubt_is_meant: bool = False

    def hear(self, answer: object) -> None:
        """Note what an answer tells, which is JSON."""
        if isinstance(answer, dict):
            if answer.keys() >= _OF_TRANSFERS:
                self.transfers[answer["id"]] = answer
            for value in answer.values():
                self.hear(value)
        elif isinstance(answer, list):
            for value in answer:
                self.hear(value)
        elif isinstance(answer, str) and _UUID.fullmatch(answer):
            self.ids.add(answer)

    def miss(self, body: bytes, key: str | None) -> None:
        """Note that an answer did not reach the caller whole."""
        unheard = Told()
        unheard.hear(_decoded(body))
        self.lost |= dict.fromkeys(unheard.transfers, key)

    def listening(self, send: Send) -> Send:
        """Return ``send``, which notes what an answer in JSON tells once all of it is sent."""
        body = bytearray()
        heard = False

        async def send_and_note(message: Mapping[str, Any]) -> None:
            nonlocal heard
            await send(message)
            if message["type"] == "http.response.start":
                heard = dict(message["headers"]).get(b"content-type", b"").startswith(_JSON_TYPES)
            elif heard:
                body.extend(message.get("body", b""))
                heard = len(body) <= _BODY_BYTES_MAX
                if heard and not message.get("more_body", False):
                    self.hear(_decoded(bytes(body)))

        return send_and_note


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
