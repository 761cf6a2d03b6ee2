"""Checks of answers against the OpenAPI document: each must be as /openapi.json describes it.

Nothing in here knows a route: an operation that is added to the service is judged by its own description.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import httpx
from jsonschema import Draft202012Validator

from tests.support.formats import FORMATS

Headers = Sequence[tuple[str, str]]

PROBLEM = "application/problem+json"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
# The description of a problem answer names its codes so: Problem: `ledger_not_found`, `account_not_found`
CODES = re.compile(r"`([a-z_]+)`")
# What every HTTP answer may carry, and what is said of it by `content` and by HTTP itself.
GENERAL_HEADERS = frozenset(
    {"cache-control", "content-type", "content-length", "date", "connection", "transfer-encoding"}
)
NOT_STORED = "no-store, no-transform"
ASSETS_CACHED = "max-age=3600, public"
# Served, but no part of the API: the document itself and the page that shows it.
UNDESCRIBED = re.compile(r"/docs(/.*)?|/openapi\.json")
KEY_PARAMETER = "idempotency_key"
INSTANCE_LENGTH_MAX = 2048
LIST_CHECKED_MAX = 100
# The largest size of an error answer, without the results of a batch.
PROBLEM_BYTES_MAX = 8 * 1024
# What no caller should have to understand: types of Python's, regular expressions, messages of msgspec's.
FOREIGN = re.compile(
    r"`(int|float|str|bool|array|object|datetime|uuid)\b|Expected `|regex|\^\[|\(\?|\x1f|\\x[0-9a-f]{2}|RFC3339 encoded"
    r"|codec|malformed:|NoneType|<class|Traceback|Invalid enum|ValueError|Struct\b"
)


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, as they went over the wire; header names are in lower case."""

    method: str
    path: str
    query: str
    request_body: bytes | None
    status: int
    headers: Headers
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.path} → {self.status} {self.body[:2000]!r}"

    @cached_property
    def media_type(self) -> str:
        return dict(self.headers).get("content-type", "").partition(";")[0].strip()

    @cached_property
    def content(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Operation:
    """An operation of the document and the path's template."""

    template: str
    method: str
    description: Mapping[str, Any]

    @property
    def path(self) -> str:
        """The path in ledger main, of a resource that is not there."""
        return filled(self.template)

    @property
    def codes(self) -> Mapping[str, frozenset[str]]:
        """The problem codes that the document names for each status."""
        return {
            status: frozenset(CODES.findall(response["description"]))
            for status, response in self.description["responses"].items()
            if PROBLEM in response.get("content", {})
        }


NO_PATH = "/"
"""What a problem names as its instance when the HTTP server refused the request before its path was understood."""
REFUSED_BY_SERVER = {400, 408, 414, 431, 503}


class Contract:
    """The document, with its schemas compiled strictly: a member that is not described is a violation."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._components = {"schemas": closed(document["components"]["schemas"])}
        self._validators: dict[str, Draft202012Validator] = {}
        # Codes that the schema of an answer was seen to take: each problem is held to the schema of its code.
        self._held: set[tuple[int, str]] = set()
        # Literal segments go before parameters: /transfers/batch is no transfer's id.
        templates = sorted(document["paths"], key=lambda template: (template.count("{"), template))
        self._paths = [(re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), path) for path in templates]

    @property
    def operations(self) -> Iterator[Operation]:
        for template, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield Operation(template, method.upper(), item[method])

    def find(self, path: str) -> tuple[str, Mapping[str, Operation]] | None:
        """Return the template that ``path`` fits, its parameters' formats included, and its operations by method.

        A path has one spelling: nothing but a key is escaped in it.
        """
        for pattern, template in self._paths:
            match = pattern.fullmatch(path)
            if match is None or any("%" in text for name, text in match.groupdict().items() if name != KEY_PARAMETER):
                continue
            item = self.document["paths"][template]
            operations = {
                method.upper(): Operation(template, method.upper(), item[method])
                for method in METHODS
                if method in item
            }
            if all(self._fits(operation, match.groupdict()) for operation in operations.values()):
                return template, operations
        return None

    def check(self, exchange: Exchange) -> None:
        """Check an answer against the document. Raises AssertionError that says what is wrong with it."""
        self._check_caching(exchange)
        if exchange.method == "HEAD":
            self._check_head(exchange)
            return
        if exchange.media_type == PROBLEM:
            self._check_problem(exchange)
        if UNDESCRIBED.fullmatch(exchange.path):
            return
        found = self.find(exchange.path)
        if found is None:
            refused = exchange.path == NO_PATH and exchange.status in REFUSED_BY_SERVER
            assert refused or exchange.status in {404, 405}, f"served and not described: {exchange}"
            assert exchange.media_type == PROBLEM, f"no problem: {exchange}"
            return
        _, operations = found
        operation = operations.get(exchange.method)
        if operation is None:
            self._check_undescribed_method(exchange, operations)
            return
        response = operation.description["responses"].get(str(exchange.status))
        assert response is not None, f"the status is not described: {exchange}"
        self._check_headers(exchange, response)
        self._check_body(exchange, response)
        if exchange.media_type == PROBLEM:
            codes = operation.codes[str(exchange.status)]
            assert exchange.content["code"] in codes, f"the code is not among {sorted(codes)}: {exchange}"
        elif exchange.status < 300:
            self._check_request(exchange, operation)

    def request_faults(self, operation: Operation, body: Any) -> list[str]:
        """Return what the document says is wrong with the request body ``body``."""
        content = operation.description["requestBody"]["content"]["application/json"]
        return [error.message for error in self._validator(content["schema"]).iter_errors(body)]

    def parameters(self, operation: Operation, place: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the parameters of ``operation`` in ``place`` (path, query, header) by name."""
        described = operation.description.get("parameters", ())
        return {parameter["name"]: parameter for parameter in described if parameter["in"] == place}

    def parameter_faults(self, parameter: Mapping[str, Any], *values: str) -> list[str]:
        """Return what the document says is wrong with the texts ``values`` of a parameter or header."""
        schema = parameter["schema"]
        if schema.get("type") == "array":
            return [error.message for error in self._validator(schema).iter_errors(list(values))]
        if len(values) > 1:
            return ["it is no list"]
        return [error.message for error in self._validator(schema).iter_errors(_meant(values[0], schema.get("type")))]

    def _fits(self, operation: Operation, values: Mapping[str, str]) -> bool:
        described = self.parameters(operation, "path")
        return not any(self.parameter_faults(described[name], unquote(value)) for name, value in values.items())

    def _check_caching(self, exchange: Exchange) -> None:
        """No cache keeps an answer, and no proxy changes it; only what the page of the document loads may be kept."""
        said = [value for name, value in exchange.headers if name == "cache-control"]
        may_be_kept = exchange.path.startswith("/docs/assets/") and exchange.status == 200
        assert said == ([ASSETS_CACHED] if may_be_kept else [NOT_STORED]), f"Cache-Control is {said}: {exchange}"

    def _check_head(self, exchange: Exchange) -> None:
        """Hold an answer to HEAD to what is said of GET; there is no body to look at."""
        assert not exchange.body, f"the answer to HEAD has a body: {exchange}"
        assert dict(exchange.headers)["content-length"].isdigit(), f"the length is not told: {exchange}"
        if UNDESCRIBED.fullmatch(exchange.path):
            return
        found = self.find(exchange.path)
        if found is None:
            assert exchange.status in {404, 405}, f"served and not described: {exchange}"
        elif "GET" not in found[1]:
            self._check_undescribed_method(exchange, found[1])
        else:
            response = found[1]["GET"].description["responses"].get(str(exchange.status))
            assert response is not None, f"the status is not described: {exchange}"
            self._check_headers(exchange, response)

    def _check_undescribed_method(self, exchange: Exchange, operations: Mapping[str, Operation]) -> None:
        if exchange.method == "OPTIONS" and exchange.status == (400 if exchange.request_body else 401):
            return
        assert exchange.status == (204 if exchange.method == "OPTIONS" else 405), f"an undescribed method: {exchange}"
        allowed = [method.strip() for method in dict(exchange.headers)["allow"].split(",")]
        meant = {*operations, "OPTIONS"} | ({"HEAD"} if "GET" in operations else set())
        assert allowed == sorted(meant), f"Allow is {allowed}: {exchange}"

    def _check_headers(self, exchange: Exchange, response: Mapping[str, Any]) -> None:
        described = {name.lower(): header for name, header in response.get("headers", {}).items()}
        for name, value in exchange.headers:
            if name in GENERAL_HEADERS:
                continue
            assert name in described, f"the header {name} is not described: {exchange}"
            faults = self.parameter_faults(described[name], value)
            assert not faults, f"the header {name}: {faults}: {exchange}"
        sent = {name for name, _ in exchange.headers}
        missing = [name for name, header in described.items() if header.get("required") and name not in sent]
        assert not missing, f"headers {missing} are promised: {exchange}"

    def _check_body(self, exchange: Exchange, response: Mapping[str, Any]) -> None:
        content = response.get("content")
        if content is None:
            assert not exchange.body, f"no body is described: {exchange}"
            return
        assert exchange.media_type in content, f"the media type is not one of {list(content)}: {exchange}"
        if exchange.media_type.endswith(("/json", "+json")):
            schema = content[exchange.media_type]["schema"]
            code = exchange.content["code"] if exchange.media_type == PROBLEM else None
            if code is not None and (id(schema), code) in self._held:
                return
            faults = list(self._validator(schema).iter_errors(shortened(exchange.content)))
            assert not faults, f"{[(error.json_path, error.message[:300]) for error in faults]}: {exchange}"
            if code is not None:
                self._held.add((id(schema), code))

    def _check_problem(self, exchange: Exchange) -> None:
        """What holds for every problem, also where no operation is: RFC 9457 and the catalogue of problems."""
        problem = exchange.content
        # The discriminator says which of the many schemas it must be: to try all of them takes 20 ms.
        of_code = self._components["schemas"]["ProblemDetails"]["discriminator"]["mapping"]
        assert problem["code"] in of_code, f"a problem of another code: {exchange}"
        faults = list(self._validator({"$ref": of_code[problem["code"]]}).iter_errors(shortened(problem)))
        assert not faults, f"{[error.message for error in faults]}: {exchange}"
        assert problem["status"] == exchange.status, f"status: {exchange}"
        assert problem["type"] == f"/problems/{problem['code']}", f"type: {exchange}"
        assert unquote(problem["instance"]) == unquote(exchange.path[:INSTANCE_LENGTH_MAX]), f"instance: {exchange}"
        assert problem["title"], f"no title: {exchange}"
        assert problem["detail"], f"no detail: {exchange}"
        told = [problem["detail"], *(fault["reason"] for fault in problem.get("errors", ()))]
        assert not any(FOREIGN.search(sentence) for sentence in told), f"no plain words: {exchange}"
        unasked = {name: value for name, value in problem.items() if name != "results"}
        length = len(json.dumps(unasked, ensure_ascii=False).encode())
        assert length <= PROBLEM_BYTES_MAX, f"an error answer of {length} bytes: {exchange}"

    def _check_request(self, exchange: Exchange, operation: Operation) -> None:
        """The document must allow every request that the service accepts."""
        if "requestBody" in operation.description and exchange.request_body is not None:
            if exchange.request_body:
                faults = self.request_faults(operation, shortened(json.loads(exchange.request_body)))
                assert not faults, f"accepted, though {faults}: {exchange}"
            else:
                required = operation.description["requestBody"].get("required", False)
                assert not required, f"accepted, though a body is required: {exchange}"
        described = self.parameters(operation, "query")
        query = httpx.QueryParams(exchange.query)
        for name in query:
            assert name in described, f"accepted, though ?{name} is not described: {exchange}"
            faults = self.parameter_faults(described[name], *query.get_list(name))
            assert not faults, f"accepted, though ?{name} {faults}: {exchange}"

    def _validator(self, schema: Mapping[str, Any]) -> Draft202012Validator:
        key = json.dumps(schema, sort_keys=True)
        validator = self._validators.get(key)
        if validator is None:
            whole = closed(schema) | {"components": self._components}
            validator = self._validators[key] = Draft202012Validator(whole, format_checker=FORMATS)
        return validator


def filled(template: str, ledger: str = "main", identifier: str | None = None) -> str:
    """Return the path of ``template`` in ``ledger``, with other parameters that name nothing."""
    return re.sub(r"\{\w+\}", lambda _: identifier or str(uuid4()), template.replace("{ledger_name}", ledger))


def _meant(text: str, kind: object) -> Any:
    """Return the value of type ``kind`` that ``text`` stands for in a query, a path or a header."""
    if kind == "integer" and re.fullmatch(r"0|-?[1-9][0-9]*", text):
        return int(text)
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return text


def closed(schema: Any) -> Any:
    """Return ``schema`` with every object closed that lists its members and does not say what others may be."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    assert "allOf" not in schema, "a schema of parts is closed by unevaluatedProperties: teach this function to do it"
    parts = {name: closed(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        parts.setdefault("additionalProperties", False)
    return parts


def shortened(content: Any) -> Any:
    """Return ``content`` with long lists reduced to both of their ends: ten thousand results are judged by some."""
    if isinstance(content, dict):
        return {name: shortened(value) for name, value in content.items()}
    if isinstance(content, list) and len(content) > 2 * LIST_CHECKED_MAX:
        return content[:LIST_CHECKED_MAX] + content[-LIST_CHECKED_MAX:]
    return content


class JudgedTransport(httpx.AsyncBaseTransport):
    """Carries requests over ``carrier`` and holds every answer to the contract."""

    def __init__(self, carrier: httpx.AsyncBaseTransport, contract: Contract) -> None:
        self._carrier = carrier
        self._contract = contract

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._carrier.handle_async_request(request)
        body = await response.aread()
        path, _, query = request.url.raw_path.partition(b"?")
        self._contract.check(
            Exchange(
                method=request.method,
                path=path.decode(),
                query=query.decode(),
                request_body=request.content if isinstance(request.stream, httpx.ByteStream) else None,
                status=response.status_code,
                headers=response.headers.multi_items(),
                body=body,
            )
        )
        return response

    async def aclose(self) -> None:
        await self._carrier.aclose()
