"""What reads requests: bodies, query strings, cursors, paths and headers."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from typing import Any
from uuid import UUID

import msgspec
from litestar import Litestar
from litestar.connection import Request
from litestar.routes import HTTPRoute

from service.api.http.batch_bodies import read_batch
from service.api.http.headers import refuse_codings, refuse_other_media_types, refuse_repeated
from service.api.http.idempotency import key_in_path, parse_key
from service.api.http.pagination import decode_cursor, encode_cursor
from service.api.http.paths import ServedPaths
from service.api.http.preconditions import expected_tags
from service.api.http.queries import check_query, query_types
from service.api.resources.statements import _Place as StatementPlace
from service.app import create_app
from service.errors import ProblemError
from service.settings import Settings
from service.storage.transfer_filters import AccountVersion, ReferencePlace
from service.telemetry.records import RequestRecord
from service.telemetry.trace_context import read_traceparent
from service.wire.accounts import AccountPatch, AccountRequest
from service.wire.balances import BalancesRequest
from service.wire.batches import BatchItem
from service.wire.closings import ClosingRequest
from service.wire.decoding import decode
from service.wire.errors import MalformedError
from service.wire.holds import CaptureRequest, HoldRequest
from service.wire.ledgers import LedgerRequest
from service.wire.scalars import AccountCode, LedgerName
from service.wire.times import read_time
from service.wire.transfers import ReversalRequest, TransferRequest
from tests.fuzz.drawing import Target
from tests.support.http_ledger import JSON

ID, OTHER_ID = "0b9c8d7e-6f50-4a3b-8c2d-1e0f9a8b7c6d", "5e4d3c2b-1a09-4f8e-9d7c-6b5a49382716"
TIME = "2026-11-26T09:30:00.123456+01:00"
_TERMS: JSON = {"reference": "r-1", "description": 'sa"y', "metadata": {"a": "b", "c": "\\d"}}
_SIDES: JSON = {"debit_account_id": ID, "credit_account_id": OTHER_ID, "amount": 1050, "currency": "USD"}
_ITEM = _SIDES | _TERMS | {"idempotency_key": "key-1", "effective_at": TIME}
BODIES: dict[Any, JSON] = {
    LedgerRequest: {"name": "main", "description": "the \u00fcsual one"},
    AccountRequest: {"currency": "USD", "normal_side": "debit", "minimum_balance": 0, "code": "1000:cash"}
    | {"reference": "cash", "metadata": {"a": "b"}},
    AccountPatch: {"name": None, "maximum_balance": 7, "status": "frozen", "metadata": {"a": "b"}},
    TransferRequest: _SIDES | _TERMS | {"effective_at": TIME, "amount": {"at_most": 5}},
    ReversalRequest: {"amount": 3, "effective_at": TIME} | _TERMS,
    HoldRequest: _SIDES | _TERMS | {"expires_in_seconds": 60, "expires_at": TIME},
    CaptureRequest: {"amount": 3, "final": False, "effective_at": TIME} | _TERMS,
    BalancesRequest: {"account_ids": [ID, OTHER_ID], "as_of": TIME, "known_at": None},
    ClosingRequest: {"closed_until": TIME, "late_entries": "forward", "reason": "month"},
    BatchItem: _ITEM | {"group": "g", "hold": {"expires_in_seconds": 5}},
}
_MEMBERS = tuple(json.dumps(name).encode() + b":1," for body in BODIES.values() for name in body)
BATCH = {"mode": "independent", "transfers": [_ITEM, _ITEM | {"idempotency_key": "key-2"}]}
LINE_BYTES_MAX = 2 * 1024
"""Of a target or a header, a quarter of what the HTTP server takes."""
HEADERS = [b"application/json", b"application/json; charset=utf-8", b"identity", b'"0f5c9b1e", W/"b"', b"*"]
_TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def make_app() -> Litestar:
    """Return the application without a database: what is asked here asks none."""
    return create_app(Settings(database_url="postgresql://nobody@127.0.0.1:1/nowhere", admin_token=32 * "0a"))


def body_targets() -> Iterator[Target]:
    for kind, sample in BODIES.items():
        yield Target(kind.__name__, _reads(kind), (MalformedError,), [json.dumps(sample).encode()], _MEMBERS)
    batch = [json.dumps(BATCH).encode(), json.dumps(BATCH, separators=(",", ":")).encode()]
    yield Target("batch", lambda data: asyncio.run(read_batch(data)), (MalformedError,), batch, _MEMBERS)


def _reads(kind: Any) -> Callable[[bytes], object]:
    """Return what reads a body of ``kind``, and holds what was read to what it says: written again it is the same."""
    decoder = msgspec.json.Decoder(kind)

    def read(data: bytes) -> object:
        value = decode(decoder, data)
        assert decode(decoder, msgspec.json.encode(value)) == value
        return value

    return read


def head_targets() -> Iterator[Target]:
    """What reads headers."""
    texts: dict[str, Callable[[str], object]] = {
        "If-Match": expected_tags,
        "Idempotency-Key": parse_key,
        "key in a path": key_in_path,
    }
    for name, read_text in texts.items():
        yield Target(
            name,
            lambda data, read_text=read_text: read_text(data.decode("latin-1")),  # type: ignore[misc]
            (ProblemError, MalformedError),
            [*HEADERS, b'"k\\"1"', b"key-1"],
            [b'W/"', b'"', b'\\"', b" , "],
            LINE_BYTES_MAX,
        )
    yield Target("Content-Type", refuse_other_media_types, (ProblemError,), HEADERS, [b"charset", b'="utf8"'])
    yield Target("Content-Encoding", refuse_codings, (ProblemError,), HEADERS, [b"identity", b","])
    yield Target("traceparent", read_traceparent, (), [_TRACE, _TRACE + b"-more"], [b"00-", b"ff-"])
    yield Target(
        "headers", _read_headers, (ProblemError, MalformedError), [b"if-match: a", _TRACE], [b"authorization:"]
    )
    yield Target(
        "time", lambda data: read_time(data.decode()), (msgspec.ValidationError, UnicodeDecodeError), [TIME.encode()]
    )


def _read_headers(data: bytes) -> None:
    headers = [(name.lower(), value) for name, _, value in (line.partition(b":") for line in data.split(b"\n"))]
    headers += [(b"traceparent", data), (b"x-request-id", data)]
    record = RequestRecord("GET", headers)
    assert all(b"\r" not in value and b"\n" not in value for _, value in record.answer_headers)
    refuse_repeated(headers)


def query_targets(app: Litestar) -> Iterator[Target]:
    """Query strings, held to the parameters of every operation."""
    routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
    handlers = [handler for route in routes for handler in route.route_handlers]
    names = sorted({name for handler in handlers for name in query_types(handler)})

    def read(data: bytes) -> None:
        taken = 0
        for handler in handlers:
            try:
                check_query(data, handler)
            except MalformedError as error:
                fault = error
            else:
                taken += 1
        if not taken:
            raise fault

    samples = [b"limit=5&order=asc", b"as_of=2026-11-26T09:30:00%2B01:00", f"account_id={ID}&status=open".encode()]
    tokens = [*(f"&{name}=".encode() for name in names), b"&", b"=", b"+", b"%2B"]
    yield Target("query", read, (MalformedError,), samples, tokens, LINE_BYTES_MAX)


def path_targets(app: Litestar) -> Iterator[Target]:
    paths = ServedPaths(app.routes, "")
    samples = [template.replace("{", "").replace("}", "").encode() for template in paths.templates]
    samples += [f"/v1/ledgers/main/accounts/{ID}".encode(), b"/v1/ledgers/main/idempotency-keys/a%2Fb%20c/fence"]
    yield Target("path", lambda data: _find(paths, data), (), samples, [b"%2e%2e", b"..", b"//", b"%1f", b"%2F", b"%"])


def _find(paths: ServedPaths, raw: bytes) -> None:
    scope: Any = {"type": "http", "raw_path": raw, "path": "?"}
    served = paths.find(scope)
    if served is not None:  # Litestar routes by this path: nothing in it may lead elsewhere
        assert {".", ".."}.isdisjoint(scope["path"].split("/")), raw


def cursor_targets(app: Litestar) -> Iterator[Target]:
    scope: Any = {"type": "http", "path": "/v1/ledgers/main/transfers", "query_string": b"limit=5", "headers": []}
    request: Request[Any, Any, Any] = Request(scope | {"litestar_app": app})
    places: dict[Any, object] = {
        UUID: ID,
        LedgerName: "main",
        tuple[AccountCode, UUID]: ["1000:cash", ID],
        ReferencePlace: ["r-1", ID],
        AccountVersion: 7,
        StatementPlace: [TIME, TIME, ID],
    }
    # The name of the list is that of this request, so that the place itself is looked at.
    cursors = [encode_cursor(request, "asc", place).encode() for place in places.values()]
    read = _reads_cursor(request, list(places))
    yield Target("cursor", read, (ProblemError,), cursors, bytes_max=LINE_BYTES_MAX)
    yield Target(
        "content of a cursor",
        lambda data: read(base64.urlsafe_b64encode(data).rstrip(b"=")),
        (ProblemError,),
        [base64.urlsafe_b64decode(cursor + b"=" * (-len(cursor) % 4)) for cursor in cursors],
        bytes_max=LINE_BYTES_MAX,
    )


def _reads_cursor(request: Request[Any, Any, Any], kinds: Sequence[Any]) -> Callable[[bytes], object]:
    """Return what reads a cursor as that of each kind of list."""

    def read(data: bytes) -> object:
        places = []
        for kind in kinds:
            try:
                places.append(decode_cursor(request, "asc", data.decode("latin-1"), kind))
            except ProblemError as error:
                refused = error
        if not places:
            raise refused
        for place in places:
            if isinstance(place, StatementPlace):  # the database is asked for what lies behind these times
                place.at.astimezone(UTC)
                place.known_at.astimezone(UTC)
        return places

    return read
