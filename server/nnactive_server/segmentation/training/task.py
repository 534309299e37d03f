"""What a training is asked to do, as plain values that another process can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_server.segmentation.profiles import Profile


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """The training of one cycle's members.

    Attributes:
        workdir: folder with the frozen plan and the preprocessed cases.
        profile: how long and how.
        folder: receives `member_M.pt`, `training.json` and, while running, `checkpoint_M.pt`.
        cases: annotated cases, whose labels are stored.
        seed, cycle: key all random draws.
        warm_start: folder of the cycle before, to go on from its weights; None starts from scratch.
    """

    workdir: Path
    profile: Profile
    folder: Path
    cases: tuple[str, ...]
    seed: int
    cycle: int
    warm_start: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "workdir": str(self.workdir),
            "profile": self.profile.to_json(),
            "folder": str(self.folder),
            "cases": list(self.cases),
            "seed": self.seed,
            "cycle": self.cycle,
            "warm_start": None if self.warm_start is None else str(self.warm_start),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TrainingTask:
        """What `to_json` gave."""
        before = document["warm_start"]
        return cls(
            Path(document["workdir"]),
            Profile(**document["profile"]),
            Path(document["folder"]),
            tuple(document["cases"]),
            document["seed"],
            document["cycle"],
            None if before is None else Path(before),
        )
