"""What one image offers to the pool: small, and fit for pickle and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch


@dataclass(frozen=True, slots=True)
class Candidate:
    """A patch of one image that overlaps no other candidate of that image.

    Attributes:
        patch: box on the case's own grid.
        score: finite; higher is better.
        group: the group it was chosen for.
        why: see `Query.why`.
        spare: beyond the group's share of this image; used only when groups fall short.
    """

    patch: Patch
    score: float
    group: str
    why: Mapping[str, float] = field(default_factory=dict, hash=False)
    spare: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise QueryError(f"patch at {self.patch.start}: score {self.score} is not finite")


@dataclass(frozen=True, slots=True)
class CaseCandidates:
    """One image's candidates.

    Attributes:
        case: id of the case.
        strategy: name of the strategy that chose them.
        step: index of the query step they were chosen for.
        groups: every group of the strategy, also those without a candidate here.
        candidates: in the order in which they were accepted.
    """

    case: str
    strategy: str
    step: int
    groups: tuple[str, ...]
    candidates: tuple[Candidate, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; floats survive the round trip exactly."""
        return {
            "case": self.case,
            "strategy": self.strategy,
            "step": self.step,
            "groups": list(self.groups),
            "candidates": [
                {
                    "start": list(c.patch.start),
                    "size": list(c.patch.size),
                    "score": c.score,
                    "group": c.group,
                    "why": dict(c.why),
                    "spare": c.spare,
                }
                for c in self.candidates
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CaseCandidates:
        """Read what `to_json` wrote.

        Raises:
            QueryError: a key is missing or has a wrong value.
        """
        try:
            return cls(
                str(document["case"]),
                str(document["strategy"]),
                int(document["step"]),
                tuple(str(group) for group in document["groups"]),
                tuple(_candidate(entry) for entry in document["candidates"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise QueryError(
                f"candidates document is not valid ({type(problem).__name__}: {problem}); "
                "make the case's candidates again"
            ) from problem


def _candidate(entry: Mapping[str, Any]) -> Candidate:
    return Candidate(
        Patch(entry["start"], entry["size"]),
        float(entry["score"]),
        str(entry["group"]),
        {str(name): float(value) for name, value in entry["why"].items()},
        bool(entry["spare"]),
    )
