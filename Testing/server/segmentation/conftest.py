"""A tiny project with partial labels, an oblique grid and anisotropic voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import RawDataset, write_patches, write_volume
from nnactive_server.segmentation import Engine, get_profile

LABELS = LabelSet(("large", "small"))
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


def volume(seed: int, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image and its dense label: a bright ball that holds a brighter, smaller one."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    centre = np.array(shape)[:, None, None, None] / 2 + rng.uniform(-1.5, 1.5, (3, 1, 1, 1))
    distance = np.sqrt(((grid - centre) ** 2).sum(0))
    label = np.zeros(shape, np.uint8)
    label[distance < 7] = 1
    label[distance < 3.5] = 2
    image = 100.0 + 80 * label + rng.normal(0, 10, shape)
    return image.astype(np.float32), label


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RawDataset]:
    """Builds a project of `cases` cases, the first `annotated` of which hold one annotated patch.

    With `last_spacing` the last case has other voxels than the plan and must be resampled.
    """

    def build(
        cases: int = 5,
        annotated: int = 4,
        shape: tuple[int, int, int] = (18, 24, 20),
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        channel: str = "MRI",
        border: int = 0,
        last_spacing: tuple[float, float, float] | None = None,
    ) -> RawDataset:
        root = tmp_path_factory.mktemp("project")
        project = RawDataset.create(root, LABELS.as_partial(), (channel,), ".nii.gz", "tiny")
        truths = {}
        for number in range(cases):
            last = number == cases - 1
            voxel = last_spacing if last and last_spacing else spacing
            geometry = Geometry(shape, voxel, (10.0, -20.0, 5.0), OBLIQUE)
            image, truth = volume(number, shape)
            if border:
                outside = np.ones(shape, bool)
                outside[border:-border, border:-border, border:-border] = False
                image[outside] = 0
                truth[outside] = 0
            write_volume(root / "imagesTr" / f"case_{number}_0000.nii.gz", image, geometry)
            truths[f"case_{number}"] = truth
        project = RawDataset.open(root)
        for case in project.cases[:annotated]:
            patch = Patch(tuple(n // 2 - 4 for n in shape), (8, 8, 8))
            write_patches(project, case, {patch: truths[case][patch.slices]})
        return project

    return build


@pytest.fixture(scope="session")
def project(make_project: Callable[..., RawDataset]) -> RawDataset:
    return make_project()


@pytest.fixture(scope="session")
def trained(project: RawDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Path]:
    """An engine after one smoke training, and the folder of its members."""
    work = tmp_path_factory.mktemp("work")
    engine = Engine(project, work, get_profile("smoke"))
    engine.prepare(project.cases)
    engine.update_labels(project.cases[:4])
    engine.train(work / "members", cases=project.cases[:4], seed=3, cycle=0)
    return engine, work / "members"


@pytest.fixture(scope="session")
def with_dropout(project: RawDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Path]:
    """As `trained`, one member of a network with dropout, whose pool members are its dropout passes."""
    work = tmp_path_factory.mktemp("work")
    profile = get_profile("smoke", members=1, dropout=0.3, pool_members="dropout", dropout_passes=3)
    engine = Engine(project, work, profile)
    engine.prepare(project.cases)
    engine.update_labels(project.cases[:4])
    engine.train(work / "members", cases=project.cases[:4], seed=3, cycle=0)
    return engine, work / "members"
