"""Templates to text."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nnactive_server.api.pages import words


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nnactive_server.api", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        duration=words.duration, size=words.size, when=words.when, number=words.number, many=words.many
    )
    return environment


def render(template: str, **values: Any) -> str:
    """A page from the template `<template>.html`; every value is escaped."""
    return _environment().get_template(f"{template}.html").render(values)
