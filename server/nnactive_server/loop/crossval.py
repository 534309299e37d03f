"""How good the model is, without any case that was annotated for testing alone.

Each member of the ensemble was trained without some of the annotated cases. Its answers there are compared
with the clinicians', in the voxels they annotated and nowhere else.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.patch import Patch
from nnactive_server.core.slabs import Slab
from nnactive_server.dataset import RawDataset, annotated_mask
from nnactive_server.evaluation import Overlap, mean_dice, overlap_per_class
from nnactive_server.loop.clock import Clock
from nnactive_server.loop.engine import SegmentationEngine
from nnactive_server.loop.folder import CycleFolder
from nnactive_server.loop.sparing import over_slabs
from nnactive_server.query.fold import highest_class

Overlaps = tuple[Overlap, ...]
"""One for each foreground class."""


def crossval_path(folder: CycleFolder) -> Path:
    """The cross-validation of a cycle; until it is complete, a folder beside it holds single cases."""
    return folder.path / "crossval.json"


def cross_validate(
    folder: CycleFolder, project: RawDataset, engine: SegmentationEngine, clock: Clock | None = None
) -> dict[str, Any]:
    """Dice of each member on the annotated voxels of the cases it was not trained on.

    Writes `crossval.json`, and returns what is there when it was written before. Each case is stored when it
    is done, so a call that was stopped goes on with the next one.

    These are boxes that queries or people chose, not whole images: the figure tells whether training helps,
    not what a test on complete cases would give.

    Args:
        folder: of a cycle whose members are trained.
        project: images and partial labels.
        engine: which trained them.
        clock: progress (stage "evaluate"), time and cancel.

    Returns:
        `{"folds": [{"member", "cases", "dice_per_class"}], "dice_per_class", "mean_dice", "fold_spread",
        "independent"}`. Dice of a fold and of all folds come from voxel counts summed over cases, a case
        counted once for each member that holds it out. `fold_spread` is the standard deviation (n - 1) over
        the folds that know the class. By class name, None where a class is in neither prediction nor answer,
        or in fewer than two folds; None as a whole, and no folds, when nothing is held out. Not
        `independent`: members began from weights that had seen their held-out cases, so the figure is
        optimistic.

    Raises:
        LoopError: a stored result is damaged.
        SegmentationError: members are missing.
        Cancelled: asked to stop.
    """
    path = crossval_path(folder)
    if not path.exists():
        clock = clock or Clock()
        with clock.measure(folder.costs, "evaluate"):
            folds = _count_folds(folder, project, engine, clock)
            independent = engine.independent(folder.members)
            write_json(path, _document(folds, project.labels) | {"independent": independent})
    shutil.rmtree(_parts(folder), ignore_errors=True)
    return dict(read_json(path, LoopError))


def before_training(
    prediction: Callable[[str], np.ndarray | None],
    new: Mapping[str, Sequence[tuple[Patch, np.ndarray]]],
    labels: LabelSet,
) -> dict[str, float | None]:
    """Dice of the model before on answers that came after it was trained.

    The model has never seen these boxes, so nothing is learned by heart. It is a pessimistic figure where a
    query chose the boxes, because it asks where the model is worst; and an optimistic one where people only
    corrected what the model had drawn for them.

    Args:
        prediction: class ids (z, y, x) of a case as the cycle before stored them; None where it has none.
        new: by case, boxes answered since then with label crops of the box's size; the ignore id stands for
            voxels the clinician was unsure of, and do not count.
        labels: of the project.

    Returns:
        Dice by class name, from voxel counts summed over all boxes; None where a class is in neither
        prediction nor answer, or nothing was predicted.

    Raises:
        NNActiveError: a crop that has not the size of its box, or a box outside the image.
    """
    overlaps = []
    for case, answers in new.items():
        found = prediction(case) if answers else None
        if found is not None:
            overlaps += [overlap_per_class(found[box.slices], crop, labels) for box, crop in answers]
    return _by_class(_total(overlaps, labels), labels)


def _count_folds(
    folder: CycleFolder, project: RawDataset, engine: SegmentationEngine, clock: Clock
) -> dict[int, list[Overlaps]]:
    """Voxel counts of every held-out case, by the member that holds it out."""
    held_out = {
        member: [case for case in cases if project.has_label(case)]
        for member, cases in enumerate(engine.held_out(folder.members))
    }
    folds: dict[int, list[Overlaps]] = {}
    done, total = 0, sum(map(len, held_out.values()))
    for member, cases in held_out.items():
        parts = {case: _parts(folder) / f"member_{member}" / f"{case}.json" for case in cases}
        lacking = [case for case, part in parts.items() if not part.exists()]
        engine.expect(folder.members, lacking, member=member)
        for case, part in parts.items():
            clock.check()
            if case in lacking:
                _write_part(part, _judge(folder.members, project, engine, member, case), project.labels)
            folds.setdefault(member, []).append(_read_part(part, project.labels))
            done += 1
            clock.report("evaluate", done, total, f"member {member + 1}, {case}")
    return folds


def _judge(
    members: Path, project: RawDataset, engine: SegmentationEngine, member: int, case: str
) -> Overlaps:
    label = project.read_label(case).array
    known = annotated_mask(label, project.labels)

    def count(slabs: Iterator[Slab]) -> Overlaps:
        found = []
        for slab in slabs:
            inside, reference = known[slab.box], label[slab.box]
            for softmax in slab.members:
                vote = highest_class(softmax)[inside]
                found.append(overlap_per_class(vote, reference[inside], project.labels))
        return _total(found, project.labels)

    return over_slabs(case, partial(engine.slabs, members, case, member=member), count)


def _document(folds: Mapping[int, Sequence[Overlaps]], labels: LabelSet) -> dict[str, Any]:
    if not folds:
        return {"folds": [], "dice_per_class": None, "mean_dice": None, "fold_spread": None}
    sums = {member: _total(cases, labels) for member, cases in folds.items()}
    total = _total(sums.values(), labels)
    spreads = [_spread([overlap.dice for overlap in column]) for column in zip(*sums.values(), strict=True)]
    return {
        "folds": [
            {"member": member, "cases": len(folds[member]), "dice_per_class": _by_class(found, labels)}
            for member, found in sums.items()
        ],
        "dice_per_class": _by_class(total, labels),
        "mean_dice": _plain(mean_dice([[overlap.dice for overlap in total]])),
        "fold_spread": dict(zip(labels.classes, spreads, strict=True)),
    }


def _spread(values: Iterable[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return stdev(known) if len(known) > 1 else None


def _total(overlaps: Iterable[Overlaps], labels: LabelSet) -> Overlaps:
    """Sums by class; of no case at all too."""
    none = [Overlap() for _ in labels.classes]
    return tuple(sum(column, Overlap()) for column in zip(none, *overlaps, strict=True))


def _by_class(overlaps: Overlaps, labels: LabelSet) -> dict[str, float | None]:
    return {name: _plain(overlap.dice) for name, overlap in zip(labels.classes, overlaps, strict=True)}


def _plain(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else value


def _parts(folder: CycleFolder) -> Path:
    return crossval_path(folder).with_suffix("")


def _write_part(path: Path, overlaps: Overlaps, labels: LabelSet) -> None:
    named = zip(labels.classes, overlaps, strict=True)
    write_json(path, {name: [found.both, found.predicted, found.reference] for name, found in named})


def _read_part(path: Path, labels: LabelSet) -> Overlaps:
    document = read_json(path, LoopError)
    try:
        return tuple(Overlap(*document[name]) for name in labels.classes)
    except (KeyError, TypeError) as problem:
        raise LoopError(f"{path}: not the counts of a case ({problem!r}); remove the file") from problem
