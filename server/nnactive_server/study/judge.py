"""How good an ensemble is on the test cases, and how far its members differ."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Index3
from nnactive_server.core.slabs import Slab
from nnactive_server.evaluation.dice import class_means, mean_dice
from nnactive_server.loop.sparing import Slabs, over_slabs
from nnactive_server.loop.votes import Votes
from nnactive_server.query import uncertainty_maps
from nnactive_server.query.device import to_numpy
from nnactive_server.study.signs import case_row, compare_signs, plain

Predict = Callable[[str], Slabs]

_MAPS = ("prediction", "predictive_entropy", "mutual_information")


def judge(
    path: Path,
    cases: Sequence[str],
    labels: LabelSet,
    predict: Predict,
    truth: Callable[[str], np.ndarray],
    patch: Index3,
    monitor: Monitor,
) -> dict[str, Any]:
    """Judge the test cases one by one and write the result to `path`; cases done before are read.

    Args:
        path: target; until it is complete, a folder of the same name without ending holds single cases.
        cases: test cases.
        labels: classes of the truth.
        predict: members' softmax arrays of a case, slab by slab.
        truth: label map (z, y, x) of a case.
        patch: voxels (z, y, x) of the query's patch, see `signs`.
        monitor: progress (stage "evaluate") and cancel.

    Returns:
        The document: means over cases, and each case's own values; None where Dice is not defined.
    """
    parts = _parts(path)
    rows = {}
    for done, case in enumerate(cases, start=1):
        monitor.check()
        part = parts / f"{case}.json"
        if not part.exists():
            count = partial(judge_case, truth=truth(case), labels=labels, patch=patch)
            write_json(part, over_slabs(case, predict(case), count))
        rows[case] = read_json(part, LoopError)
        monitor.report("evaluate", done, len(cases), case)
    document = _means(rows, labels)
    write_json(path, document)
    discard_parts(path)
    return document


def discard_parts(path: Path) -> None:
    """Remove the single cases of a judgement that is complete."""
    shutil.rmtree(_parts(path), ignore_errors=True)


def _parts(path: Path) -> Path:
    return path.with_suffix("")


def judge_case(slabs: Iterable[Slab], truth: np.ndarray, labels: LabelSet, patch: Index3) -> dict[str, Any]:
    """Dice of the mean softmax, and what the members say of the case as a whole.

    Args:
        slabs: members' softmax arrays.
        truth: label map (z, y, x).
        labels: the classes.
        patch: voxels (z, y, x) of the query's patch.

    Returns:
        See `signs.case_row`; no pairwise Dice (None) for a single member.
    """
    votes = Votes()
    maps: dict[str, np.ndarray] = {}
    for slab in slabs:
        for name, found in uncertainty_maps(votes.watch(slab.members), _MAPS).items():
            values = to_numpy(found)
            if name not in maps:
                maps[name] = values if slab.is_whole else np.empty(slab.shape, values.dtype)
            if not slab.is_whole:
                maps[name][slab.box] = values
    return case_row(
        maps["prediction"],
        truth,
        labels,
        entropy=maps["predictive_entropy"],
        information=maps["mutual_information"],
        agreement=plain(votes.agreement(labels)),
        patch=patch,
    )


def _means(rows: dict[str, dict[str, Any]], labels: LabelSet) -> dict[str, Any]:
    table = [[_number(row["dice"][name]) for name in labels.classes] for row in rows.values()]
    names = ("pairwise_dice", "mean_mutual_information", "mean_predictive_entropy")
    return {
        "mean_dice": plain(mean_dice(table)),
        "dice_per_class": {
            name: plain(value) for name, value in zip(labels.classes, class_means(table), strict=True)
        },
        "members": {name: _mean([row[name] for row in rows.values()]) for name in names},
        "triage": compare_signs(list(rows.values())),
        "cases": rows,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
