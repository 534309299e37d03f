"""What goes into a query and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.features import FeatureGrid
from nnactive_server.core.patch import Index3, Patch, index3
from nnactive_server.core.places import positive3
from nnactive_server.query.explanation import Explanation

PLAIN = "plain"
_CLASS = "class-"
BY_CLASS = ("class_signal", "mean_probability")
"""Measures with a first axis of classes."""


def streamed(measures: Iterable[str]) -> tuple[str, ...]:
    """What to compute instead, so that no array holds the signals of all classes at once."""
    wanted: dict[str, None] = {}
    for name in measures:
        parts = ("mean_probability", "predictive_entropy") if name == "class_signal" else (name,)
        wanted.update(dict.fromkeys(parts))
    return tuple(wanted)


def class_group(value: int) -> str:
    """Name of the group of a foreground class (label value 1..K)."""
    return f"{_CLASS}{value}"


def group_class(group: str) -> int:
    """The label value of a class's group; 0 for the plain one."""
    return int(group.removeprefix(_CLASS)) if group.startswith(_CLASS) else 0


@dataclass(frozen=True, eq=False)
class CaseMaps:
    """What a strategy may look at in one image of the pool.

    Attributes:
        case: id of the case.
        shape: voxels of the image (z, y, x).
        maps: by measure: (z, y, x), or (K, z, y, x) for `class_signal`, not negative.
        labels: (z, y, x) whole numbers, 1..K foreground, anything else 0; the hidden truth in a
            simulation, the current prediction in real use.
        spacing: mm (z, y, x), for distances in explanations.
        features: embeddings, for the strategies that need them.

    Raises:
        QueryError: no id, an impossible shape, or a map, label map or features of another shape or type.
    """

    case: str
    shape: Index3
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    features: FeatureGrid | None = None

    def __post_init__(self) -> None:
        if not self.case:
            raise QueryError("a case needs an id")
        object.__setattr__(self, "shape", positive3(self.shape, f"case {self.case}: image shape"))
        for name, values in self.maps.items():
            axes = values.shape[1:] if name in BY_CLASS else values.shape
            if axes != self.shape:
                raise QueryError(f"case {self.case}: map {name} has shape {values.shape}, image {self.shape}")
        if self.labels is not None and not (
            self.labels.shape == self.shape and np.issubdtype(self.labels.dtype, np.integer)
        ):
            raise QueryError(
                f"case {self.case}: labels of shape {self.labels.shape} and type {self.labels.dtype}; "
                f"need whole numbers of shape {self.shape}"
            )

        if self.features is not None and self.features.shape != self.shape:
            raise QueryError(
                f"case {self.case}: features are of an image of {self.features.shape}, not {self.shape}"
            )

    @property
    def classes(self) -> int:
        """Number K of foreground classes; 0 when no map tells."""
        if "class_signal" in self.maps:
            return len(self.maps["class_signal"])
        return len(self.maps["mean_probability"]) - 1 if "mean_probability" in self.maps else 0

    def class_signal(self, value: int) -> np.ndarray:
        """Map `pbar_c * PE` (z, y, x) of a foreground class 1..K.

        Made when asked for unless the map `class_signal` is there, so that only one needs to be in memory.
        """
        if "class_signal" in self.maps:
            signal: np.ndarray = self.maps["class_signal"][value - 1]
        else:
            signal = self.maps["mean_probability"][value] * self.maps["predictive_entropy"]
        return signal

    def lacks(self, measures: Iterable[str]) -> list[str]:
        """Those of these measures that are neither there nor made from others."""
        there = set(self.maps)
        if there >= set(streamed(("class_signal",))):
            there.add("class_signal")
        return [name for name in measures if name not in there]

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
        overlap: largest share of a patch's voxels that annotated boxes and patches accepted before it in its
            image may hold, all together; 0 for none.

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
    overlap: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_size", positive3(self.patch_size, "patch size"))
        object.__setattr__(self, "stride", positive3(self.stride, "stride"))
        lowest = {"query_size": 1, "step": 0, "total_steps": 1, "patches_per_image": 1, "seed": None}
        for name, least in lowest.items():
            value = getattr(self, name)
            if name != "patches_per_image" or value is not None:
                # Plain integers: as keys of random numbers numpy's differ from them.
                object.__setattr__(self, name, _whole(value, name, least))
        if not (isinstance(self.overlap, int | float | np.floating) and 0 <= self.overlap < 1):
            raise QueryError(f"overlap {self.overlap!r}: needs a share of at least 0 and below 1")

    @property
    def cell(self) -> Index3:
        """Cells of feature grids, voxels (z, y, x): a quarter of a patch on each axis."""
        return index3([-(-n // 4) for n in self.patch_size])

    @property
    def per_image(self) -> int:
        """Most patches of one image."""
        return self.query_size if self.patches_per_image is None else self.patches_per_image


def _whole(value: Any, name: str, least: int | None) -> int:
    """A plain integer of at least `least`."""
    at_least = "" if least is None else f" of at least {least}"
    try:
        number = int(value)
        fits = number == value and (least is None or number >= least)
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise QueryError(f"{name} {value!r}: needs a whole number{at_least}")
    return number


@dataclass(frozen=True, slots=True)
class Query:
    """One proposed patch.

    Attributes:
        case: id of the case.
        patch: box on the case's own grid.
        score: what it was ranked by; comparable inside a group only. 0 for random patches.
        group: `plain`, or `class-<label value>` when chosen for one class.
        rank: 1..q over the whole proposal.
        why: what speaks for it.
    """

    case: str
    patch: Patch
    score: float
    group: str
    rank: int
    why: Explanation = field(default_factory=Explanation)

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
