"""Tasks about a project's settings and its first patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.patch import Patch, index3
from nnactive_server.dataset import suggest_for, uniform_patches


def start_patches(params: Mapping[str, Any]) -> dict[str, Any]:
    """Draw first patches at random, without overlap.

    Args:
        params: `shapes` (z, y, x) of the cases; `patch_size` (z, y, x); `count`; `seed`; `taken`, boxes
            {`start`, `size`} of cases that no patch may touch, if any.

    Returns:
        `patches`, each with `case`, `start` and `size`, in the order of their ranks; `missing`, how many
        found no room.

    Raises:
        DatasetError: no case, no patch asked for, or a taken box outside its image.
    """
    taken = {
        case: [Patch(index3(box["start"]), index3(box["size"])) for box in boxes]
        for case, boxes in params.get("taken", {}).items()
    }
    count = int(params["count"])
    chosen = uniform_patches(params["shapes"], params["patch_size"], count, int(params["seed"]), taken)
    return {
        "patches": [{"case": each.case, **asdict(each.patch)} for each in chosen],
        "missing": count - len(chosen),
    }


def suggest(params: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the guidelines.

    Args:
        params: `geometries` of the cases; `labels`, names of the classes; `boxes`, rough sizes (z, y, x; mm)
            of structures of each class; names in `variable` and `interest`, if any: see `dataset.suggest`.

    Returns:
        The fields of `dataset.Suggestion`.

    Raises:
        DatasetError: an unknown class, no case, or boxes that are no sizes.
    """
    found = suggest_for(
        [Geometry.from_json(document) for document in params["geometries"]],
        LabelSet(tuple(params["labels"]), partial=True),
        params.get("boxes", {}),
        variable=params.get("variable", ()),
        interest=params.get("interest", ()),
    )
    return asdict(found)
