"""The description of the interface, read out of the application itself."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from nnactive_server.api.pages.schemas import Field, Part, code_parts, example, fields, type_parts

_JSON = "application/json"
_OWN = ("HTTPValidationError", "ValidationError")
"""Schemas the framework adds for errors; the server's own errors look otherwise."""
_NO_WORDS = "Successful Response"
"""The framework's text for a reply that nobody described."""
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class ReplyText:
    """A reply: status, what it says, and what it is."""

    status: str
    text: str
    type: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path.

    Attributes:
        anchor: in the page.
        method: in capitals.
        path: with `{names}`.
        role: that is needed.
        sentence: the first of the description.
        more: its further paragraphs.
        parameters: in path, query and headers.
        body: what it is; empty without one.
        replies: those that do not refuse.
        refusals: statuses of errors.
        curl: an example.
    """

    anchor: str
    method: str
    path: str
    role: str
    sentence: tuple[Part, ...]
    more: tuple[tuple[Part, ...], ...]
    parameters: tuple[Field, ...]
    body: tuple[Part, ...]
    replies: tuple[ReplyText, ...]
    refusals: tuple[str, ...]
    curl: str


@dataclass(frozen=True, slots=True)
class Model:
    """A JSON object that is sent or received."""

    name: str
    text: tuple[Part, ...]
    fields: tuple[Field, ...]
    values: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """The whole description.

    Attributes:
        title: of the server.
        version: likewise.
        groups: operations by what they are about.
        refusals: what the statuses of errors mean.
        models: by name.
    """

    title: str
    version: str
    groups: Mapping[str, tuple[Operation, ...]]
    refusals: Mapping[str, tuple[str, ...]]
    models: tuple[Model, ...]


def describe(app: FastAPI) -> Interface:
    """Every route that is part of the interface, and every model it uses."""
    document = app.openapi()
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    groups: dict[str, list[Operation]] = {}
    refusals: dict[str, dict[str, None]] = {}  # texts in the order in which they come, each once
    for route in _routes(app):
        for method in sorted(route.methods or ()):
            about = document["paths"][route.path_format][method.lower()]
            made = _operation(method, route, about, schemas)
            groups.setdefault(about["tags"][0], []).append(made)
            for status in made.refusals:
                refusals.setdefault(status, {})[about["responses"][status].get("description", "")] = None
    return Interface(
        title=document["info"]["title"],
        version=document["info"]["version"],
        groups={name: tuple(found) for name, found in groups.items()},
        refusals={status: tuple(texts) for status, texts in sorted(refusals.items())},
        models=tuple(_model(name, schemas[name]) for name in sorted(schemas) if name not in _OWN),
    )


def _routes(app: FastAPI) -> Iterable[APIRoute]:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.include_in_schema:
            yield route


def _role(route: APIRoute) -> str:
    """The role that the route's dependency asks for; see `access.needs`."""
    found = (getattr(part.call, "role", None) for part in route.dependant.dependencies)
    return next((str(role) for role in found if role is not None), "")


def _operation(
    method: str, route: APIRoute, about: Mapping[str, Any], schemas: Mapping[str, Any]
) -> Operation:
    paragraphs = [" ".join(one.split()) for one in about.get("description", "").split("\n\n")]
    parameters = about.get("parameters", [])
    body = _json_schema(about.get("requestBody", {}))
    return Operation(
        anchor=route.unique_id,
        method=method,
        path=route.path_format,
        role=_role(route),
        sentence=code_parts(paragraphs[0]),
        more=tuple(code_parts(one) for one in paragraphs[1:]),
        parameters=tuple(
            Field.of(one["name"], one["schema"], one["required"], one["in"]) for one in parameters
        ),
        body=() if body is None else type_parts(body),
        replies=tuple(_reply(status, one) for status, one in about["responses"].items() if status < "4"),
        refusals=tuple(sorted(status for status in about["responses"] if status >= "4")),
        curl=_curl(method, route.path_format, parameters, body, schemas),
    )


def _reply(status: str, about: Mapping[str, Any]) -> ReplyText:
    schema, text = _json_schema(about), about.get("description", "")
    others = tuple(Part(kind, code=True) for kind in about.get("content", {}) if kind != _JSON)
    return ReplyText(status, "" if text == _NO_WORDS else text, type_parts(schema) if schema else others)


def _json_schema(holder: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = holder.get("content", {}).get(_JSON, {}).get("schema")
    return found


def _model(name: str, schema: Mapping[str, Any]) -> Model:
    text = " ".join(schema.get("description", "").split())
    values = type_parts(schema) if "properties" not in schema else ()
    return Model(name, code_parts(text), fields(schema), values)


def _curl(
    method: str,
    path: str,
    parameters: Iterable[Mapping[str, Any]],
    body: Mapping[str, Any] | None,
    schemas: Mapping[str, Any],
) -> str:
    """A command that calls it; words in capitals are to be filled in."""
    how = {"GET": "", "HEAD": " --head"}.get(method, f" -X {method}")
    address = _PLACEHOLDER.sub(lambda found: found[1].upper(), path)
    pieces = [f'curl{how} -H "Authorization: Bearer $TOKEN"']
    headers = [one["name"] for one in parameters if one["in"] == "header" and one["required"]]
    pieces += [f"-H '{name}: {name.upper().replace('-', '_')}'" for name in headers]
    if body is not None:
        pieces.append("-H 'Content-Type: application/json'")
        pieces.append(f"-d {shlex.quote(json.dumps(example(body, schemas)))}")
    return " \\\n  ".join([*pieces, f'"$SERVER{address}"'])
