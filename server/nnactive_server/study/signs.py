"""What members say of a case as a whole, and whether that tells which cases will fail (thesis ch. 6).

    pairwise_dice             mean pairwise Dice of the members (Roy et al. 2019): the predicted quality
    mean_predictive_entropy   mean over the image, nats
    max_patch_entropy         highest mean of any box of the query's patch size, nats
    threshold_entropy         mean over the voxels above 0.2 nats, 0 without any; see `query.aggregation`
    mean_mutual_information   mean over the image, nats

The first is a confidence, the others are doubts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.mapfiles import holds_maps, map_path, read_quality
from nnactive_server.core.patch import Index3, index3
from nnactive_server.core.voxels import open_voxels
from nnactive_server.dataset import RawDataset, read_loops
from nnactive_server.evaluation.dice import dice_per_class
from nnactive_server.evaluation.triage import triage_measures
from nnactive_server.loop import CycleFolder
from nnactive_server.query.aggregation import Aggregation
from nnactive_server.query.scores import patch_scores

SIGNS = {
    "pairwise_dice": 1,
    "mean_predictive_entropy": -1,
    "max_patch_entropy": -1,
    "threshold_entropy": -1,
    "mean_mutual_information": -1,
}
"""Way of ranking cases to its sign: 1 where more is surer."""

Row = Mapping[str, Any]


def case_row(
    prediction: np.ndarray,
    truth: np.ndarray,
    labels: LabelSet,
    *,
    entropy: np.ndarray,
    information: np.ndarray,
    agreement: float | None,
    patch: Index3,
) -> dict[str, Any]:
    """True and predicted quality of one case.

    Args:
        prediction: class ids (z, y, x) of the mean softmax.
        truth: label map (z, y, x).
        labels: the classes.
        entropy: predictive entropy (z, y, x), nats.
        information: mutual information (z, y, x), nats.
        agreement: mean pairwise Dice of the members; None for a single one.
        patch: voxels (z, y, x) of the query's patch.

    Returns:
        `dice` per class name (None where absent from prediction and truth), and each of `SIGNS`.
    """
    dice = dice_per_class(prediction, truth, labels)
    whole = index3(entropy.shape)
    return {
        "dice": {name: plain(value) for name, value in zip(labels.classes, dice, strict=True)},
        "pairwise_dice": agreement,
        "mean_predictive_entropy": float(entropy.mean(dtype=np.float64)),
        "max_patch_entropy": float(patch_scores(entropy, patch).max()),
        "threshold_entropy": float(Aggregation("threshold").scores(entropy, whole)[1].item()),
        "mean_mutual_information": float(information.mean(dtype=np.float64)),
    }


def compare_signs(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """How well each way of ranking finds the cases of low Dice; see `evaluation.triage_measures`.

    Args:
        rows: of `case_row`; signs that are missing in them are left out.
    """
    quality = [_mean_of_classes(row["dice"]) for row in rows]
    found = {
        name: triage_measures([sign * _number(row.get(name)) for row in rows], quality)
        for name, sign in SIGNS.items()
    }
    return {name: measures for name, measures in found.items() if measures}


def triage_path(folder: CycleFolder) -> Path:
    """What this cycle's members say of the pool cases of which nothing was annotated."""
    return folder.path / "triage.json"


def record_pool(
    project: RawDataset,
    folder: CycleFolder,
    pool: Sequence[str],
    truth: Callable[[str], np.ndarray],
    patch: Index3,
) -> None:
    """Write `triage.json` from the maps of the cycle's query; nothing where it made none, as for random.

    Raises:
        LoopError: a loop file is missing or malformed.
    """
    loops = read_loops(project.root)[: folder.number + 1]
    seen = {entry.case for loop in loops for entry in loop}
    cases = [case for case in pool if case not in seen]
    known = triage_path(folder).exists() or not all(holds_maps(folder.maps(case)) for case in cases)
    if known or not cases:
        return
    rows = {case: _stored(folder.maps(case), truth(case), project.labels, patch) for case in cases}
    write_json(triage_path(folder), {"triage": compare_signs(list(rows.values())), "cases": rows})


def read_triage(folder: CycleFolder, evaluation: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Measures of each way of ranking the test cases, and of the pool's with `pool_` before their names."""
    found = {way: dict(measures) for way, measures in evaluation.get("triage", {}).items()}
    if triage_path(folder).exists():
        for way, measures in read_json(triage_path(folder), LoopError)["triage"].items():
            found.setdefault(way, {}).update({f"pool_{name}": value for name, value in measures.items()})
    return found


def plain(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else value


def _stored(maps: Path, truth: np.ndarray, labels: LabelSet, patch: Index3) -> dict[str, Any]:
    def read(name: str) -> np.ndarray:
        return open_voxels(map_path(maps, name)).array()

    return case_row(
        read("prediction"),
        truth,
        LabelSet(labels.classes),
        entropy=read("predictive_entropy").astype(np.float32),
        information=read("mutual_information").astype(np.float32),
        agreement=read_quality(maps),
        patch=patch,
    )


def _mean_of_classes(dice: Mapping[str, float | None]) -> float:
    known = [value for value in dice.values() if value is not None]
    return float(np.mean(known)) if known else math.nan


def _number(value: float | None) -> float:
    return math.nan if value is None else value
