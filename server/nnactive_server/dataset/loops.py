"""Loop files: which patches each step of the active-learning loop added.

`loop_000.json` holds the start budget, `loop_001.json` the first query, and so on. Each file holds
only its own patches: `{"patches": [{"file": "case.nii.gz", "coords": [z, y, x], "size": [dz, dy, dx]}]}`
with the start corner and extent in voxels of the image file, array order. Optional keys carry what
else is known; unknown keys are left alone by the reader.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.geometry import Float3
from nnactive_server.core.patch import Patch, index3

_NAME = re.compile(r"loop_(\d{3,})\.json")
_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".tiff", ".tif", ".png")


@dataclass(frozen=True, slots=True)
class LoopPatch:
    """One patch of a loop file.

    Attributes:
        case: id of the case.
        patch: the box on the case's own grid.
        score: the query's score, if a query proposed the patch.
        group: the strategy's group, e.g. a class name.
        rank: place in the query, from 1.
        world_corner: centre of the first voxel, mm, LPS (x, y, z).
        annotator: who answered.
        seconds: working time on the patch.
        status: e.g. `done`, `skipped`.
    """

    case: str
    patch: Patch
    score: float | None = None
    group: str | None = None
    rank: int | None = None
    world_corner: Float3 | None = None
    annotator: str | None = None
    seconds: float | None = None
    status: str | None = None


def loop_path(root: Path, number: int) -> Path:
    """The loop file of a step; step 0 is the start budget."""
    return Path(root) / f"loop_{number:03d}.json"


def write_loop(root: Path, number: int, patches: Iterable[LoopPatch], file_ending: str) -> None:
    """Write the loop file of one step, atomically; an earlier one of this number is replaced.

    Raises:
        DatasetError: a negative step, or a score, time or corner that is not finite.
    """
    path = loop_path(root, number)
    if number < 0:
        raise DatasetError(f"{path}: steps are numbered from 0")
    entries = [_to_json(patch, file_ending) for patch in patches]
    try:
        write_json(path, {"patches": entries})
    except ValueError as problem:
        raise DatasetError(f"{path}: scores, seconds and corners must be finite numbers") from problem


def read_loop(path: Path) -> tuple[LoopPatch, ...]:
    """Read one loop file, in the plain format or with the optional keys.

    Raises:
        DatasetError: missing or malformed, naming the entry.
    """
    document = read_json(path, DatasetError)
    entries = document.get("patches") if isinstance(document, Mapping) else None
    if not isinstance(entries, list):
        raise DatasetError(f"{path}: must hold an object with a list 'patches'")
    return tuple(_from_json(entry, f"{path}: patch {i}") for i, entry in enumerate(entries))


def read_loops(root: Path) -> tuple[tuple[LoopPatch, ...], ...]:
    """All loop files of a project, by step; empty when there is none yet.

    Raises:
        DatasetError: a step is missing, or a file is malformed.
    """
    matches = (_NAME.fullmatch(path.name) for path in Path(root).iterdir())
    numbers = sorted(int(match[1]) for match in matches if match)
    for expected, number in enumerate(numbers):
        if number != expected:
            raise DatasetError(
                f"{loop_path(root, expected)}: missing, although loop_{number:03d}.json is there; "
                "restore it or remove the later ones"
            )
    return tuple(read_loop(loop_path(root, number)) for number in numbers)


def _to_json(entry: LoopPatch, file_ending: str) -> dict[str, Any]:
    plain = {
        "file": entry.case + file_ending,
        "coords": list(entry.patch.start),
        "size": list(entry.patch.size),
    }
    optional = {key: getattr(entry, key) for key in _OPTIONAL}
    return plain | {key: value for key, value in optional.items() if value is not None}


def _from_json(entry: Any, where: str) -> LoopPatch:
    if not isinstance(entry, Mapping):
        raise DatasetError(f"{where}: must be an object with 'file', 'coords' and 'size'")
    missing = [key for key in ("file", "coords", "size") if key not in entry]
    if missing:
        raise DatasetError(f"{where}: lacks {', '.join(missing)}")
    try:
        patch = Patch(index3(entry["coords"], "coords"), index3(entry["size"], "size"))
        optional = {key: read(entry[key]) for key, read in _OPTIONAL.items() if entry.get(key) is not None}
    except (TypeError, ValueError) as problem:
        raise DatasetError(f"{where}: {problem}") from problem
    return LoopPatch(_case_id(entry["file"], where), patch, **optional)


def _case_id(name: Any, where: str) -> str:
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise DatasetError(f"{where}: 'file' must be a file name without a folder, got {name!r}")
    ending = next((e for e in _ENDINGS if name.endswith(e)), Path(name).suffix)
    return name.removesuffix(ending)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"expected a finite number, got {value!r}")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, got {value!r}")
    return value


def _position(value: Sequence[Any]) -> Float3:
    x, y, z = (_number(v) for v in value)
    return x, y, z


_OPTIONAL: dict[str, Any] = {
    "score": _number,
    "group": _text,
    "rank": _whole,
    "world_corner": _position,
    "annotator": _text,
    "seconds": _number,
    "status": _text,
}
