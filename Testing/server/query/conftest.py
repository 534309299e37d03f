"""Slow, obvious versions of what the query engine computes, to compare with."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nnactive_server.core.patch import Patch
from nnactive_server.query import Proposal, uncertainty_maps


class Oracle:
    """Loops over every box, in float64."""

    @staticmethod
    def starts(length: int, size: int, stride: int) -> list[int]:
        last = length - size
        return [s for s in range(last + 1) if s % stride == 0 or s == last]

    @classmethod
    def boxes(cls, shape, patch_size, stride=(1, 1, 1)) -> list[Patch]:
        size = tuple(min(p, n) for p, n in zip(patch_size, shape, strict=True))
        axes = [cls.starts(n, k, s) for n, k, s in zip(shape, size, stride, strict=True)]
        return [Patch(start, size) for start in itertools.product(*axes)]

    @classmethod
    def means(cls, values, patch_size, stride=(1, 1, 1)) -> dict[Patch, float]:
        values = np.asarray(values, dtype=np.float64)
        boxes = cls.boxes(values.shape, patch_size, stride)
        return {box: float(values[box.slices].sum() / box.voxels) for box in boxes}

    @staticmethod
    def greedy(scores: dict[Patch, float], occupied, count: int, overlap=0.0) -> list[tuple[Patch, float]]:
        """Every box in order of its score; voxels that are taken are kept as a set."""
        taken: list[tuple[Patch, float]] = []
        voxels = {voxel for box in occupied for voxel in Oracle.voxels(box)}
        for box, score in sorted(scores.items(), key=lambda entry: (-entry[1], entry[0].start)):
            mine = Oracle.voxels(box)
            # A product, not a quotient: 1 of 3 voxels is no more than a third of them.
            if len(taken) < count and len(mine & voxels) <= overlap * len(mine) + 1e-9:
                taken.append((box, score))
                voxels |= mine
        return taken

    @staticmethod
    def voxels(box: Patch) -> set[tuple[int, ...]]:
        return set(itertools.product(*(range(a, b) for a, b in zip(box.start, box.stop, strict=True))))

    @staticmethod
    def softmax(logits: np.ndarray) -> np.ndarray:
        e = np.exp(logits - logits.max(axis=0))
        return e / e.sum(axis=0)


@pytest.fixture(scope="session")
def oracle() -> type[Oracle]:
    return Oracle


@pytest.fixture(scope="session")
def assert_valid():
    """No overlaps with each other or annotated boxes, inside the images, ranks 1..n."""

    def check(proposal: Proposal, shapes: dict, annotated: dict) -> None:
        assert [query.rank for query in proposal] == list(range(1, len(proposal) + 1))
        for query in proposal:
            assert query.patch.inside(shapes[query.case])
            assert np.isfinite(query.score)
            assert not any(query.patch.overlap(box) for box in annotated.get(query.case, ()))
        for one, two in itertools.combinations(proposal, 2):
            assert one.case != two.case or not one.patch.overlap(two.patch)

    return check


@pytest.fixture(scope="session")
def make_maps():
    """Maps of a random ensemble: `make_maps(shape, classes, seed)`."""

    def make(shape, classes=3, seed=0, members=3) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        arrays = [Oracle.softmax(2 * rng.normal(size=(classes, *shape))) for _ in range(members)]
        wanted = ("predictive_entropy", "expected_entropy", "mutual_information", "class_signal")
        return uncertainty_maps(arrays, wanted)

    return make
