"""Random patches: uniform, or with a given probability around foreground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Index3, Patch, index3
from nnactive_server.core.rng import generator
from nnactive_server.query.candidates import Candidate, CaseCandidates
from nnactive_server.query.pool import as_query
from nnactive_server.query.scores import Places
from nnactive_server.query.values import PLAIN, CaseMaps, Proposal, Request, Shortage, class_group

_TRIES = 64


@dataclass(frozen=True)
class RandomStrategy:
    """Random boxes without overlap, the images taken in turn.

    With probability `foreground` a box is centred on a voxel of a class drawn evenly among those in the
    image: in half of these on any of its voxels, otherwise on its border, and shifted inside the image.
    All other boxes are uniform over the start positions; so are those of an image without (free)
    foreground. Strides are not used.

    Attributes:
        name: as on the command line.
        foreground: share of patches centred on foreground; 0 needs no labels.

    Raises:
        QueryError: a share outside 0..1.
    """

    name: str
    foreground: float = 0.0
    measures: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.foreground <= 1:
            raise QueryError(f"{self.name}: foreground {self.foreground} must lie between 0 and 1")

    @property
    def needs_labels(self) -> bool:
        """Whether any patch is to be centred on foreground."""
        return self.foreground > 0

    def candidates(self, case: CaseMaps, request: Request, annotated: Sequence[Patch]) -> CaseCandidates:
        """Stage 1: random patches of one image, in the order of the draw."""
        rng = generator(request.seed, request.step, case.case, self.name)
        space = _FreeSpace(Places.fit(case.shape, request.patch_size), annotated)
        classes = _classes(case.labels) if self.needs_labels and case.labels is not None else {}
        found: list[Candidate] = []
        while len(found) < min(request.per_image, request.query_size):
            wanted = bool(classes) and rng.random() < self.foreground
            drawn = (_foreground_patch(rng, space, classes) if wanted else None) or _uniform_patch(rng, space)
            if drawn is None:
                break
            group, patch = drawn
            space.occupy(patch)
            found.append(Candidate(patch, 0.0, group))
        return CaseCandidates(case.case, self.name, request.step, (PLAIN,), tuple(found))

    def merge(self, cases: Sequence[CaseCandidates], request: Request) -> Proposal:
        """Stage 2: one patch of each image in turn, the images in a seeded order."""
        order = generator(request.seed, request.step, "cases").permutation(len(cases))
        turns = sorted(
            (turn, place, cases[index].case, candidate)
            for place, index in enumerate(order)
            for turn, candidate in enumerate(cases[index].candidates)
        )
        chosen = turns[: request.query_size]
        queries = [as_query(case, candidate, rank) for rank, (_, _, case, candidate) in enumerate(chosen, 1)]
        lacks = len(queries) < request.query_size
        shortage = [Shortage(PLAIN, request.query_size, len(queries))] if lacks else []
        return Proposal(queries, request.query_size, shortage)


class _FreeSpace:
    """Which places of one image are still free."""

    def __init__(self, places: Places, occupied: Sequence[Patch]) -> None:
        self.places = places
        self._lower = np.array([box.start for box in occupied], dtype=np.int64).reshape(-1, 3)
        self._upper = np.array([box.stop for box in occupied], dtype=np.int64).reshape(-1, 3)

    def occupy(self, box: Patch) -> None:
        """Nothing may overlap this box from now on."""
        self._lower = np.vstack([self._lower, box.start])
        self._upper = np.vstack([self._upper, box.stop])

    def is_free(self, patch: Patch) -> bool:
        """Whether a patch overlaps no occupied box."""
        shared = (self._lower < patch.stop) & (self._upper > patch.start)
        return not shared.all(axis=1).any()

    def mask(self) -> np.ndarray:
        """True at every free start position (z, y, x)."""
        free = np.ones(self.places.shape, dtype=bool)
        for lower, upper in zip(self._lower, self._upper, strict=True):
            free[self.places.overlapping(Patch(index3(lower.tolist()), index3((upper - lower).tolist())))] = (
                False
            )
        return free


@dataclass(frozen=True, eq=False)
class _ClassVoxels:
    """Voxels of one class as flat indices into its bounding box."""

    corner: Index3
    shape: Index3
    inside: np.ndarray
    border: np.ndarray

    def coordinates(self, flat: np.ndarray) -> np.ndarray:
        """Voxel indices (n, 3) in the image."""
        return np.stack(np.unravel_index(flat, self.shape), axis=-1) + self.corner


def _classes(labels: np.ndarray) -> dict[int, _ClassVoxels]:
    """Every class in a label map. The border is the class minus its erosion with the 6-neighbour ball."""
    found = {}
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            mask = labels[box] == value
            border = mask & ~ndimage.binary_erosion(mask)
            found[value] = _ClassVoxels(
                index3([axis.start for axis in box]),
                index3(mask.shape),
                np.flatnonzero(mask),
                np.flatnonzero(border),
            )
    return found


def _uniform_patch(rng: np.random.Generator, space: _FreeSpace) -> tuple[str, Patch] | None:
    """Evenly among the free places, None when there is none."""
    limits = space.places.shape
    for _ in range(_TRIES):
        patch = space.places.patch(rng.integers(limits))
        if space.is_free(patch):
            return PLAIN, patch
    free = np.flatnonzero(space.mask())
    if not len(free):
        return None
    return PLAIN, space.places.patch(np.unravel_index(rng.choice(free), limits))


def _foreground_patch(
    rng: np.random.Generator, space: _FreeSpace, classes: dict[int, _ClassVoxels]
) -> tuple[str, Patch] | None:
    """Around a voxel of a class, None when no such place is free."""
    values = list(classes)
    for _ in range(_TRIES):
        value = values[rng.integers(len(values))]
        voxels = classes[value]
        pick = rng.choice(voxels.inside if rng.random() < 0.5 else voxels.border)
        patch = space.places.patch(_centred(space.places, voxels.coordinates(pick)))
        if space.is_free(patch):
            return class_group(value), patch
    free = space.mask()
    for index in rng.permutation(len(values)):
        voxels = classes[values[index]]
        starts = _centred(space.places, voxels.coordinates(voxels.inside))
        starts = starts[free[tuple(starts.T)]]
        if len(starts):
            return class_group(values[index]), space.places.patch(rng.choice(starts))
    return None


def _centred(places: Places, voxels: np.ndarray) -> np.ndarray:
    """Start corners (..., 3) of patches around voxels (..., 3), shifted inside the image."""
    half = np.array(places.size) // 2
    inside: np.ndarray = np.clip(voxels - half, 0, np.array(places.shape) - 1)
    return inside
