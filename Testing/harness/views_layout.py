"""Where Slicer's layouts put the views: read from the description that the layout node has."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Rect = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""


@dataclass(frozen=True)
class Place:
    """A view of a layout.

    Attributes:
        class_name: of its view node.
        name: of the layout, such as Red.
        label: on its bar, such as R.
        colour: of its bar, "#rrggbb".
        rect: where it lies.
    """

    class_name: str
    name: str
    label: str
    colour: str
    rect: Rect


def places(layout_node: Any, rect: Rect = (0, 0, 1, 1)) -> list[Place]:
    """The views of the current layout inside a rectangle.

    Raises:
        NotImplementedError: the layout is neither of rows nor of columns.
    """
    return list(_views(ET.fromstring(layout_node.GetCurrentLayoutDescription()), rect))


def _views(element: ET.Element, rect: Rect) -> Iterator[Place]:
    if element.tag == "view":
        properties = {one.get("name"): one.text or "" for one in element.findall("property")}
        name = element.get("singletontag", "")
        colour = properties.get("viewcolor", "#b4b4d6")  # of a 3D view, where none is given
        yield Place(element.get("class", ""), name, properties.get("viewlabel", name), colour, rect)
        return
    kind = element.get("type")
    if kind not in ("horizontal", "vertical"):
        raise NotImplementedError(f"a layout of type {kind}")
    items = element.findall("item")
    weights = [float(item.get("splitSize", 1)) for item in items]
    for item, part in zip(items, _parts(rect, weights, across=kind == "horizontal"), strict=True):
        yield from _views(item[0], part)


def _parts(rect: Rect, weights: list[float], *, across: bool) -> Iterator[Rect]:
    left, top, width, height = rect
    length, done = (width if across else height), 0.0
    for weight in weights:
        start, end = (round(length * share / sum(weights)) for share in (done, done + weight))
        done += weight
        yield (left + start, top, end - start, height) if across else (left, top + start, width, end - start)
