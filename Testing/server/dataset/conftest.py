"""Volumes on awkward grids, a labelled source, and the real images where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.dataset import RawDataset, write_volume

REAL = Path(__file__).resolve().parents[4] / "shared" / "data"


def tilted(
    shape: tuple[int, int, int], angles: tuple[float, float, float], flipped: bool = False
) -> Geometry:
    """A grid turned by Euler angles (degrees); flipped makes it left-handed."""
    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    if flipped:
        matrix[:, 2] *= -1
    direction = tuple(float(v) for v in matrix.ravel())
    return Geometry(shape, (2.5, 0.75, 1.25), (-31.5, 12.25, 104.0), direction)


@pytest.fixture(scope="session")
def make_geometry() -> Callable[..., Geometry]:
    return tilted


@pytest.fixture
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip(f"real images are not at {REAL}")
    return REAL


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[..., RawDataset]:
    """Builds a dense nnU-Net raw data set: case i holds a box of each class."""

    def build(cases: int = 3, channels: int = 1, name: str = "source") -> RawDataset:
        root, geometry = tmp_path / name, tilted((8, 9, 10), (10, 20, 30), flipped=True)
        rng = np.random.default_rng(0)
        for i in range(cases):
            label = np.zeros(geometry.shape, np.uint8)
            label[1:4, 2:6, 1:4] = 1
            label[5:7, 3:8, 5 : 8 + i % 2] = 2
            for channel in range(channels):
                image = label * 100.0 + rng.normal(0, 5, label.shape) + channel
                write_volume(root / "imagesTr" / f"c{i}_{channel:04d}.nii.gz", image, geometry)
            write_volume(root / "labelsTr" / f"c{i}.nii.gz", label, geometry)
        labels = LabelSet(("organ", "lesion"))
        return RawDataset.create(root, labels, [f"T{i}" for i in range(channels)], ".nii.gz")

    return build


@pytest.fixture
def make_project(make_source: Callable[..., RawDataset]) -> Callable[..., RawDataset]:
    """Builds a partial project without label maps."""

    def build(cases: int = 2, name: str = "project") -> RawDataset:
        source = make_source(cases, name=name)
        for case in source.cases:
            source.label_path(case).unlink()
        return RawDataset.create(source.root, source.labels.as_partial(), source.channels, ".nii.gz")

    return build
