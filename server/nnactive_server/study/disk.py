"""How much disk a study needs: told before it begins, from the images' sizes and the networks'."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nnactive_server.dataset import RawDataset
from nnactive_server.segmentation import Profile
from nnactive_server.study.units import Unit

_RESULTS = 200_000
"""Bytes of a cycle's results without views, rounded up: 32 test cases took 40 kB."""
_VIEW = 40_000
"""Bytes of a query's slices, rounded up: patches of 20 voxels took 10 kB."""
_WEIGHT = 16
"""Bytes of a parameter: float32 for its value, its running mean and two moments of the optimiser."""
_STAGES, _CONVS, _FEATURES, _MOST_FEATURES = 6, 27, 32, 320
"""nnU-Net's largest plans for 3D: stages, weights of a 3x3x3 kernel, channels at first and at last."""


@dataclass(frozen=True, slots=True)
class Size:
    """What decides how large an experiment's files become.

    Attributes:
        voxels: of all images.
        channels: of an image.
        classes: with background.
    """

    voxels: int
    channels: int
    classes: int


def dataset_size(source: RawDataset) -> Size:
    """Of a data set on disk; reads the images' headers."""
    voxels = sum(math.prod(source.geometry(case).shape) for case in source.cases)
    return Size(voxels, len(source.channels), source.labels.num_classes)


def peak_bytes(unit: Unit, size: Size, keep_all: bool) -> int:
    """The most that a running experiment holds, roughly and rather too much.

    Preprocessed images and labels (4 bytes a voxel and channel, 2 for the label), the maps of the pool of two
    cycles before compression (float16 for each class, entropy and mutual information, and the prediction),
    and the members of two cycles, or of all.
    """
    maps = 0 if unit.all_labels else 2 * size.voxels * (2 * (size.classes + 2) + 1)
    profile = unit.profile.profile()
    cycles = unit.cycles if keep_all else min(2, unit.cycles)
    return _images(size) + maps + cycles * _members(profile) + left_bytes(unit)


def start_bytes(unit: Unit, size: Size) -> int:
    """What a shared first cycle holds: preprocessed images and labels, and the members."""
    return _images(size) + _members(unit.profile.profile())


def _images(size: Size) -> int:
    return size.voxels * (4 * size.channels + 2)


def _members(profile: Profile) -> int:
    return profile.members * parameters(profile) * _WEIGHT


def left_bytes(unit: Unit) -> int:
    """What stays of an experiment that is done and not kept whole."""
    return unit.cycles * (_RESULTS + _VIEW * min(unit.views, unit.query_size))


def parameters(profile: Profile) -> int:
    """Weights of a U-Net of this profile with as many stages as nnU-Net ever plans."""
    first, most = profile.features or _FEATURES, profile.max_features or _MOST_FEATURES
    widths = [min(first * 2**stage, most) for stage in range(_STAGES)]
    total = 0
    for below, width in zip([1, *widths], widths, strict=False):
        total += _CONVS * width * (below + (profile.encoder_convs - 1) * width)
    for width, below in itertools.pairwise(widths):
        total += _CONVS * width * (2 * width + (profile.decoder_convs - 1) * width) + 8 * width * below
    return total


def free_bytes(folder: Path) -> int:
    """Of the disk that this folder, or the nearest above it, lies on."""
    there: Iterable[Path] = (folder, *folder.resolve().parents)
    return shutil.disk_usage(next(path for path in there if path.exists())).free


def in_words(count: int) -> str:
    """Bytes for people."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:.1f} {unit}"
