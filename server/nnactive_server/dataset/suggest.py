"""Patch size, query size and cycles for a new data set, each with its reason (thesis D.5)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Float3, Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Index3, fit_size, index3
from nnactive_server.dataset.partial import annotated_mask
from nnactive_server.dataset.raw import RawDataset

HOMOGENEOUS, VARIABLE = 50, 100  # patches a class and cycle
CYCLES = 5
FEWEST = 14  # patches a class over all cycles
_VERY_DIFFERENT = 8.0  # ratio of box volumes: twice the size on each axis
_LARGEST_SHARE = 0.5  # of the pool's room that all cycles together may annotate


@dataclass(frozen=True)
class Suggestion:
    """Settings for a project.

    Attributes:
        patch_size: (z, y, x) voxels at the median spacing.
        patch_mm: the same in mm (z, y, x).
        query_size: patches a cycle; the start budget is as large.
        cycles: trainings, the one on the start budget among them.
        class_sizes: median box (z, y, x; mm) of each class's largest component.
        reasons: a sentence for each of `patch_size`, `query_size` and `cycles`.
        warnings: sentences, each worth a decision.
    """

    patch_size: Index3
    patch_mm: Float3
    query_size: int
    cycles: int
    class_sizes: Mapping[str, Float3]
    reasons: Mapping[str, str]
    warnings: tuple[str, ...]


def suggest(
    dataset: RawDataset,
    *,
    variable: Collection[str] = (),
    interest: Collection[str] = (),
    boxes: Mapping[str, Sequence[Float3]] | None = None,
    monitor: Monitor | None = None,
) -> Suggestion:
    """Suggest settings by the guidelines.

    Sizes come from `boxes` when given, otherwise from the label maps: completely labelled ones only,
    because a box cut by a patch's border says little about the structure.

    Args:
        dataset: the project.
        variable: classes that look different from case to case, such as tumours.
        interest: classes that set the patch size; all unless given.
        boxes: rough sizes (z, y, x; mm) of a few structures of each class, measured by eye.
        monitor: receives progress; can cancel.

    Raises:
        DatasetError: an unknown class name, no case, or neither complete labels nor boxes.
    """
    if not dataset.cases:
        raise DatasetError(f"{dataset.root}: has no cases to suggest settings for")
    for names in (variable, interest, boxes or ()):
        _require_known(names, dataset.labels)
    sizes = boxes if boxes else _measure(dataset, monitor or Monitor())
    geometries = [dataset.geometry(case) for case in dataset.cases]
    return suggest_for(geometries, dataset.labels, sizes, variable=variable, interest=interest)


def suggest_for(
    geometries: Sequence[Geometry],
    labels: LabelSet,
    boxes: Mapping[str, Sequence[Float3]],
    *,
    variable: Collection[str] = (),
    interest: Collection[str] = (),
) -> Suggestion:
    """Suggest settings for images of these grids and structures of these sizes; no file is needed.

    Args:
        geometries: grids of the pool's images.
        labels: the classes.
        boxes: sizes (z, y, x; mm) of structures of each class; classes may be left out, not all of them.
        variable: see `suggest`.
        interest: likewise.

    Raises:
        DatasetError: an unknown class name, no image, or boxes that are no sizes.
    """
    for names in (variable, interest, boxes):
        _require_known(names, labels)
    if not geometries:
        raise DatasetError("there are no images to suggest settings for; add some first")
    shapes = np.array([geometry.shape for geometry in geometries])
    spacing = np.median([geometry.spacing for geometry in geometries], axis=0)
    sizes = _medians(boxes)
    warnings = _size_warnings(sizes, labels, interest)
    patch, patch_reason = _patch_size(sizes, interest, spacing, shapes)
    query, query_reason, more = _query_size(labels, variable, patch, shapes)
    return Suggestion(
        patch,
        _triple(np.array(patch) * spacing),
        query,
        CYCLES,
        sizes,
        {
            "patch_size": patch_reason,
            "query_size": query_reason,
            "cycles": (
                f"{CYCLES} trainings, the start among them: fewer lose the advantage over random boxes, "
                "more are safe."
            ),
        },
        tuple(warnings + more),
    )


def largest_box(mask: np.ndarray) -> Index3:
    """Extent (z, y, x; voxels) of the largest connected component (26 neighbours) of a mask (z, y, x).

    Raises:
        DatasetError: an empty mask.
    """
    from scipy import ndimage  # slow to load, and few that load this module need it

    parts, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if not count:
        raise DatasetError("an empty mask has no component")
    largest = int(np.bincount(parts.ravel())[1:].argmax())
    return index3([axis.stop - axis.start for axis in ndimage.find_objects(parts)[largest]])


def _require_known(names: Collection[str], labels: LabelSet) -> None:
    unknown = sorted(set(names) - set(labels.classes))
    if unknown:
        raise DatasetError(f"no class is called {', '.join(unknown)}; there are {', '.join(labels.classes)}")


def _measure(dataset: RawDataset, monitor: Monitor) -> dict[str, list[Float3]]:
    """Box (z, y, x; mm) of the largest component of each class in each completely labelled case."""
    from scipy import ndimage

    found: dict[str, list[Float3]] = {name: [] for name in dataset.labels.classes}
    labelled = [case for case in dataset.cases if dataset.has_label(case)]
    for done, case in enumerate(labelled):
        monitor.check()
        monitor.report("measure", done, len(labelled), case)
        label = dataset.read_label(case)
        if dataset.labels.partial and not annotated_mask(label.array, dataset.labels).all():
            continue
        for value, box in enumerate(ndimage.find_objects(label.array), start=1):
            if box is not None:
                extent = np.array(largest_box(label.array[box] == value))
                found[dataset.labels.name(value)].append(_triple(extent * label.geometry.spacing))
    return found


def _medians(boxes: Mapping[str, Sequence[Float3]]) -> dict[str, Float3]:
    """Median box (z, y, x; mm) of each class that has any.

    Raises:
        DatasetError: no box at all, or one that is not three positive numbers.
    """
    medians = {}
    for name, sizes in boxes.items():
        table = np.array(sizes, dtype=float)
        if not len(table):
            continue
        if table.shape != (len(table), 3) or not (np.isfinite(table) & (table > 0)).all():
            raise DatasetError(f"boxes of '{name}' need three positive sizes in mm (z, y, x) each")
        medians[name] = _triple(np.median(table, axis=0))
    if not medians:
        raise DatasetError(
            "sizes of the classes are unknown: no case is completely labelled; give rough boxes in mm, "
            "e.g. boxes={'liver': [(150, 200, 220)]}"
        )
    return medians


def _size_warnings(sizes: Mapping[str, Float3], labels: LabelSet, interest: Collection[str]) -> list[str]:
    warnings = []
    unmeasured = [name for name in (interest or labels.classes) if name not in sizes]
    if unmeasured:
        warnings.append(f"No size is known for {', '.join(unmeasured)}; the size leaves them out.")
    volumes = {name: float(np.prod(size)) for name, size in sizes.items() if not interest or name in interest}
    if volumes and max(volumes.values()) > _VERY_DIFFERENT * min(volumes.values()):
        large, small = max(volumes, key=volumes.__getitem__), min(volumes, key=volumes.__getitem__)
        warnings.append(
            f"Sizes differ a lot: {large} is {_mm(sizes[large])}, {small} only {_mm(sizes[small])}; "
            "if one of them matters most, say so (class of interest)."
        )
    return warnings


def _patch_size(
    sizes: Mapping[str, Float3], interest: Collection[str], spacing: np.ndarray, shapes: np.ndarray
) -> tuple[Index3, str]:
    """Median over the classes' median boxes, in voxels, inside the median image; and why."""
    used = {name: size for name, size in sizes.items() if not interest or name in interest}
    if not used:
        raise DatasetError(f"no size is known for the classes of interest: {', '.join(interest)}")
    size = np.median(list(used.values()), axis=0)
    voxels = index3(np.maximum(1, np.rint(size / spacing)).astype(int).tolist())
    patch = fit_size(voxels, np.median(shapes, axis=0).astype(int))
    of_what = "the structures" if not interest else ", ".join(sorted(used))
    reason = f"The usual size of {of_what}: {_mm(_triple(size))} at {_mm(_triple(spacing))} a voxel"
    return patch, f"{reason}, cut to the usual image." if patch != voxels else f"{reason}."


def _query_size(
    labels: LabelSet, variable: Collection[str], patch: Index3, shapes: np.ndarray
) -> tuple[int, str, list[str]]:
    """Patches a cycle, why, and warnings: 50 or 100 a class, but not more than the pool has room for."""
    many = len(set(variable))
    few = len(labels.classes) - many
    guideline = HOMOGENEOUS * few + VARIABLE * many
    parts = [f"{HOMOGENEOUS} boxes a round for each structure that looks alike in every patient ({few})"]
    parts += [f"{VARIABLE} for each that varies ({many})"] if many else []
    reason = ", ".join(parts)
    fitted = np.minimum(np.array(patch), shapes)
    room = int((shapes // fitted).prod(axis=1).sum())
    limit = max(1, int(room * _LARGEST_SHARE) // CYCLES)
    query = min(guideline, limit)
    warnings = []
    if query < guideline:
        reason += f" would be {guideline}, but the images have room for about {room} separate boxes in all"
        warnings.append(
            f"There are few images: {CYCLES} rounds of {guideline} boxes would annotate most of them; "
            f"{query} a round leave half to choose from. More images help more than more boxes."
        )
    if query * CYCLES < FEWEST * len(labels.classes):
        warnings.append(
            f"{query * CYCLES} boxes in all are fewer than {FEWEST} a class: boxes at random, two thirds of "
            "them on structures, may do better (strategy random-fg-66 instead of clasp-pe)."
        )
    return query, f"{reason}.", warnings


def _mm(size: Float3) -> str:
    return " x ".join(f"{value:.3g}" for value in size) + " mm"


def _triple(values: np.ndarray) -> Float3:
    z, y, x = (float(value) for value in values)
    return z, y, x
