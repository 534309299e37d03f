"""Partial label maps: class ids inside annotated boxes, the ignore id elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.patch import Patch
from nnactive_server.dataset.raw import RawDataset, unknown_values
from nnactive_server.dataset.volumes import write_volume


def empty_label(geometry: Geometry, labels: LabelSet) -> np.ndarray:
    """A label map (z, y, x) in which nothing is annotated: ignore id everywhere."""
    return np.full(geometry.shape, labels.ignore, dtype=label_dtype(labels))


def label_dtype(labels: LabelSet) -> np.dtype:
    """The smallest type of a partial label map of these classes: uint8 or int16."""
    return np.dtype(np.uint8 if labels.ignore <= np.iinfo(np.uint8).max else np.int16)


def annotated_mask(label: np.ndarray, labels: LabelSet) -> np.ndarray:
    """Which voxels of a label map (z, y, x) hold an answer: bool, same shape."""
    mask: np.ndarray = label != labels.ignore
    return mask


def write_patches(dataset: RawDataset, case: str, answers: Mapping[Patch, np.ndarray]) -> None:
    """Set annotated boxes in the partial label map of a case, all of them or none.

    The file is created when the case has none; voxels outside the boxes keep what they hold. A crop
    may hold the ignore id for voxels the clinician is unsure of.

    Args:
        dataset: a project: its label set is partial.
        case: id of the case.
        answers: label crop (z, y, x) of the box's size for each box.

    Raises:
        DatasetError: a dense data set, a box outside the image, a crop of the wrong shape or with
            values the data set does not name, or boxes that overlap and disagree.
    """
    geometry = _checked(dataset, case, answers.items())
    label = (
        dataset.read_label(case).array if dataset.has_label(case) else empty_label(geometry, dataset.labels)
    )
    for patch, crop in answers.items():
        label[patch.slices] = crop
    for patch, crop in answers.items():
        if not np.array_equal(label[patch.slices], crop):
            raise DatasetError(f"{case}: the box at {patch.start} overlaps another one with other labels")
    write_volume(dataset.label_path(case), label, geometry)


def rebuild_label(
    dataset: RawDataset, case: str, answers: Sequence[tuple[Patch, np.ndarray]]
) -> np.ndarray | None:
    """Write the partial label map of a case anew, with these boxes and nothing else.

    Args:
        dataset: a project: its label set is partial.
        case: id of the case.
        answers: boxes and their label crops (z, y, x), as for `write_patches`; where boxes overlap, the later
            one says what holds, also with its ignore ids. Without any the file is removed.

    Returns:
        The label map (z, y, x); None when there is none any more.

    Raises:
        DatasetError: a dense data set, a box outside the image, or a crop of the wrong shape or with
            values the data set does not name; the file is as it was.
    """
    geometry = _checked(dataset, case, answers)
    path = dataset.label_path(case)
    if not answers:
        path.unlink(missing_ok=True)
        return None
    label = empty_label(geometry, dataset.labels)
    for patch, crop in answers:
        label[patch.slices] = crop
    write_volume(path, label, geometry)
    return label


def _checked(dataset: RawDataset, case: str, answers: Iterable[tuple[Patch, np.ndarray]]) -> Geometry:
    """The grid of a case on which all these answers fit."""
    if not dataset.labels.partial:
        raise DatasetError(f"{dataset.root}: its labels have no 'ignore', so it cannot take single patches")
    geometry = dataset.geometry(case)
    for patch, crop in answers:
        _check(dataset, case, geometry, patch, crop)
    return geometry


def _check(dataset: RawDataset, case: str, geometry: Geometry, patch: Patch, crop: np.ndarray) -> None:
    where = f"{case}: patch at {patch.start} of size {patch.size}"
    if not patch.inside(geometry.shape):
        raise DatasetError(f"{where} reaches outside the image of shape {geometry.shape}")
    if crop.shape != patch.size:
        raise DatasetError(f"{where} needs labels of that size, got {crop.shape}")
    if crop.dtype.kind not in "iu":
        raise DatasetError(f"{where} needs whole numbers as labels, got {crop.dtype}")
    unknown = unknown_values(crop, dataset.labels)
    if unknown:
        raise DatasetError(
            f"{where} holds label values {unknown}; allowed are {sorted(dataset.labels.allowed)}"
        )
