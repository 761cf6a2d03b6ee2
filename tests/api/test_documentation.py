"""The OpenAPI document: complete, well formed, exact; its page works without internet."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, cast

import httpx
import pytest
from jsonschema import Draft202012Validator
from litestar.routes import HTTPRoute
from msgspec import Struct

from service import wire
from service.api.openapi import documentation
from service.domain.operations import Operation
from service.domain.reasons import code_of
from service.domain.rules import RULES
from service.server.refusals import Refusal
from service.wire.catalogue import CATALOGUE
from service.wire.problems import PROBLEM_TYPES
from tests.support.application import Application, serving
from tests.support.contract import CODES, PROBLEM
from tests.support.http_ledger import answer
from tests.support.servers import ROOT, TestDatabase, clean_environment

INT64_MAX = 2**63 - 1
EVERYWHERE = {"unauthenticated", "forbidden", "internal_error", "malformed_request"}
_MADE = """
import sys
from service.app import create_app
from service.settings import Settings
app = create_app(Settings(database_url="postgresql://nobody@127.0.0.1:1/nowhere", admin_token=32 * "0a"))
sys.stdout.buffer.write(app.state.document.make())
"""
# What the document says and the service does not know of: errors that only the server in front of it gives.
EXTERNAL = re.compile(r"(?:https?:)?//[\w.-]+\.\w+")


def _walk(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the document with its path."""
    if isinstance(node, dict):
        yield path, node
        for name, value in node.items():
            yield from _walk(value, f"{path}/{name}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _walk(value, f"{path}/{index}")


def _schemas(document: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every outermost schema of the document with its path."""
    yield from ((f"/components/schemas/{name}", schema) for name, schema in document["components"]["schemas"].items())
    for path, node in _walk(document["paths"]):
        if isinstance(node.get("schema"), dict):
            yield path, node["schema"]


@pytest.fixture
async def document(anonymous: httpx.AsyncClient) -> Any:
    response = await anonymous.get("/openapi.json")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/vnd.oai.openapi+json")
    return answer(response)


def _wire_types() -> set[str]:
    """The names of all structs that service.wire defines."""
    modules = [import_module(f"service.wire.{module.name}") for module in iter_modules(wire.__path__)]
    return {
        kind.__name__
        for module in modules
        for kind in [*vars(module).values(), *PROBLEM_TYPES.values()]
        if isinstance(kind, type) and issubclass(kind, Struct) and kind.__module__ == module.__name__
    }


async def test_every_schema_is_a_type_of_the_wire(document: Any) -> None:
    pages = re.compile("Page_(.*)_")
    named = {pages.sub(r"\1", name) for name in document["components"]["schemas"]}
    assert named - _wire_types() == {"ProblemDetails"}  # the union of all problems


async def test_the_served_document_is_the_one_that_judges_these_tests(application: Application, document: Any) -> None:
    assert document == application.contract.document
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"]["title"]
    assert document["info"]["version"]


def test_every_process_makes_the_same_document() -> None:
    """Byte for byte, so that two versions can be compared, and two answers."""
    first, second = (
        subprocess.run(
            [sys.executable, "-c", _MADE],
            cwd=ROOT,
            env=clean_environment({"PYTHONHASHSEED": seed}),
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    )
    assert first == second


async def test_every_route_is_described_but_for_the_document_and_pages(application: Application, document: Any) -> None:
    served = {
        (method.lower(), route.path_format)
        for route in application.app.routes
        if isinstance(route, HTTPRoute) and not re.match(r"/docs|/openapi\.json|/console", route.path_format)
        for method in route.methods - {"OPTIONS"}
    }
    described = {(method, path) for path, item in document["paths"].items() for method in item}
    assert described == served


async def test_operations_are_told_apart_and_explained(application: Application) -> None:
    operations = [operation.description for operation in application.contract.operations]
    identifiers = [operation["operationId"] for operation in operations]
    assert sorted(identifiers) == sorted(set(identifiers))
    assert all(re.fullmatch(r"[a-z]+[A-Za-z]*", identifier) for identifier in identifiers)
    assert all(operation["description"] and operation["tags"] for operation in operations)


async def test_every_reference_leads_somewhere_and_every_component_is_used(document: Any) -> None:
    references = {node["$ref"] for _, node in _walk(document) if isinstance(node.get("$ref"), str)}
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references == schemas


async def test_every_schema_is_one(document: Any) -> None:
    for path, schema in _schemas(document):
        Draft202012Validator.check_schema(schema)
        assert schema, f"{path} says nothing"


async def test_defaults_and_examples_keep_to_their_schemas(document: Any) -> None:
    for path, node in _walk({"components": document["components"], "paths": document["paths"]}):
        if "type" not in node and "enum" not in node and "anyOf" not in node:
            continue
        validator = Draft202012Validator({**node, "components": document["components"]})
        for value in [*([node["default"]] if "default" in node else []), *node.get("examples", [])]:
            assert validator.is_valid(value), f"{path}: {value!r}"


async def test_what_is_sent_is_closed_and_numbers_are_exact(application: Application, document: Any) -> None:
    for operation in application.contract.operations:
        if "requestBody" in operation.description:
            schema = operation.description["requestBody"]["content"]["application/json"]["schema"]
            name = schema["$ref"].rpartition("/")[2]
            assert document["components"]["schemas"][name]["additionalProperties"] is False
    amount = document["components"]["schemas"]["AccountRequest"]["properties"]["maximum_balance"]["anyOf"][0]
    assert (amount["minimum"], amount["maximum"]) == (-INT64_MAX, INT64_MAX)
    for path, node in _walk(document):
        for bound in ("minimum", "maximum", "maxLength", "minLength", "maxItems"):
            assert not isinstance(node.get(bound), float), f"{path}/{bound}"


async def test_every_integer_says_how_wide_it_is(document: Any) -> None:
    integers = [node for _, node in _walk(document) if node.get("type") == "integer"]
    assert len(integers) > 50
    for node in integers:
        small = node.get("minimum", -INT64_MAX) >= -(2**31) and node.get("maximum", INT64_MAX) < 2**31
        assert node["format"] == ("int32" if small else "int64"), node
    for name in ("amount", "debit_balance_after", "debit_account_version"):
        assert document["components"]["schemas"]["TransferView"]["properties"][name]["format"] == "int64"


@pytest.mark.parametrize(
    ("header", "value", "fits"),
    [
        *(("Idempotency-Key", key, True) for key in ("k", "a/b", "x" * 255, '"a"', '"a\\"b"', 'a"b', f'"{"x" * 255}"')),
        *(("Idempotency-Key", key, False) for key in ("", "a b", "x" * 256, '"', '""', '"a', "ü", '"a b"', '"a\\b"')),
        *(("If-Match", tag, True) for tag in ('"a"', 'W/"a"', '"a", W/"b"', "*", '"a,b"')),
        *(("If-Match", tag, False) for tag in ("", "a", '"a', "W/a", '*, "a"', 'w/"a"')),
    ],
)
async def test_headers_are_described_as_they_are_read(
    application: Application, client: httpx.AsyncClient, header: str, value: str, *, fits: bool
) -> None:
    path = "/v1/ledgers/{ledger_name}/accounts/{account_id}"
    [revise] = [one for one in application.contract.operations if (one.template, one.method) == (path, "PATCH")]
    described = application.contract.parameters(revise, "header")[header]
    assert (not application.contract.parameter_faults(described, value)) == fits
    headers = {b"If-Match": b'"x"', header.encode(): value.encode()}
    response = await client.patch(revise.path, json={}, headers=headers)
    assert (response.status_code != 400) == fits


async def test_headers_are_required_where_they_are_needed(application: Application) -> None:
    for operation in application.contract.operations:
        for name, parameter in application.contract.parameters(operation, "header").items():
            is_key = operation.method == "POST" and name == "Idempotency-Key"
            assert parameter["required"] == (is_key or name == "If-Match"), operation.template


async def test_parameters_of_paths_are_described(application: Application) -> None:
    for operation in application.contract.operations:
        described = application.contract.parameters(operation, "path")
        assert described.keys() == set(re.findall(r"\{(\w+)\}", operation.template))
        assert all(parameter["required"] for parameter in described.values())


async def test_keys_are_required_where_they_are_taken(application: Application, client: httpx.AsyncClient) -> None:
    for operation in application.contract.operations:
        if operation.method != "POST":
            continue
        header = application.contract.parameters(operation, "header").get("Idempotency-Key")
        codes = operation.codes["400"]
        assert (header is not None) == ("idempotency_key_required" in codes), operation.template
        response = await client.post(operation.path, json={})
        if header is None:
            assert answer(response).get("code") != "idempotency_key_required"


async def test_security_is_required_of_what_is_not_open(document: Any) -> None:
    assert document["security"] == [{"token": []}]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, item in document["paths"].items():
        for operation in item.values():
            assert ("security" in operation) == (not path.startswith("/v1/"))
            assert operation.get("security", []) == []


async def test_problems_are_described_by_codes_of_the_catalogue(application: Application) -> None:
    for operation in application.contract.operations:
        for status, response in operation.description["responses"].items():
            if int(status) < 400:
                assert response.get("content", {}).keys() != {PROBLEM}
                continue
            assert response["content"].keys() == {PROBLEM}
            codes = operation.codes[status]
            assert codes, f"{operation.method} {operation.template} {status} names no code"
            for code in codes:
                assert CATALOGUE[code].status == int(status)
        expected = EVERYWHERE if operation.template.startswith("/v1/") else {"internal_error"}
        described = frozenset().union(*operation.codes.values())
        assert expected <= described, f"{operation.method} {operation.template}"
        assert ("ledger_not_found" in described) == ("{ledger_name}" in operation.template)


async def test_the_rules_of_an_operation_are_described_in_their_order(application: Application) -> None:
    of_rules = {rule.code for rules in RULES.values() for rule in rules}
    described = set()
    for one in application.contract.operations:
        name = code_of(one.description["operationId"]).replace("fence_idempotency_key", "fence_key")
        if name not in RULES:
            continue
        described.add(name)
        promised = list(dict.fromkeys(rule.code for rule in RULES[cast("Operation", name)]))
        for status, response in one.description["responses"].items():
            told = [code for code in CODES.findall(response["description"]) if code in of_rules]
            assert told == [code for code in promised if CATALOGUE[code].status == int(status)], f"{name} {status}"
        assert {code for codes in one.codes.values() for code in codes} >= {*promised}
    assert described == RULES.keys()


async def test_a_problem_is_one_type_told_by_its_code(application: Application, document: Any) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["ProblemDetails"]["discriminator"]["mapping"].keys() == CATALOGUE.keys()
    for operation in application.contract.operations:
        for status, codes in operation.codes.items():
            schema = operation.description["responses"][status]["content"][PROBLEM]["schema"]
            types = [option["$ref"].rpartition("/")[2] for option in schema.get("oneOf", [schema])]
            assert [code_of(name) for name in types] == [
                schemas[name]["properties"]["code"]["enum"][0] for name in types
            ]
            assert {code_of(name) for name in types} == codes
            if len(types) > 1:
                assert schema["discriminator"]["propertyName"] == "code"
                assert schema["discriminator"]["mapping"].keys() == codes


async def test_every_code_belongs_to_some_operation(application: Application) -> None:
    described = frozenset().union(*(codes for one in application.contract.operations for codes in one.codes.values()))
    # No operation is asked for when the method is wrong, or when the server refuses what is no request yet.
    by_the_server = {str(refusal) for refusal in Refusal} - described
    assert set(CATALOGUE) - described == {"method_not_allowed"} | by_the_server


class _References(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.found += [value or "" for name, value in attrs if name in {"src", "href", "action", "data", "srcset"}]


async def test_the_page_loads_from_the_service_alone(anonymous: httpx.AsyncClient) -> None:
    page = await anonymous.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert not EXTERNAL.search(page.text)
    references = _References()
    references.feed(page.text)
    assert len(references.found) >= 3
    for reference in references.found:
        asset = await anonymous.get(reference)
        assert (asset.status_code, len(asset.content) > 0) == (200, True), reference
        if reference.endswith(".css"):
            assert not re.search(r"@import|url\((?!\s*['\"]?(data:|#))", asset.text), f"{reference} loads more"


async def test_assets_are_served_with_their_types(anonymous: httpx.AsyncClient) -> None:
    for name, kind in {
        "swagger-ui.css": "text/css",
        "swagger-ui-bundle.js": "javascript",
        "favicon-32x32.png": "image/png",
    }.items():
        assert kind in (await anonymous.get(f"/docs/assets/{name}")).headers["content-type"]


async def test_the_page_shows_the_document_that_is_served(anonymous: httpx.AsyncClient, document: Any) -> None:
    assert answer(await anonymous.get("/docs/openapi.json")) == document
    page = (await anonymous.get("/docs")).text
    assert all(operation["operationId"] in page for item in document["paths"].values() for operation in item.values())


async def test_without_the_page_the_document_is_answered_in_its_place(
    test_database: TestDatabase, document: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documentation, "find_spec", lambda _: None)
    async with serving(test_database) as without, without.client(token=None) as client:
        for path in ("/docs", "/openapi.json"):
            assert answer(await client.get(path)) == document
        assert (await client.get("/docs/assets/swagger-ui.css")).status_code == 404
