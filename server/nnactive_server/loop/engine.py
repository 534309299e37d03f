"""What the loop asks of a segmentation engine; `segmentation.Engine` is the real one.

Stated here, so that this room can be used and tested without importing torch.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from nnactive_server.core.features import Embedding, FeatureGrid
from nnactive_server.core.patch import Index3
from nnactive_server.core.slabs import Slab


class TrainingSummary(Protocol):
    """What a training says about itself."""

    @property
    def iterations(self) -> tuple[int, ...]:
        """Steps of each member."""

    @property
    def losses(self) -> tuple[float, ...]:
        """Last loss of each member; NaN for members that were there already."""


class SegmentationEngine(Protocol):
    """Trains and predicts the cases of one project."""

    def prepare(self, cases: Sequence[str]) -> None:
        """Plan once, and preprocess the images that are not ready yet."""

    def update_labels(self, cases: Sequence[str]) -> None:
        """Read the label files of these cases again."""

    def train(
        self, out: Path, *, cases: Sequence[str], seed: int, cycle: int, warm_start: Path | None = None
    ) -> TrainingSummary:
        """Train the members on the annotated `cases` into `out`; goes on where a killed call left off."""

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
        """Do the first part of `train` and leave the members as they are then in `early`."""

    def expect(
        self, members: Path, cases: Sequence[str], *, test: bool = False, member: int | None = None
    ) -> None:
        """Take note of which cases `slabs` will be asked for, in order: some may be computed together."""

    def predict(self, members: Path, case: str, *, test: bool = False) -> Iterator[np.ndarray]:
        """Softmax (C, z, y, x) float32 of each member on the case's own grid, one after the other."""

    def slabs(
        self,
        members: Path,
        case: str,
        *,
        test: bool = False,
        member: int | None = None,
        sparing: bool = False,
    ) -> Generator[Slab, None, None]:
        """What `predict` gives, in slabs so thin that their arrays fit in memory; one slab if all do.

        With `member` only this trained one, with the settings for evaluation; when `sparing`, with less
        memory and more time.
        """

    def held_out(self, members: Path) -> tuple[tuple[str, ...], ...]:
        """For each member the annotated cases it was not trained on."""

    def independent(self, members: Path) -> bool:
        """Whether each member began from random weights: only then were its held-out cases never seen."""

    def embed(
        self, members: Path, case: str, kind: Embedding, cell: Index3, *, sparing: bool = False
    ) -> FeatureGrid:
        """Features of all members of an image, stacked along the first axis, in cells of its own grid."""
