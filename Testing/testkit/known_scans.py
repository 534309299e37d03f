"""Scans with their truth, for a clinician who knows it: real ones where they are there, else phantoms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_server.dataset import RawDataset, read_label
from nnactive_server.study.phantom import make_phantoms

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
HIPPOCAMPUS = SHARED / "Dataset004_Hippocampus"
CT = SHARED / "ct_thorax"
CT_CLASSES = {"liver": 5, "spleen": 1, "aorta": 52}
"""Values in the segmentation beside the CT."""


@dataclass(frozen=True)
class Scan:
    """An image file and its label map (z, y, x)."""

    image: Path
    truth: np.ndarray


@dataclass(frozen=True)
class Scans:
    """What a project is made of.

    Attributes:
        title: a name for the project.
        channel: kind of image.
        classes: names; the first has value 1.
        scans: in the order in which they are added.
    """

    title: str
    channel: str
    classes: tuple[str, ...]
    scans: tuple[Scan, ...]


def brain_scans(count: int, folder: Path) -> Scans:
    """MR scans: of the hippocampus, or phantoms written into a folder."""
    if HIPPOCAMPUS.exists():
        return _of(RawDataset.open(HIPPOCAMPUS), "Hippocampus", count)
    return _of(make_phantoms(folder, count), "Phantoms", count)


def ct_scan() -> Scans:
    """A thorax CT with three organs; FileNotFoundError where there is none."""
    if not CT.exists():
        raise FileNotFoundError(CT)
    found = read_label(CT / "example_seg.nii.gz").array
    truth = np.zeros(found.shape, np.uint8)
    for value, number in enumerate(CT_CLASSES.values(), 1):
        truth[found == number] = value
    return Scans("Thorax", "CT", tuple(CT_CLASSES), (Scan(CT / "example_ct_sm.nii.gz", truth),))


def _of(source: RawDataset, title: str, count: int) -> Scans:
    scans = tuple(
        Scan(source.image_paths(case)[0], source.read_label(case).array) for case in source.cases[:count]
    )
    return Scans(title, source.channels[0], source.labels.classes, scans)
