"""The start budget: the patches annotated before the first model exists.

Every class, background too, gets at least two patches in different images where possible, about a
third of the patches surely hold targets, roughly as many of each class, and the rest lie anywhere
(thesis D.5). In a simulation the hidden truth says where targets are; in real use the clinician
picks them by eye.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.patch import Patch, index3
from nnactive_server.core.places import Occupancy, Places
from nnactive_server.core.rng import generator
from nnactive_server.dataset.loops import LoopPatch

UNIFORM = "uniform"  # group of the patches that lie anywhere
TARGET_SHARE = 1 / 3  # of the patches, surely with targets
EACH_CLASS = 2  # patches at least
_SAMPLE = 256  # candidate centres kept for each class of a case

LabelReader = Callable[[str], np.ndarray]


def start_budget(
    shapes: Mapping[str, Sequence[int]],
    label_reader: LabelReader,
    labels: LabelSet,
    patch_size: Sequence[int],
    query_size: int,
    seed: int,
) -> list[LoopPatch]:
    """Choose the first patches of a simulated run.

    The choice depends on the arguments alone, not on the order of the cases. Label maps are read one
    at a time, once each, and only until every class has its patches. When the images have no room
    for all patches, as many as fit are returned.

    Args:
        shapes: (z, y, x) of each case of the pool.
        label_reader: gives the complete label map (z, y, x) of a case.
        labels: the classes.
        patch_size: (z, y, x) voxels; an image smaller than that gets `min(patch, image)`.
        query_size: number of patches.
        seed: of the run.

    Returns:
        Patches without overlap; `group` is the class a patch was chosen for, or `uniform`; `rank` from 1.

    Raises:
        DatasetError: no case or no patch asked for, or a label map of another shape than its image.
    """
    if not shapes or query_size < 1:
        raise DatasetError(
            f"start budget: {len(shapes)} cases and {query_size} patches leave nothing to choose"
        )
    rooms, order = _rooms(shapes, patch_size, seed)
    truth = _Truth(label_reader, rooms, labels, seed)
    chosen: list[LoopPatch] = []
    for value in _wanted(labels, query_size, seed):
        found = _place_class(truth, rooms, order, value, chosen, labels)
        chosen += [found] if found else []
    chosen += islice(_place_uniform(rooms, order, seed), query_size - len(chosen))
    return _ranked(chosen)


def uniform_patches(
    shapes: Mapping[str, Sequence[int]],
    patch_size: Sequence[int],
    count: int,
    seed: int,
    taken: Mapping[str, Sequence[Patch]] | None = None,
) -> list[LoopPatch]:
    """Choose first patches that lie anywhere, as `start_budget` does, where no truth is known.

    Args:
        shapes: (z, y, x) of each case of the pool.
        patch_size: (z, y, x) voxels; an image smaller than that gets `min(patch, image)`.
        count: number of patches; fewer come back when the images have no room for them.
        seed: of the run.
        taken: boxes of cases that no patch may touch, and that count as patches of their case.

    Returns:
        Patches without overlap, most from the cases with the fewest; `group` is `uniform`, `rank` from 1.

    Raises:
        DatasetError: no case, no patch asked for, or a taken box outside its image.
    """
    if not shapes or count < 1:
        raise DatasetError(f"start patches: {len(shapes)} cases and {count} patches leave nothing to choose")
    rooms, order = _rooms(shapes, patch_size, seed)
    for case, boxes in (taken or {}).items():
        for box in boxes:
            if case not in rooms or not box.inside(shapes[case]):
                raise DatasetError(f"start patches: the taken box at {box.start} lies in no image '{case}'")
            rooms[case].space.take(box)
    return _ranked(list(islice(_place_uniform(rooms, order, seed), count)))


def _rooms(
    shapes: Mapping[str, Sequence[int]], patch_size: Sequence[int], seed: int
) -> tuple[dict[str, _Room], list[str]]:
    """The images by case, and the cases in random order."""
    rooms = {case: _Room(shape, patch_size) for case, shape in sorted(shapes.items())}
    return rooms, [sorted(rooms)[i] for i in generator(seed, "start", "cases").permutation(len(rooms))]


def _ranked(chosen: Sequence[LoopPatch]) -> list[LoopPatch]:
    return [
        LoopPatch(entry.case, entry.patch, group=entry.group, rank=rank)
        for rank, entry in enumerate(chosen, 1)
    ]


class _Room:
    """One image and the patches it has got."""

    def __init__(self, shape: Sequence[int], patch_size: Sequence[int]) -> None:
        self.space = Occupancy(Places.fit(shape, patch_size))

    @property
    def taken(self) -> int:
        """How many patches it has got."""
        return len(self.space.boxes)

    def take_around(self, voxels: np.ndarray, rng: np.random.Generator) -> Patch | None:
        """Occupy a patch that holds one of these voxels (n, 3), centred on it where that is free."""
        size = self.space.places.size
        for start in self.space.centred(voxels):
            patch = Patch(index3(start.tolist()), size)
            if self.space.is_free(patch):
                return self._take(patch)
        free = self.space.free()
        for voxel in voxels:
            lower = np.maximum(0, voxel - size + 1)
            window = tuple(slice(a, b) for a, b in zip(lower, voxel + 1, strict=True))
            starts = np.argwhere(free[window])
            if len(starts):
                return self._take(self.space.places.patch(lower + rng.choice(starts)))
        return None

    def take_any(self, rng: np.random.Generator) -> Patch | None:
        """Occupy a patch drawn evenly among the free places; None when the image is full."""
        patch = self.space.draw(rng)
        return None if patch is None else self._take(patch)

    def _take(self, patch: Patch) -> Patch:
        self.space.take(patch)
        return patch


class _Truth:
    """Where each class lies in each case: a random sample of its voxels, drawn when first asked for."""

    def __init__(self, reader: LabelReader, rooms: Mapping[str, _Room], labels: LabelSet, seed: int) -> None:
        self._reader, self._rooms, self._labels, self._seed = reader, rooms, labels, seed
        self._known: dict[str, dict[int, np.ndarray]] = {}

    def voxels(self, case: str, value: int) -> tuple[np.ndarray, np.random.Generator]:
        """Up to 256 voxels (n, 3) of a class in random order, none when the case lacks it; a generator."""
        if case not in self._known:
            self._known[case] = self._sample(case)
        rng = generator(self._seed, "start", case, value, "shift")
        return self._known[case].get(value, np.empty((0, 3), dtype=int)), rng

    def _sample(self, case: str) -> dict[int, np.ndarray]:
        label = self._reader(case)
        shape = self._rooms[case].space.places.image_shape
        if label.shape != shape:
            raise DatasetError(f"{case}: label map of shape {label.shape}, image of shape {shape}")
        found = {0: _background(generator(self._seed, "start", case, 0), label)}
        from scipy import ndimage  # 0.4 s that readers of images need not wait

        boxes = ndimage.find_objects(label, max_label=len(self._labels.classes))
        for value, box in enumerate(boxes, start=1):
            if box is not None:
                inside = np.argwhere(label[box] == value) + [axis.start for axis in box]
                rng = generator(self._seed, "start", case, value)
                found[value] = rng.permutation(inside)[:_SAMPLE]
        return found


def _background(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    """Background voxels (n, 3): random ones first, because they are many and listing them all is slow."""
    drawn = rng.integers(label.shape, size=(_SAMPLE, 3))
    hits: np.ndarray = drawn[label[tuple(drawn.T)] == 0]
    if len(hits):
        return hits
    return rng.permutation(np.argwhere(label == 0))[:_SAMPLE]


def _wanted(labels: LabelSet, query_size: int, seed: int) -> list[int]:
    """The class of each class-bound patch: each class twice, then foreground up to a third."""
    foreground = list(labels.foreground)
    at_least = [*foreground, 0] * EACH_CLASS  # background last: it finds a place anywhere
    more = max(0, round(query_size * TARGET_SHARE) - EACH_CLASS * len(foreground))
    rng = generator(seed, "start", "classes")
    rounds = [list(rng.permutation(foreground)) for _ in range(-(-more // len(foreground)))]
    return [int(value) for value in (at_least + [v for r in rounds for v in r][:more])[:query_size]]


def _place_class(
    truth: _Truth,
    rooms: Mapping[str, _Room],
    order: Sequence[str],
    value: int,
    chosen: Sequence[LoopPatch],
    labels: LabelSet,
) -> LoopPatch | None:
    """A patch around a voxel of a class, in an image with few patches, for this class and at all."""
    group = labels.name(value)
    used = [entry.case for entry in chosen if entry.group == group]
    for case in sorted(order, key=lambda case: (used.count(case), rooms[case].taken)):
        patch = rooms[case].take_around(*truth.voxels(case, value))
        if patch:
            return LoopPatch(case, patch, group=group)
    return None


def _place_uniform(rooms: Mapping[str, _Room], order: Sequence[str], seed: int) -> Iterator[LoopPatch]:
    """Random patches, each in the image with the fewest, until all images are full."""
    draws = {case: generator(seed, "start", case, UNIFORM) for case in order}
    open_cases = list(order)
    while open_cases:
        case = min(open_cases, key=lambda case: rooms[case].taken)
        patch = rooms[case].take_any(draws[case])
        if patch is None:
            open_cases.remove(case)
        else:
            yield LoopPatch(case, patch, group=UNIFORM)
