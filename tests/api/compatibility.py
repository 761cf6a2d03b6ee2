"""What of an OpenAPI document would break callers of an earlier one, in sentences.

What callers send must still be taken, and what they are answered must still be what they were told. So one rule
holds for every schema, in two directions: each value of the narrow side fits the wide side. Of what is sent the
earlier schema is the narrow side, of what is answered the later one. Where that cannot be told (patterns, formats), a
difference breaks.

Callers know what every caller must (docs/versions.md): answers gain members, problems gain codes, feeds gain types of
events, operations gain statuses of errors. So these break nobody.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

Schema = Mapping[str, Any]
Sides = tuple[Schema, Schema]
"""A schema before and after."""


class Direction(StrEnum):
    SENT = "sent"
    ANSWERED = "answered"


_NOTES = {"description", "title", "examples", "deprecated", "discriminator"}
_LARGEST = ("maximum", "maxLength", "maxItems", "maxProperties")
_SMALLEST = ("minimum", "minLength", "minItems")
_KNOWN = (
    _NOTES
    | {*_LARGEST, *_SMALLEST, "type", "format", "pattern", "enum", "default", "$ref", "anyOf", "oneOf", "items"}
    | {"properties", "required", "additionalProperties", "propertyNames"}
)
_TAGS = ("code ", "type ")
"""The members that tell apart what a discriminator chooses from: a problem's code, an event's type."""


def breaks(before: Schema, after: Schema) -> list[str]:
    """Return what breaks callers of the document ``before`` when ``after`` is served, sorted, each once."""
    return sorted({*_Comparison(before, after).documents()})


class _Comparison:
    """Two documents. A schema that both call by the same name is compared once in each direction, under that name."""

    def __init__(self, before: Schema, after: Schema) -> None:
        self._before = before
        self._after = after
        self._named: dict[tuple[str, Direction], set[str]] = {}

    def documents(self) -> Iterator[str]:
        for kind in ("schemas", "securitySchemes"):
            for name in _gone(self._before["components"][kind], self._after["components"][kind]):
                yield f"{name} of {kind} is gone"
        for path, item in self._before["paths"].items():
            for method, operation in item.items():
                place = f"{method.upper()} {path}"
                later = self._after["paths"].get(path, {}).get(method)
                if later is None:
                    yield f"{place} is gone"
                else:
                    yield from self._operation(place, operation, later)
        # Some problems are no operation's: those of a path or a method that is not served.
        for name in self._before["components"]["schemas"].keys() & self._after["components"]["schemas"].keys():
            reference = {"$ref": f"#/components/schemas/{name}"}
            if not any((reference["$ref"], direction) in self._named for direction in Direction):
                yield from self._schema(name, (reference, reference), Direction.ANSWERED)

    def _operation(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        # Generated clients name functions and modules by these.
        for name in ("operationId", "tags"):
            if before[name] != after[name]:
                yield f"{place}: {name} was {before[name]}, is {after[name]}"
        required = (before.get("security", self._before["security"]), after.get("security", self._after["security"]))
        if required[1] not in ([], required[0]):
            yield f"{place}: another token is needed"
        yield from self._parameters(place, before.get("parameters", ()), after.get("parameters", ()))
        yield from self._request(f"{place} body", before.get("requestBody"), after.get("requestBody"))
        yield from self._responses(place, before["responses"], after["responses"])

    def _parameters(self, place: str, before: Sequence[Schema], after: Sequence[Schema]) -> Iterator[str]:
        earlier = {(one["in"], one["name"]): one for one in before}
        later = {(one["in"], one["name"]): one for one in after}
        for where, name in _gone(earlier, later):
            yield f"{place} {where} {name} is gone"
        for (where, name), one in later.items():
            was = earlier.get((where, name), {"required": False})
            if one["required"] and not was["required"]:
                yield f"{place} {where} {name} must now be sent"
            if "schema" in was:
                yield from self._schema(f"{place} {where} {name}", (was["schema"], one["schema"]), Direction.SENT)

    def _request(self, place: str, before: Schema | None, after: Schema | None) -> Iterator[str]:
        if after is None:
            if before is not None:
                yield f"{place} is gone"
            return
        if after["required"] and not (before or {"required": False})["required"]:
            yield f"{place} must now be sent"
        if before is not None:
            yield from self._content(place, before["content"], after["content"], Direction.SENT)

    def _responses(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        for status in _gone(before, after):
            yield f"{place} {status} is gone"
        for status in _gone(after, before):
            if int(status) < 400:
                yield f"{place} {status} is new"
        for status in before.keys() & after.keys():
            here, was, now = f"{place} {status}", before[status], after[status]
            yield from self._headers(here, was.get("headers", {}), now.get("headers", {}))
            yield from self._content(here, was.get("content", {}), now.get("content", {}), Direction.ANSWERED)

    def _headers(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        for name in _gone(before, after):
            yield f"{place} header {name} is gone"
        for name in before.keys() & after.keys():
            was, now = before[name], after[name]
            if was["required"] and not now["required"]:
                yield f"{place} header {name} may now be missing"
            yield from self._schema(f"{place} header {name}", (was["schema"], now["schema"]), Direction.ANSWERED)

    def _content(self, place: str, before: Schema, after: Schema, direction: Direction) -> Iterator[str]:
        for kind in _gone(before, after):
            yield f"{place} {kind} is gone"
        for kind in before.keys() & after.keys():
            yield from self._schema(place, (before[kind]["schema"], after[kind]["schema"]), direction)

    def _schema(self, place: str, sides: Sides, direction: Direction) -> set[str]:
        before, after = sides
        name = before.get("$ref")
        if name is None or name != after.get("$ref"):
            return self._options(place, sides, direction)
        known = self._named.get((name, direction))
        if known is None:
            self._named[name, direction] = set()  # one that holds itself is compared once
            named = f"{name.rpartition('/')[2]} ({direction})"
            known = self._named[name, direction] = self._options(named, sides, direction)
        return known

    def _options(self, place: str, sides: Sides, direction: Direction) -> set[str]:
        """Compare schemas as lists of the schemas that a value may have, mostly one."""
        before, after = (self._resolved(side, of) for side, of in zip(sides, (self._before, self._after), strict=True))
        found = set()
        if direction is Direction.SENT and "default" in before and after.get("default", ...) != before["default"]:
            found.add(f"{place}: the default was {before['default']!r}")
        earlier, later = self._told_apart(before, self._before), self._told_apart(after, self._after)
        narrow, wide = _ordered((earlier, later), direction)
        tagged = any(kind.startswith(_TAGS) for kind in wide)
        for kind, options in narrow.items():
            fitting = [option for other in wide if _takes(other, kind) for option in wide[other]]
            if fitting:
                for option in options:
                    tries = [self._alike(place, _ordered((option, other), direction), direction) for other in fitting]
                    found |= min(tries, key=len)
            elif direction is Direction.SENT:
                found.add(f"{place} may no longer be {kind}")
            elif not (tagged and kind.startswith(_TAGS)):
                found.add(f"{place} may now be {kind}")
        if direction is Direction.ANSWERED:
            found |= {f"{place}: {kind} is gone" for kind in _gone(earlier, later) if kind.startswith(_TAGS)}
        return found

    def _alike(self, place: str, sides: Sides, direction: Direction) -> set[str]:
        """Compare schemas of one type."""
        before, after = sides
        if before.get("$ref", ...) == after.get("$ref"):
            return self._schema(place, sides, direction)
        before, after = self._resolved(before, self._before), self._resolved(after, self._after)
        narrow, wide = _ordered((before, after), direction)
        found = {
            f"{place}: {keyword} was {before.get(keyword)}, is {after.get(keyword)}"
            for keyword in (*_LARGEST, *_SMALLEST, "format", "pattern", "enum")
            if not _within(keyword, narrow.get(keyword), wide.get(keyword))
        }
        if "items" in wide:
            items = (before.get("items", {}), after.get("items", {}))
            found |= self._schema(f"{place}[]", items, direction)
        if "propertyNames" in wide:
            names = (before.get("propertyNames", {}), after.get("propertyNames", {}))
            found |= self._schema(f"{place}: a name", names, direction)
        return found | self._members(place, (before, after), direction)

    def _members(self, place: str, sides: Sides, direction: Direction) -> set[str]:
        before, after = (side.get("properties", {}) for side in sides)
        required, asked = ({*side.get("required", ())} for side in _ordered(sides, direction))
        found = {f"{place}.{name} is gone" for name in _gone(before, after)}
        for name in before.keys() & after.keys():
            found |= self._schema(f"{place}.{name}", (before[name], after[name]), direction)
        may = "must now be sent" if direction is Direction.SENT else "may now be missing"
        found |= {f"{place}.{name} {may}" for name in asked - required if name in after}
        narrow, wide = _ordered(tuple(side.get("additionalProperties", True) for side in sides), direction)
        if wide is False and direction is Direction.ANSWERED:
            found |= {f"{place}.{name} is new where no member was to come" for name in _gone(after, before)}
        if isinstance(narrow, Mapping) and isinstance(wide, Mapping):
            found |= self._schema(f"{place}.*", _ordered((narrow, wide), direction), direction)
        elif wide is not True and narrow not in (False, wide):
            found.add(f"{place}: other members were {_said(sides[0])}, are {_said(sides[1])}")
        return found

    def _told_apart(self, schema: Schema, document: Schema) -> dict[str, list[Schema]]:
        """Return the schemas that a value of ``schema`` may have, by their type, or by what their tag says."""
        told: dict[str, list[Schema]] = {}
        resolved = self._resolved(schema, document)
        if "anyOf" not in resolved and "oneOf" not in resolved:
            return {_kind(resolved): [schema]}
        for option in resolved.get("anyOf", resolved.get("oneOf")):
            for kind, options in self._told_apart(option, document).items():
                told.setdefault(kind, []).extend(options)
        return told

    def _resolved(self, schema: Schema, document: Schema) -> Schema:
        """Return ``schema``, or the one that it refers to."""
        unknown = schema.keys() - _KNOWN
        assert not unknown, f"these keywords are not compared yet: {unknown}"
        if "$ref" not in schema:
            return schema
        assert schema.keys() <= {"$ref", "description"}, "a reference says all: teach this function more"
        return self._resolved(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)


def _ordered(sides: Any, direction: Direction) -> Any:
    """Return before and after as narrow and wide, or these as those."""
    return sides if direction is Direction.SENT else (sides[1], sides[0])


def _gone(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> list[Any]:
    return [name for name in before if name not in after]


def _said(schema: Schema) -> str:
    """What ``schema`` says of members that it does not name."""
    additional = schema.get("additionalProperties", True)
    return {True: "open", False: "closed"}[additional] if isinstance(additional, bool) else "of one schema"


def _kind(schema: Schema) -> str:
    """Return what tells ``schema`` from others that a value may have: the tag of its objects, else its type."""
    for tag in _TAGS:
        values = schema.get("properties", {}).get(tag.strip(), {}).get("enum", ())
        if len(values) == 1:
            return f"{tag}{values[0]}"
    if "enum" in schema and all(isinstance(value, str) for value in schema["enum"]):
        return "string"
    return str(schema.get("type", "anything"))


def _takes(wide: str, kind: str) -> bool:
    return wide in {kind, "anything"} or (kind, wide) == ("integer", "number")


def _within(keyword: str, narrow: Any, wide: Any) -> bool:
    """Whether every value that ``narrow`` allows is one that ``wide`` allows."""
    if wide is None or narrow == wide:
        return True
    if narrow is None:
        return False
    if keyword in _LARGEST:
        return bool(narrow <= wide)
    if keyword in _SMALLEST:
        return bool(narrow >= wide)
    if keyword == "enum":
        return {*narrow} <= {*wide}
    return (narrow, wide) == ("int32", "int64")
