"""JSON schemas as words for people, with links to the models they name, and as examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]
_LIMITS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("minLength", "at least {} long"),
    ("maxLength", "at most {} long"),
    ("minItems", "at least {}"),
    ("maxItems", "at most {}"),
    ("pattern", "like {}"),
)
_FREE = "anything"
_HASH = "^[0-9a-f]{64}$"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a text; `link` names a model, `code` sets it in the letters of a program."""

    text: str
    link: str = ""
    code: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a model, or a parameter.

    Attributes:
        name: as it is sent.
        type: in words.
        note: "needed", its default, what it is; may be empty.
        place: where a parameter stands.
    """

    name: str
    type: tuple[Part, ...]
    note: str
    place: str = ""

    @classmethod
    def of(cls, name: str, schema: Schema, required: bool, place: str = "") -> Field:
        """A field from its schema."""
        notes = ("needed" if required else _default(schema), schema.get("description", ""))
        return cls(name, type_parts(schema), "; ".join(note for note in notes if note), place)


def fields(schema: Schema) -> tuple[Field, ...]:
    """The fields of an object; in a reply none is called needed, as all are there."""
    required = schema.get("required", ()) if schema.get("additionalProperties") is False else ()
    return tuple(Field.of(name, one, name in required) for name, one in schema.get("properties", {}).items())


def code_parts(text: str) -> tuple[Part, ...]:
    """A sentence whose `words between backticks` are code."""
    pieces = text.split("`")
    return tuple(Part(piece, code=bool(index % 2)) for index, piece in enumerate(pieces) if piece)


def type_parts(schema: Schema) -> tuple[Part, ...]:
    """What a value is."""
    if "$ref" in schema:
        name = _name(schema)
        return (Part(name, link=name),)
    if "anyOf" in schema:
        return tuple(_joined([type_parts(one) for one in schema["anyOf"]], " or "))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return tuple(_joined([(Part(json.dumps(value), code=True),) for value in values], ", "))
    kind = schema.get("type", _FREE)
    if kind == "array":
        return _array(schema)
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return (Part("object of "), *type_parts(schema["additionalProperties"]))
    return (Part(kind + _limits(schema)),)


def _array(schema: Schema) -> tuple[Part, ...]:
    inner: Sequence[Schema] = schema.get("prefixItems", [])
    if inner and all(one == inner[0] for one in inner):
        return (Part(f"array of {len(inner)} × "), *type_parts(inner[0]))
    return (Part("array of "), *type_parts(schema.get("items", {})), Part(_limits(schema)))


def _joined(groups: Sequence[Sequence[Part]], between: str) -> Iterable[Part]:
    for number, group in enumerate(groups):
        if number:
            yield Part(between)
        yield from group


def _limits(schema: Schema) -> str:
    found = [words.format(_plain(schema[key])) for key, words in _LIMITS if key in schema]
    return f" ({', '.join(found)})" if found else ""


def _plain(value: Any) -> str:
    return f"{value:,.15g}" if isinstance(value, float | int) else str(value)


def _default(schema: Schema) -> str:
    if "default" not in schema:
        return ""
    return f"default {json.dumps(schema['default'])}"


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rsplit("/", 1)[-1]


def example(schema: Schema, schemas: Mapping[str, Schema], name: str = "value") -> Any:
    """A value that fits a schema, as small as it can be.

    Args:
        schema: of the value.
        schemas: those it may refer to.
        name: of the field; stands for its text, in capitals.
    """
    if "$ref" in schema:
        return example(schemas[_name(schema)], schemas, name)
    if "anyOf" in schema:
        return example(schema["anyOf"][0], schemas, name)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    return _of_type(schema, schemas, name)


def _of_type(schema: Schema, schemas: Mapping[str, Schema], name: str) -> Any:
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, schemas, name)
    if kind == "array":
        if "prefixItems" in schema:
            return [example(one, schemas, name) for one in schema["prefixItems"]]
        return [example(schema.get("items", {}), schemas, name)]
    if kind in ("integer", "number"):
        return max(1, schema.get("minimum", 1))
    if kind == "boolean":
        return True
    return "0" * 64 if schema.get("pattern") == _HASH else re.sub(r"\W", "", name).upper()


def _object(schema: Schema, schemas: Mapping[str, Schema], name: str) -> dict[str, Any]:
    """With the fields that are needed; with the first when none is, as an empty one says nothing."""
    properties: Mapping[str, Schema] = schema.get("properties", {})
    if not properties:
        return {"NAME": example(schema.get("additionalProperties") or {}, schemas, name)}
    shown = schema.get("required") or list(properties)[:1]
    return {one: example(properties[one], schemas, one) for one in shown}
