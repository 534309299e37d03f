"""Colours of classes, and colour tables that both Slicer and its bare libraries have."""

from __future__ import annotations

import re

import slicer

from NNActiveLogic.client.values import Label

Colour = tuple[float, float, float]

_PALETTE = ("#e8793a", "#3aa0e8", "#5cc24a", "#c75bd0", "#e8c83a", "#3ad0c0", "#d8516a", "#8a7bea")
_HEX = re.compile(r"#[0-9a-fA-F]{6}")


def class_colour(label: Label, value: int) -> Colour:
    """A class's own colour, or one by its label value; red, green, blue from 0 to 1."""
    given = label.colour if label.colour and _HEX.fullmatch(label.colour) else None
    text = given or _PALETTE[(value - 1) % len(_PALETTE)]
    red, green, blue = (int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def table_id(*names: str) -> str:
    """ID of the first colour table of these names that there is.

    Raises:
        LookupError: there is none.
    """
    for name in names:
        node = slicer.mrmlScene.GetFirstNodeByName(name)
        if node is not None and node.IsA("vtkMRMLColorNode"):
            return str(node.GetID())
    raise LookupError(f"colour tables: none of {', '.join(names)} is in the scene")
