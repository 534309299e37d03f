"""A proposed patch in a sentence or two, for the person who annotates it."""

from __future__ import annotations

from collections.abc import Sequence

from nnactive_server.query.values import Query, group_class

_NEARLY_ALL, _HARDLY_ANY = 99.95, 0.5
"""Percentages beyond which a figure would only pretend to be exact."""
_PERCENT = "\N{NO-BREAK SPACE}%"
_SURE = 0.005
"""Classes with a smaller share of the box are left out of the sentence."""


def describe(query: Query, classes: Sequence[str]) -> str:
    """Why this patch, in plain words; empty when nothing is known.

    Args:
        query: the patch.
        classes: names of the foreground classes, label value 1 first.
    """
    parts = (_reason(query, classes), _content(query, classes), _distance(query))
    return " ".join(part for part in parts if part)


def class_name(value: int, classes: Sequence[str]) -> str:
    """Name of a label value; the number itself when it has none."""
    if value == 0:
        return "background"
    return classes[value - 1] if value <= len(classes) else f"class {value}"


def _reason(query: Query, classes: Sequence[str]) -> str:
    value, rank = group_class(query.group), query.why.percentile
    about = f" about {class_name(value, classes)}" if value else ""
    if rank is not None:
        boxes = f"{_share(rank / 100)} of all"
        if rank >= _NEARLY_ALL or rank < _HARDLY_ANY:
            boxes = "few" if rank < _HARDLY_ANY else "nearly all"
        return f"Less certain{about} here than in {boxes} boxes."
    if query.why.mean is not None:
        return f"Chosen because the model is uncertain{about}."
    return f"Placed on {class_name(value, classes)}." if value else ""


def _content(query: Query, classes: Sequence[str]) -> str:
    shares = sorted(query.why.class_shares.items(), key=lambda entry: (-entry[1], entry[0]))
    shown = [f"{_share(share)} {class_name(value, classes)}" for value, share in shares if share >= _SURE]
    return f"Predicted: {', '.join(shown)}." if shown else ""


def _distance(query: Query) -> str:
    gap = query.why.nearest_mm
    if gap is None:
        return "Nothing annotated in this image yet." if query.why.class_shares else ""
    return "Next to an annotated box." if gap < 0.5 else f"Nearest annotated box: {gap:.0f} mm away."


def _share(share: float) -> str:
    """A percentage without false precision."""
    if share >= _NEARLY_ALL / 100:
        return "all" if share == 1 else "nearly all"
    return f"{100 * share:.1f}{_PERCENT}" if share >= 0.985 else f"{100 * share:.0f}{_PERCENT}"
