"""A small real engine for tests of the loop: a Gaussian classifier per voxel, in numpy.

It keeps to the loop's contract: it trains on the labels it was told to read, never on label files;
members and stored cases are files, written whole; a training that was killed goes on with the next
member; and seed, cycle and warm start all change the result. A member is trained on a bootstrap of the
voxels of its own cases, which are split as the real engine splits them.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from nnactive_server.core.features import Embedding, FeatureGrid
from nnactive_server.core.files import atomic_path, link_or_copy, read_json, write_json
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Index3, index3
from nnactive_server.core.rng import generator
from nnactive_server.core.slabs import Slab
from nnactive_server.dataset import RawDataset, annotated_mask, write_volume
from nnactive_server.segmentation.training.members import member_splits

LABELS = LabelSet(("large", "small"))
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class NumpyProfile:
    name: str = "numpy"
    members: int = 3
    warm_start: bool = True

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "members": self.members, "warm_start": self.warm_start}


@dataclass(frozen=True)
class Report:
    iterations: tuple[int, ...]
    losses: tuple[float, ...]


class NumpyEngine:
    def __init__(
        self, project: RawDataset, workdir: Path, profile: NumpyProfile, monitor: Monitor | None = None
    ) -> None:
        self.project, self.workdir, self.profile = project, workdir, profile
        self.monitor = monitor or Monitor()
        self.predicted: list[str] = []
        self.expected: list[tuple[int | None, str]] = []
        self.slab_axis, self.slab_planes = 0, 0
        self.sparing: list[bool] = []
        self.embedded: list[tuple[str, str]] = []
        self.judged: list[tuple[int, str]] = []

    def prepare(self, cases: Sequence[str]) -> None:
        for done, case in enumerate(cases, start=1):
            self.monitor.check()
            if not self._image(case).exists():
                grey = self.project.read_image(case).array[0]
                features = np.stack(
                    [grey, ndimage.gaussian_filter(grey, 1), ndimage.gaussian_filter(grey, 2)]
                )
                self._save(self._image(case), features)
            self.monitor.report("preprocess", done, len(cases), case)

    def update_labels(self, cases: Sequence[str]) -> None:
        for done, case in enumerate(cases, start=1):
            self._save(self._label(case), self.project.read_label(case).array)
            self.monitor.report("labels", done, len(cases), case)

    def train(
        self, out: Path, *, cases: Sequence[str], seed: int, cycle: int, warm_start: Path | None = None
    ) -> Report:
        """All members."""
        count = self.profile.members
        self._train(out, count, cases, seed, cycle, warm_start)
        return Report((1,) * count, (math.nan, *[0.5] * (count - 1)))

    def begin(
        self,
        out: Path,
        early: Path,
        *,
        cases: Sequence[str],
        seed: int,
        cycle: int,
        warm_start: Path | None = None,
    ) -> None:
        """All members but the last, as in a chain."""
        count = self.profile.members - 1
        self._train(out, count, cases, seed, cycle, warm_start)
        for path in (out / "training.json", *(out / f"member_{member}.npy" for member in range(count))):
            link_or_copy(path, early / path.name)

    def _train(
        self, out: Path, count: int, cases: Sequence[str], seed: int, cycle: int, warm_start: Path | None
    ) -> None:
        voxels = {case: found for case in cases if (found := self._annotated(case))[1].size}
        classes = {case: sorted(set(y.tolist()) - {0}) for case, (_, y) in voxels.items()}
        splits = member_splits(classes, self.profile.members, seed)
        told = {"held_out": [split.held_out for split in splits], "warm_start": warm_start is not None}
        write_json(out / "training.json", told)
        for member, split in enumerate(splits[:count]):
            path = out / f"member_{member}.npy"
            if not path.exists():
                x = np.concatenate([voxels[case][0] for case in split.train], axis=1)
                y = np.concatenate([voxels[case][1] for case in split.train])
                drawn = generator("member", seed, cycle, member).integers(len(y), size=len(y))
                model = self._fit(x[:, drawn], y[drawn])
                if warm_start is not None:
                    model = 0.7 * model + 0.3 * np.load(warm_start / path.name)
                self._save(path, model)
            self.monitor.check()
            self.monitor.report("train", member + 1, self.profile.members)

    def expect(
        self, members: Path, cases: Sequence[str], *, test: bool = False, member: int | None = None
    ) -> None:
        del members, test
        self.expected += [(member, case) for case in cases]

    def predict(self, members: Path, case: str, *, test: bool = False) -> Iterator[np.ndarray]:
        del test
        self.predicted.append(case)
        features = np.load(self._image(case))
        for model in self._models(members):
            yield self._softmax(model, features)

    def slabs(
        self,
        members: Path,
        case: str,
        *,
        test: bool = False,
        member: int | None = None,
        sparing: bool = False,
    ) -> Generator[Slab, None, None]:
        """As `predict` and `predict_member`; in slabs of `slab_planes` along `slab_axis`, if that is set."""
        self.sparing.append(sparing)
        if member is None:
            whole = partial(self.predict, members, case, test=test)
            shape = index3(np.load(self._image(case), mmap_mode="r").shape[1:])
        else:
            only = self.predict_member(members, case, member)
            whole, shape = partial(iter, [only]), index3(only.shape[1:])
        planes = self.slab_planes or shape[self.slab_axis]
        for start in range(0, shape[self.slab_axis], planes):
            self.monitor.check()
            part = (slice(None),) * (1 + self.slab_axis) + (slice(start, start + planes),)
            yield Slab(shape, self.slab_axis, start, planes, (softmax[part] for softmax in whole()))

    def predict_member(self, members: Path, case: str, member: int) -> np.ndarray:
        self.judged.append((member, case))
        return self._softmax(np.load(members / f"member_{member}.npy"), np.load(self._image(case)))

    def held_out(self, members: Path) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(cases) for cases in read_json(members / "training.json")["held_out"])

    def independent(self, members: Path) -> bool:
        return not read_json(members / "training.json")["warm_start"]

    def embed(
        self, members: Path, case: str, kind: Embedding, cell: Index3, *, sparing: bool = False
    ) -> FeatureGrid:
        """Bottleneck: each feature, weighted by how far it separates the member's classes."""
        self.sparing.append(sparing)
        self.embedded.append((case, str(kind)))
        features = np.load(self._image(case)) / 100
        found = []
        for model in self._models(members):
            if kind is Embedding.BOTTLENECK:
                found.append(features * (np.ptp(model[:, :3], axis=0) / 30)[:, None, None, None])
            else:
                error = self._softmax(model, 100 * features)
                best = error.argmax(axis=0)
                error -= np.arange(len(error))[:, None, None, None] == best
                found.append((error[:, None] * features).reshape(-1, *features.shape[1:]))
        shape = index3(features.shape[1:])
        return FeatureGrid(_cell_means(np.concatenate(found), cell).astype(np.float32), cell, shape)

    def _annotated(self, case: str) -> tuple[np.ndarray, np.ndarray]:
        """Features (3, n) and classes (n) of the voxels that hold an answer."""
        label = np.load(self._label(case))
        known = annotated_mask(label, self.project.labels)
        return np.load(self._image(case))[:, known], label[known]

    def _models(self, members: Path) -> Iterator[np.ndarray]:
        for path in sorted(members.glob("member_*.npy")):
            yield np.load(path)

    @staticmethod
    def _softmax(model: np.ndarray, features: np.ndarray) -> np.ndarray:
        distance = ((features[None] - model[:, :3, None, None, None]) / 30) ** 2
        logits = model[:, 3, None, None, None] - distance.sum(axis=1)
        weights = np.exp(logits - logits.max(axis=0))
        softmax: np.ndarray = (weights / weights.sum(axis=0)).astype(np.float32)
        return softmax

    def _fit(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Mean features and log share per class (C, 4)."""
        rows = []
        for value in range(self.project.labels.num_classes):
            mine = x[:, y == value]
            middle = mine.mean(axis=1) if mine.size else x.mean(axis=1) + 50
            rows.append([*middle, np.log((mine.shape[1] + 1) / (len(y) + 3))])
        return np.array(rows)

    def _image(self, case: str) -> Path:
        return self.workdir / f"{case}.image.npy"

    def _label(self, case: str) -> Path:
        return self.workdir / f"{case}.label.npy"

    @staticmethod
    def _save(path: Path, array: np.ndarray) -> None:
        with atomic_path(path) as temporary:
            np.save(temporary, array)


def _cell_means(values: np.ndarray, cell: Index3) -> np.ndarray:
    """Mean over each cell of the last three axes."""
    for axis, size in zip((1, 2, 3), cell, strict=True):
        starts = np.arange(0, values.shape[axis], size)
        counts = np.diff([*starts, values.shape[axis]])
        sums = np.add.reduceat(values, starts, axis=axis)
        values = sums / counts.reshape([-1 if a == axis else 1 for a in range(4)])
    return values


def make_source(root: Path, cases: int = 8, labels: LabelSet = LABELS) -> RawDataset:
    """Small, completely labelled volumes of different shapes on an oblique grid."""
    for number in range(cases):
        rng = np.random.default_rng(number)
        shape = (11 + number % 3, 14, 12 + number % 2)
        grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
        centre = np.array(shape)[:, None, None, None] / 2 + rng.uniform(-1.5, 1.5, (3, 1, 1, 1))
        distance = np.sqrt(((grid - centre) ** 2).sum(axis=0))
        label = np.zeros(shape, np.uint8)
        label[distance < 4.5] = 1
        label[distance < 2.5] = 2
        image = (100 + 40 * label + rng.normal(0, 25, shape)).astype(np.float32)
        geometry = Geometry(shape, (2.0, 1.0, 1.0), (10.0, -20.0, 5.0), OBLIQUE)
        write_volume(root / "imagesTr" / f"case_{number}_0000.nii.gz", image, geometry)
        write_volume(root / "labelsTr" / f"case_{number}.nii.gz", label, geometry)
    return RawDataset.create(root, labels, ("MR",), ".nii.gz", "Balls")
