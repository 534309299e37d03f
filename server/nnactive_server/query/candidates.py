"""What one image offers to the pool: small, and fit for pickle and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.query.explanation import Explanation
from nnactive_server.query.spread import Spread


@dataclass(frozen=True, slots=True)
class Candidate:
    """A patch of one image that overlaps no other candidate of that image.

    Attributes:
        patch: box on the case's own grid.
        score: finite; higher is better.
        group: the group it was chosen for.
        why: what speaks for it.
        spare: beyond the group's share of this image; used only when groups fall short.
        vector: embedding of the patch, for strategies that compare patches; empty otherwise.
    """

    patch: Patch
    score: float
    group: str
    why: Explanation = field(default_factory=Explanation)
    spare: bool = False
    vector: tuple[float, ...] = ()

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
        spreads: how the means of all places of this image spread, by group; see `Spread`.
        anchors: embeddings of this image's annotated boxes.
    """

    case: str
    strategy: str
    step: int
    groups: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    spreads: Mapping[str, Spread] = field(default_factory=dict, hash=False)
    anchors: tuple[tuple[float, ...], ...] = ()

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
                    "why": c.why.to_json(),
                    "spare": c.spare,
                    "vector": list(c.vector),
                }
                for c in self.candidates
            ],
            "spreads": {group: spread.to_json() for group, spread in self.spreads.items()},
            "anchors": [list(vector) for vector in self.anchors],
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
                {str(group): Spread.from_json(entry) for group, entry in document["spreads"].items()},
                tuple(_vector(entry) for entry in document["anchors"]),
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
        Explanation.from_json(entry["why"]),
        bool(entry["spare"]),
        _vector(entry["vector"]),
    )


def _vector(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
