"""What makes two experiments the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from nnactive_server.core.errors import LoopError
from nnactive_server.core.patch import Index3
from nnactive_server.query import Request, get_strategy

TEST_FRACTION = 0.25


class ProfileLike(Protocol):
    """What a run needs to know of a profile; `segmentation.Profile` is the real one."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def warm_start(self) -> bool:
        """Whether a cycle goes on from the weights of the one before."""

    def to_json(self) -> dict[str, Any]:
        """All settings as plain values."""


@dataclass(frozen=True)
class Settings:
    """What makes two runs the same.

    Attributes:
        strategy: name, see `query.strategy_names`.
        cycles: number of trainings; between two of them `query_size` patches are annotated.
        query_size: patches of a query.
        patch: voxels (z, y, x); clipped to smaller images.
        seed: of everything random, training included.
        profile: how much work a training is.
        start_size: patches annotated before the first training; `query_size` unless given.
        patches_per_image: most patches of one image in a query; `query_size` unless given.
        strategy_parameters: replace the strategy's own.
        stride: step between candidates in voxels (z, y, x).
        overlap: largest share of a patch that annotated boxes and other patches may hold together.
        test_fraction: share of the cases that are set aside for testing.
        last_query: propose patches after the last training too; nobody answers them.
        views: proposals of each query, best first, of which slices are kept for the report.
        all_labels: every training sees all labels of the pool and nothing is asked: the reference for
            `strategy`, which then plays no part. Later cycles go on as the profile's warm start says.

    Raises:
        LoopError: no cycle, or a start without patches.
        QueryError: strategy, patch or query size are not valid.
    """

    strategy: str
    cycles: int
    query_size: int
    patch: Index3
    seed: int
    profile: ProfileLike
    start_size: int | None = None
    patches_per_image: int | None = None
    strategy_parameters: Mapping[str, Any] = field(default_factory=dict)
    stride: Index3 = (1, 1, 1)
    overlap: float = 0.0
    test_fraction: float = TEST_FRACTION
    last_query: bool = False
    views: int = 24
    all_labels: bool = False

    def __post_init__(self) -> None:
        get_strategy(self.strategy, **self.strategy_parameters)
        if self.cycles < 1:
            raise LoopError(f"cycles: {self.cycles}; at least one training is needed")
        if self.first_size < 1:
            raise LoopError(f"start_size: {self.first_size}; the first training needs at least one patch")
        self.request(0)

    @property
    def first_size(self) -> int:
        """Patches annotated before the first training."""
        return self.query_size if self.start_size is None else self.start_size

    def request(self, step: int) -> Request:
        """What the query after training `step` asks for."""
        queries = max(1, self.cycles - 1)
        return Request(
            self.query_size,
            self.patch,
            step,
            queries,
            self.seed,
            self.patches_per_image,
            self.stride,
            self.overlap,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, as written into run.json."""
        return {
            "strategy": self.strategy,
            "strategy_parameters": dict(self.strategy_parameters),
            "cycles": self.cycles,
            "query_size": self.query_size,
            "start_size": self.first_size,
            "patches_per_image": self.patches_per_image,
            "patch": list(self.patch),
            "seed": self.seed,
            "stride": list(self.stride),
            "overlap": self.overlap,
            "profile": self.profile.to_json(),
            "test_fraction": self.test_fraction,
            "last_query": self.last_query,
            "views": self.views,
            "all_labels": self.all_labels,
        }
