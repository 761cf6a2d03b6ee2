"""Callers of the version before: the document that is served breaks none of them (docs/versions.md).

Each rule of the comparison is tried on a document that was changed in one place.
"""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.api.compatibility import breaks
from tests.support.application import Application
from tests.support.servers import ROOT

RELEASED = Path(__file__).parent / "released"
CHANGELOG = ROOT / "service" / "docs" / "changelog.md"


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in name.split("."))


def _released() -> dict[str, Path]:
    """The documents that are kept, by version, the newest first."""
    found = {
        match[1]: path for path in RELEASED.iterdir() if (match := re.search(r"-(\d+\.\d+\.\d+)\.json", path.name))
    }
    return dict(sorted(found.items(), key=lambda item: _version(item[0]), reverse=True))


def _newest() -> Any:
    return json.loads(gzip.decompress(next(iter(_released().values())).read_bytes()))


def _declared() -> set[str]:
    """The breaks that the newest section of the changelog names, each in a line of its own."""
    newest = CHANGELOG.read_text().split("\n## ")[1]
    return {*re.findall(r"^- Breaks callers: `(.+)`", newest, re.MULTILINE)}


async def test_callers_of_the_version_before_go_on(application: Application) -> None:
    found = breaks(_newest(), application.contract.document)
    assert {*found} == _declared(), "\n".join(found)


async def test_the_document_is_kept_of_no_later_version(application: Application) -> None:
    served = application.contract.document["info"]["version"]
    assert _version(next(iter(_released()))) <= _version(served)


async def test_what_is_kept_of_a_released_version_is_what_it_serves(application: Application) -> None:
    """Before, it may lack what was added last."""
    served = application.contract.document
    lacks = sorted(served["paths"].keys() - _newest()["paths"].keys())
    assert lacks == [] or f"## {served['info']['version']}, not released yet" in CHANGELOG.read_text(), lacks


def _document() -> Any:
    """A document with every form that ours has."""
    text = {"type": "string", "maxLength": 10, "minLength": 1, "pattern": "^a"}
    request = {
        "type": "object",
        "properties": {
            "amount": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"type": "null"}]},
            "name": text,
            "side": {"enum": ["credit", "debit"], "default": "credit"},
            "labels": {"type": "object", "additionalProperties": text, "propertyNames": text, "maxProperties": 5},
            "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}, "minItems": 1, "maxItems": 5},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    part = {
        "type": "object",
        "properties": {"parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}}},
    }
    answer = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "status": {"enum": ["closed", "open"]},
            "balance": {"type": "integer", "format": "int32"},
            "note": {"type": "string"},
            "problem": {"anyOf": [{"$ref": "#/components/schemas/Problem"}, {"type": "null"}]},
            "labels": {"type": "object", "properties": {}, "additionalProperties": False},
        },
        "required": ["id", "status"],
    }
    problems = {
        name: {"type": "object", "properties": {"code": {"enum": [name.lower()]}, "limit": {"type": "integer"}}}
        for name in ("Missing", "Frozen")
    }
    problem = {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in problems]}
    operation = {
        "operationId": "postThing",
        "tags": ["Things"],
        "parameters": [
            {"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 100}, "required": False},
            {"in": "header", "name": "Key", "schema": {"type": "string"}, "required": True},
        ],
        "requestBody": {
            "required": False,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ask"}}},
        },
        "responses": {
            "201": {
                "headers": {"Location": {"required": True, "schema": {"type": "string"}}},
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
            },
            "404": {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}},
        },
    }
    probe = {"operationId": "getProbe", "tags": ["Probes"], "security": [], "responses": {"204": {}}}
    return {
        "paths": {"/things": {"post": operation}, "/probe": {"get": probe}},
        "components": {
            "schemas": {"Ask": request, "Part": part, "Thing": answer, "Problem": problem, "Spare": part, **problems},
            "securitySchemes": {"token": {"type": "http"}},
        },
        "security": [{"token": []}],
    }


GONE = object()
OP = "paths /things post"
PROBE = "paths /probe get"
CREATED = f"{OP} responses 201"
SCHEMAS = "components schemas"
ASK = f"{SCHEMAS} Ask properties"
THING = f"{SCHEMAS} Thing properties"
TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
OPEN = {"type": "object", "properties": {"code": {"enum": ["new"]}}}


def _parameter(*, required: bool) -> Any:
    return {"in": "query", "name": "new", "schema": TEXT, "required": required}


def _changed(place: str, value: object) -> Any:
    """The document with ``value`` at ``place``, or without what was there."""
    document = _document()
    *way, last = (int(step) if step.isdecimal() and len(step) == 1 else step for step in place.split())
    node = document
    for step in way:
        node = node[step]
    if value is GONE:
        node.pop(last)
    elif isinstance(node, list) and last == len(node):
        node.append(value)
    else:
        assert last not in node or node[last] != value, "nothing changed"
        node[last] = value
    return document


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("paths /probe", GONE, "GET /probe is gone"),
        ("paths /things post", GONE, "POST /things is gone"),
        ("paths /things post operationId", "post", "POST /things: operationId was postThing, is post"),
        (f"{OP} tags", ["Other"], "POST /things: tags was ['Things'], is ['Other']"),
        (f"{PROBE} security", [{"token": []}], "GET /probe: another token is needed"),
        ("components securitySchemes token", GONE, "token of securitySchemes is gone"),
        (f"{SCHEMAS} Spare", GONE, "Spare of schemas is gone"),
        # Parameters
        (f"{OP} parameters 0", GONE, "POST /things query limit is gone"),
        (f"{OP} parameters 2", _parameter(required=True), "POST /things query new must now be sent"),
        (f"{OP} parameters 0 required", True, "POST /things query limit must now be sent"),
        (f"{OP} parameters 0 schema maximum", 50, "POST /things query limit: maximum was 100, is 50"),
        (f"{OP} parameters 0 schema", TEXT, "POST /things query limit may no longer be integer"),
        # What is sent
        (f"{OP} requestBody", GONE, "POST /things body is gone"),
        (f"{OP} requestBody required", True, "POST /things body must now be sent"),
        (f"{OP} requestBody content", {}, "POST /things body application/json is gone"),
        (f"{PROBE} requestBody", {"required": True, "content": {}}, "GET /probe body must now be sent"),
        (f"{ASK} side", GONE, "Ask (sent).side is gone"),
        (f"{SCHEMAS} Ask required", ["name", "side"], "Ask (sent).side must now be sent"),
        (f"{ASK} amount anyOf 1", GONE, "Ask (sent).amount may no longer be null"),
        (f"{ASK} amount anyOf 0 maximum", 8, "Ask (sent).amount: maximum was 9, is 8"),
        (f"{ASK} amount anyOf 0 minimum", 2, "Ask (sent).amount: minimum was 1, is 2"),
        (f"{ASK} name maxLength", 9, "Ask (sent).name: maxLength was 10, is 9"),
        (f"{ASK} name minLength", 2, "Ask (sent).name: minLength was 1, is 2"),
        (f"{ASK} name pattern", "^b", "Ask (sent).name: pattern was ^a, is ^b"),
        (f"{ASK} name format", "uuid", "Ask (sent).name: format was None, is uuid"),
        (f"{ASK} side enum", ["credit"], "Ask (sent).side: enum was ['credit', 'debit'], is ['credit']"),
        (f"{ASK} side default", "debit", "Ask (sent).side: the default was 'credit'"),
        (f"{ASK} parts maxItems", 4, "Ask (sent).parts: maxItems was 5, is 4"),
        (f"{ASK} parts minItems", 2, "Ask (sent).parts: minItems was 1, is 2"),
        (f"{ASK} parts items", TEXT, "Ask (sent).parts[] may no longer be object"),
        (f"{SCHEMAS} Part properties parts", GONE, "Part (sent).parts is gone"),
        (f"{ASK} labels maxProperties", 4, "Ask (sent).labels: maxProperties was 5, is 4"),
        (f"{ASK} labels propertyNames maxLength", 1, "Ask (sent).labels: a name: maxLength was 10, is 1"),
        (f"{ASK} labels additionalProperties maxLength", 1, "Ask (sent).labels.*: maxLength was 10, is 1"),
        (
            f"{ASK} labels additionalProperties",
            False,
            "Ask (sent).labels: other members were of one schema, are closed",
        ),
        # What is answered
        (f"{OP} responses 202", {}, "POST /things 202 is new"),
        (f"{OP} responses 404", GONE, "POST /things 404 is gone"),
        (f"{CREATED} content application/json", GONE, "POST /things 201 application/json is gone"),
        (f"{CREATED} headers Location", GONE, "POST /things 201 header Location is gone"),
        (f"{CREATED} headers Location required", False, "POST /things 201 header Location may now be missing"),
        (f"{CREATED} headers Location schema", NUMBER, "POST /things 201 header Location may now be integer"),
        (f"{THING} note", GONE, "Thing (answered).note is gone"),
        (f"{SCHEMAS} Thing required", ["id"], "Thing (answered).status may now be missing"),
        (f"{THING} note", {"anyOf": [TEXT, {"type": "null"}]}, "Thing (answered).note may now be null"),
        (f"{THING} id format", GONE, "Thing (answered).id: format was uuid, is None"),
        (f"{THING} balance format", "int64", "Thing (answered).balance: format was int32, is int64"),
        (
            f"{THING} status enum",
            ["open", "x"],
            "Thing (answered).status: enum was ['closed', 'open'], is ['open', 'x']",
        ),
        (f"{THING} labels properties", {"new": TEXT}, "Thing (answered).labels.new is new where no member was to come"),
        (f"{THING} labels additionalProperties", TEXT, "Thing (answered).labels: other members were closed, are of"),
        (f"{SCHEMAS} Problem oneOf 1", GONE, "Problem (answered): code frozen is gone"),
        (f"{SCHEMAS} Frozen properties limit", GONE, "Frozen (answered).limit is gone"),
    ],
)
def test_a_change_that_breaks_callers_is_told(place: str, value: object, sentence: str) -> None:
    found = breaks(_document(), _changed(place, value))
    assert any(one.startswith(sentence) for one in found), found


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("paths /probe post", {"operationId": "postProbe", "tags": [], "responses": {}}),
        (f"{OP} security", []),
        (f"{OP} parameters 2", _parameter(required=False)),
        (f"{OP} parameters 1 required", False),
        (f"{SCHEMAS} Ask properties new", TEXT),
        (f"{SCHEMAS} Ask required", GONE),
        (f"{ASK} name maxLength", 11),
        (f"{ASK} name minLength", 0),
        (f"{ASK} name pattern", GONE),
        (f"{ASK} side enum", ["both", "credit", "debit"]),
        (f"{ASK} amount anyOf 2", TEXT),
        (f"{ASK} amount anyOf 0 type", "number"),
        (f"{THING} new", TEXT),
        (f"{SCHEMAS} Thing required", ["id", "note", "status"]),
        (f"{THING} status enum", ["open"]),
        (f"{OP} responses 409", {}),
        (f"{SCHEMAS} Problem oneOf 2", OPEN),
        (f"{CREATED} headers Age", {"required": True, "schema": TEXT}),
        (f"{SCHEMAS} Thing description", "A thing."),
    ],
)
def test_what_is_added_breaks_nobody(place: str, value: object) -> None:
    assert breaks(_document(), _changed(place, value)) == []


def test_a_schema_that_cannot_be_compared_yet_is_no_silent_yes() -> None:
    with pytest.raises(AssertionError, match="not compared yet"):
        breaks(_document(), _changed(f"{ASK} name not", TEXT))


def test_every_schema_of_the_kept_document_is_compared() -> None:
    kept = _newest()
    schemas = kept["components"]["schemas"]
    for name, schema in schemas.items():
        if schema.get("properties"):
            emptied = kept["components"] | {"schemas": schemas | {name: schema | {"properties": {}}}}
            assert breaks(kept, kept | {"components": emptied}), name
