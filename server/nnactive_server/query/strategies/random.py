"""Random patches: uniform, or with a given probability around foreground."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from nnactive_server.core.errors import QueryError
from nnactive_server.core.features import Embedding
from nnactive_server.core.patch import Index3, Patch, index3
from nnactive_server.core.places import Occupancy, Places
from nnactive_server.core.rng import generator, stable_hash
from nnactive_server.query.candidates import Candidate, CaseCandidates
from nnactive_server.query.explain import explain
from nnactive_server.query.pool import as_query
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
    embedding: Embedding | None = field(default=None, init=False)

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
        space = Occupancy(Places.fit(case.shape, request.patch_size), annotated, request.overlap)
        classes = _classes(case.labels) if self.needs_labels and case.labels is not None else {}
        found: list[Candidate] = []
        while len(found) < min(request.per_image, request.query_size):
            wanted = bool(classes) and rng.random() < self.foreground
            drawn = (_foreground_patch(rng, space, classes) if wanted else None) or (PLAIN, space.draw(rng))
            group, patch = drawn
            if patch is None:
                break
            space.take(patch)
            found.append(Candidate(patch, 0.0, group, explain(case, patch, annotated, None)))
        return CaseCandidates(case.case, self.name, request.step, (PLAIN,), tuple(found))

    def merge(self, cases: Iterable[CaseCandidates], request: Request) -> Proposal:
        """Stage 2: one patch of each image in turn, the images in a seeded order."""
        turns: list[tuple[int, int, str, Candidate]] = []
        for entry in cases:
            # An image's place is its own, whatever other images there are.
            place = stable_hash(request.seed, request.step, "cases", entry.case)
            turns += [(turn, place, entry.case, c) for turn, c in enumerate(entry.candidates)]
            if len(turns) > 4 * request.query_size:
                turns = heapq.nsmallest(request.query_size, turns, key=lambda entry: entry[:2])
        chosen = heapq.nsmallest(request.query_size, turns, key=lambda entry: entry[:2])
        queries = [as_query(case, candidate, rank) for rank, (_, _, case, candidate) in enumerate(chosen, 1)]
        lacks = len(queries) < request.query_size
        shortage = [Shortage(PLAIN, request.query_size, len(queries))] if lacks else []
        return Proposal(queries, request.query_size, shortage)


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


def _foreground_patch(
    rng: np.random.Generator, space: Occupancy, classes: dict[int, _ClassVoxels]
) -> tuple[str, Patch] | None:
    """Around a voxel of a class, None when no such place is free."""
    values = list(classes)
    for _ in range(_TRIES):
        value = values[rng.integers(len(values))]
        voxels = classes[value]
        pick = rng.choice(voxels.inside if rng.random() < 0.5 else voxels.border)
        patch = Patch(index3(space.centred(voxels.coordinates(pick)).tolist()), space.places.size)
        if space.is_free(patch):
            return class_group(value), patch
    free = space.free()
    for index in rng.permutation(len(values)):
        voxels = classes[values[index]]
        starts = space.centred(voxels.coordinates(voxels.inside))
        starts = starts[free[tuple(starts.T)]]
        if len(starts):
            return class_group(values[index]), space.places.patch(rng.choice(starts))
    return None
