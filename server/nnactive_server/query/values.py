"""What goes into a query and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Index3, Patch
from nnactive_server.query.scores import positive3

PLAIN = "plain"


def class_group(value: int) -> str:
    """Name of the group of a foreground class (label value 1..K)."""
    return f"class-{value}"


@dataclass(frozen=True, eq=False)
class CaseMaps:
    """What a strategy may look at in one image of the pool.

    Attributes:
        case: id of the case.
        shape: voxels of the image (z, y, x).
        maps: by measure: (z, y, x), or (K, z, y, x) for `class_signal`, not negative.
        labels: (z, y, x) whole numbers, 1..K foreground, anything else 0; the hidden truth in a
            simulation, the current prediction in real use.

    Raises:
        QueryError: no id, an impossible shape, or a map or label map of another shape or type.
    """

    case: str
    shape: Index3
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.case:
            raise QueryError("a case needs an id")
        object.__setattr__(self, "shape", positive3(self.shape, f"case {self.case}: image shape"))
        for name, values in self.maps.items():
            axes = values.shape[1:] if name == "class_signal" else values.shape
            if axes != self.shape:
                raise QueryError(f"case {self.case}: map {name} has shape {values.shape}, image {self.shape}")
        if self.labels is not None and not (
            self.labels.shape == self.shape and np.issubdtype(self.labels.dtype, np.integer)
        ):
            raise QueryError(
                f"case {self.case}: labels of shape {self.labels.shape} and type {self.labels.dtype}; "
                f"need whole numbers of shape {self.shape}"
            )

    @classmethod
    def from_maps(
        cls, case: str, maps: Mapping[str, np.ndarray], labels: np.ndarray | None = None
    ) -> CaseMaps:
        """With the image's shape read off the maps."""
        arrays = [*maps.values(), *([] if labels is None else [labels])]
        if not arrays:
            raise QueryError(f"case {case}: neither maps nor labels, so the image's shape is unknown")
        return cls(case, arrays[0].shape[-3:], maps, labels)


@dataclass(frozen=True, slots=True)
class Request:
    """How many patches are asked for, and of what kind.

    Attributes:
        query_size: patches of the whole query, q.
        patch_size: voxels (z, y, x); clipped to smaller images.
        step: index of this query, from 0.
        total_steps: number of planned queries (one less than trainings).
        seed: of everything random here.
        patches_per_image: most patches of one image; `query_size` unless given. With the `reference`
            schedule every group may place one, also when that makes more.
        stride: step between candidates in voxels, (z, y, x) or one number for all axes.

    Raises:
        QueryError: a value out of range, naming it.
    """

    query_size: int
    patch_size: Index3
    step: int = 0
    total_steps: int = 1
    seed: int = 0
    patches_per_image: int | None = None
    stride: Index3 | int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_size", positive3(self.patch_size, "patch size"))
        object.__setattr__(self, "stride", positive3(self.stride, "stride"))
        for name, lowest in (("query_size", 1), ("step", 0), ("total_steps", 1), ("patches_per_image", 1)):
            value = getattr(self, name)
            if value is not None and (int(value) != value or value < lowest):
                raise QueryError(f"{name} {value}: needs a whole number of at least {lowest}")
        for name in ("step", "seed"):  # keys of random numbers, where numpy's integers differ from plain ones
            object.__setattr__(self, name, int(getattr(self, name)))

    @property
    def per_image(self) -> int:
        """Most patches of one image."""
        return self.query_size if self.patches_per_image is None else self.patches_per_image


@dataclass(frozen=True, slots=True)
class Query:
    """One proposed patch.

    Attributes:
        case: id of the case.
        patch: box on the case's own grid.
        score: what it was ranked by; comparable inside a group only. 0 for random patches.
        group: `plain`, or `class-<label value>` when chosen for one class.
        rank: 1..q over the whole proposal.
        why: means over the box for people to read: `mean` of the map it was chosen by, without noise,
            and every voxel measure that was at hand, in nats.
    """

    case: str
    patch: Patch
    score: float
    group: str
    rank: int
    why: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def start(self) -> Index3:
        """First voxel (z, y, x)."""
        return self.patch.start

    @property
    def size(self) -> Index3:
        """Extent in voxels (z, y, x)."""
        return self.patch.size


@dataclass(frozen=True, slots=True)
class Shortage:
    """A group that could not place all its patches.

    Attributes:
        group: as in `Query.group`.
        asked: its share of the query.
        found: how many of its own it placed; the rest went to other groups as far as they had any.
    """

    group: str
    asked: int
    found: int

    def __str__(self) -> str:
        return f"{self.group}: only {self.found} of {self.asked} patches found a free place"


class Proposal(list[Query]):
    """The queries of one step, by rank.

    Attributes:
        query_size: how many were asked for.
        shortages: groups that fell short, empty when none did.
    """

    def __init__(self, queries: Iterable[Query], query_size: int, shortages: Sequence[Shortage] = ()) -> None:
        super().__init__(queries)
        self.query_size = query_size
        self.shortages = tuple(shortages)

    @property
    def missing(self) -> int:
        """Patches that no group could place."""
        return self.query_size - len(self)
