"""summary.json: what a run has achieved so far, put together from the files of its cycles."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import nnactive_server
from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.evaluation.curves import aubc
from nnactive_server.loop import CycleFolder, read_costs
from nnactive_server.study.signs import read_triage

SUMMARY = "summary.json"
STAGES = ("label_update", "train", "predict", "query", "evaluate")
_PACKAGES = ("torch", "nnunetv2", "numpy")


def annotation_path(folder: CycleFolder) -> Path:
    """What was annotated when this cycle was trained."""
    return folder.path / "annotation.json"


def evaluation_path(folder: CycleFolder) -> Path:
    """How good this cycle's members are on the test cases."""
    return folder.path / "evaluation.json"


def write_summary(root: Path, run: Mapping[str, Any], test: Sequence[str]) -> dict[str, Any]:
    """Write summary.json anew.

    Args:
        root: folder of the run.
        run: what is in its run.json.
        test: ids of the test cases.

    Returns:
        The document. Values that nobody can know yet, or that are not defined, are None.
    """
    folders = (CycleFolder(root, number) for number in range(run["cycles"]))
    cycles = [_cycle(folder) for folder in folders if evaluation_path(folder).exists()]
    dice = [entry["mean_dice"] for entry in cycles]
    document = {
        **{key: run[key] for key in ("dataset", "labels", "strategy", "seed")},
        "profile": run["profile"]["name"],
        **{key: run[key] for key in ("patch", "query_size", "start_size")},
        "planned_cycles": run["cycles"],
        "cycles": cycles,
        "aubc": aubc(dice) if dice and None not in dice else None,
        "final_dice": dice[-1] if dice else None,
        "test_cases": list(test),
        "versions": versions(),
    }
    write_json(root / SUMMARY, document)
    return document


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    found = {"nnactive": nnactive_server.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cycle(folder: CycleFolder) -> dict[str, Any]:
    annotation = read_json(annotation_path(folder), LoopError)
    evaluation = read_json(evaluation_path(folder), LoopError)
    costs = read_costs(folder.costs)
    entry = {
        "cycle": folder.number,
        **annotation,
        **{key: evaluation[key] for key in ("mean_dice", "dice_per_class", "members")},
        "triage": read_triage(folder, evaluation),
        "seconds": dict.fromkeys(STAGES, 0.0) | costs["seconds"],
        "peak_memory_bytes": costs["peak_memory_bytes"],
    }
    if folder.shortages.exists():
        entry["shortages"] = read_json(folder.shortages, LoopError)["shortages"]
    return entry
