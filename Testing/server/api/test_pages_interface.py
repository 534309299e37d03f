"""The description of the interface: complete, linked, and with examples that work."""

import json
import re
import shutil
import subprocess

import pytest
from fastapi.routing import APIRoute

from nnactive_server.api import bodies
from nnactive_server.api.app import ROUTERS
from nnactive_server.api.pages.schemas import Part, code_parts, example, type_parts
from testkit.pages import Page


@pytest.fixture(scope="module")
def page(live):
    reply = live.call("GET", "/docs", who="vic")
    assert reply.status_code == 200
    return Page(reply.text)


@pytest.fixture(scope="module")
def document(live):
    return live.call("GET", "/openapi.json", who="vic").json()


def test_every_route_stands_there_with_the_role_that_it_asks_for(page):
    shown = {one.text for one in page.all("h3")}
    routes = [
        (method, route.path, part.call.role)
        for module in ROUTERS
        for route in module.router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods
        for part in route.dependant.dependencies
        if hasattr(part.call, "role")
    ]
    assert len(routes) > 35
    for method, path, role in routes:
        assert f"{method} {path} {role}" in shown


def test_every_parameter_field_and_sentence_stands_there(page, document):
    sections = {one.attributes["id"]: one.text for one in page.all("section") if "id" in one.attributes}
    for methods in document["paths"].values():
        for about in methods.values():
            text = sections[about["operationId"]]
            for parameter in about.get("parameters", []):
                assert f"{parameter['name']} {parameter['in']}" in text
            first = about["description"].split("\n\n")[0].replace("`", "")
            assert " ".join(first.split()) in text
    for name, schema in document["components"]["schemas"].items():
        if "Validation" not in name:
            for field in schema.get("properties", {}):
                assert field in sections[f"model-{name}"]


def test_links_lead_somewhere_and_anchors_are_unique(page):
    anchors = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(anchors) == len(set(anchors))
    links = {one.attributes["href"] for one in page.all("a")}
    inside = {link[1:] for link in links if link.startswith("#")}
    assert len(inside) > 60
    assert inside <= set(anchors)
    assert page.foreign() == []


def test_examples_of_bodies_are_accepted(document):
    schemas = document["components"]["schemas"]
    names = [name for name in schemas if hasattr(bodies, name)]
    assert len(names) >= 8
    for name in names:
        value = example({"$ref": f"#/components/schemas/{name}"}, schemas)
        getattr(bodies, name).model_validate_json(json.dumps(value))


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_example_of_a_new_project_makes_one(live, page):
    variables, *commands = ["".join(one.texts) for one in page.all("pre")]
    assert variables.startswith(f"SERVER={live.url}")
    (command,) = [text for text in commands if "-X POST" in text and '/v1/projects"' in text]
    script = f"SERVER={live.url}\nTOKEN={live.tokens['ann']}\n{command} --silent --fail-with-body"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["name"] == "NAME"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 65536}, "integer (at least 1, at most 65,536)"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"enum": ["a", "b"]}, '"a", "b"'),
        ({"type": "array", "prefixItems": [{"type": "number"}] * 3}, "array of 3 × number"),
        ({"type": "array", "items": {"$ref": "#/x/PatchOut"}}, "array of PatchOut"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "object of number"),
        ({}, "anything"),
    ],
)
def test_types_read_as_words(schema, words):
    assert "".join(part.text for part in type_parts(schema)) == words


def test_words_between_backticks_are_code():
    assert code_parts("a `b` c") == (Part("a "), Part("b", code=True), Part(" c"))
    assert re.sub("`", "", "plain") == code_parts("plain")[0].text
