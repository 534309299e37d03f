"""What speaks for a proposed patch, as values for the person who annotates it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Explanation:
    """What speaks for a patch.

    Attributes:
        mean: of the map it was chosen by over the box (or what the strategy's aggregation makes of the box),
            without noise; None for random patches.
        measures: mean of each voxel measure at hand over the box, in nats.
        class_shares: share of the box's voxels that the model gives to each class that occurs (0 is
            background); empty when there is no prediction.
        nearest_mm: gap to the nearest annotated box of the same image, in mm; None when there is none.
        percentile: percentage of all places of the pool whose mean is lower, 0 to 100; None before the pool
            is known, and for random patches.
    """

    mean: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict, hash=False)
    class_shares: Mapping[int, float] = field(default_factory=dict, hash=False)
    nearest_mm: float | None = None
    percentile: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "mean": self.mean,
            "measures": dict(self.measures),
            "class_shares": {str(value): share for value, share in self.class_shares.items()},
            "nearest_mm": self.nearest_mm,
            "percentile": self.percentile,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Explanation:
        """Read what `to_json` wrote; raises KeyError, TypeError or ValueError when it is something else."""
        return cls(
            _number(document["mean"]),
            {str(name): float(value) for name, value in document["measures"].items()},
            {int(value): float(share) for value, share in document["class_shares"].items()},
            _number(document["nearest_mm"]),
            _number(document["percentile"]),
        )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
