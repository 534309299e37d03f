"""The experiments of a study: what each is, and where it lies.

DIR/runs/<dataset>/<regime>/<profile>/<strategy>/seed-<n>/   a run of `simulate`
DIR/full/<dataset>/<profile>/seed-<n>/                       the same trained on all labels
DIR/units/<the same>/                                        unit.json, state.json, progress.json, log.txt
DIR/starts/<dataset>/<regime>/<profile>/seed-<n>/            first cycle of all strategies, while one needs it
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json
from nnactive_server.core.patch import Index3, index3
from nnactive_server.dataset.raw import IMAGES, LABELS
from nnactive_server.loop import WORK, CycleFolder
from nnactive_server.segmentation import Profile, get_profile
from nnactive_server.study.settings import Settings
from nnactive_server.study.summary import SUMMARY

RUNS, FULL, UNITS, STARTS = "runs", "full", "units", "starts"
DONE, FAILED, WAITING = "done", "failed", "waiting"
_BULKY = ("maps", "members", "features", "asked", "candidates")


@dataclass(frozen=True, slots=True)
class Choice:
    """A strategy or a profile, perhaps with changed values.

    Attributes:
        label: names its folder and its line in the results.
        name: of the strategy or profile.
        changes: parameters or settings that differ from its own.
    """

    label: str
    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    def profile(self) -> Profile:
        """The training profile of this choice.

        Raises:
            SegmentationError: there is none.
        """
        return get_profile(self.name, **self.changes)


@dataclass(frozen=True, slots=True)
class Unit:
    """One experiment of a study.

    Attributes:
        dataset: name of the data set.
        regime: name of the budget.
        profile: how members are trained.
        strategy: how patches are chosen.
        seed: of everything random.
        patch: voxels (z, y, x).
        query_size: patches of a query.
        start_size: patches before the first training.
        cycles: trainings.
        patches_per_image: most patches of one image in a query; None for no bound.
        stride: voxels (z, y, x) between candidates.
        overlap: largest share of a patch that others may hold.
        test_fraction: share of the cases set aside for testing.
        views: proposals of each query of which slices are kept.
        all_labels: the reference trained on all labels.
    """

    dataset: str
    regime: str
    profile: Choice
    strategy: Choice
    seed: int
    patch: Index3
    query_size: int
    start_size: int
    cycles: int
    patches_per_image: int | None
    stride: Index3
    overlap: float
    test_fraction: float
    views: int
    all_labels: bool = False

    @property
    def name(self) -> str:
        """The folder of its results, below the study's."""
        if self.all_labels:
            return f"{FULL}/{self.dataset}/{self.profile.label}/seed-{self.seed}"
        choice = f"{self.regime}/{self.profile.label}/{self.strategy.label}"
        return f"{RUNS}/{self.dataset}/{choice}/seed-{self.seed}"

    @property
    def start(self) -> str | None:
        """Below the study: where strategies share their first cycle; None for the reference."""
        if self.all_labels:
            return None
        return f"{STARTS}/{self.dataset}/{self.regime}/{self.profile.label}/seed-{self.seed}"

    def settings(self) -> Settings:
        """As `simulate` takes them.

        Raises:
            NNActiveError: a value that is not valid.
        """
        return Settings(
            self.strategy.name,
            self.cycles,
            self.query_size,
            self.patch,
            self.seed,
            self.profile.profile(),
            start_size=self.start_size,
            patches_per_image=self.patches_per_image,
            strategy_parameters=self.strategy.changes,
            stride=self.stride,
            overlap=self.overlap,
            test_fraction=self.test_fraction,
            views=self.views,
            all_labels=self.all_labels,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Unit:
        """What `to_json` wrote."""
        values = dict(document)
        values["profile"], values["strategy"] = Choice(**values["profile"]), Choice(**values["strategy"])
        values["patch"], values["stride"] = index3(values["patch"]), index3(values["stride"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class UnitFolder:
    """The files of an experiment.

    Attributes:
        study: folder of the study.
        name: of the unit.
    """

    study: Path
    name: str

    @property
    def run(self) -> Path:
        """Results."""
        return self.study / self.name

    @property
    def notes(self) -> Path:
        """What the study notes about it, apart from the results."""
        return self.study / UNITS / self.name

    @property
    def unit(self) -> Path:
        """The settings; a later call must bring the same ones."""
        return self.notes / "unit.json"

    @property
    def state(self) -> Path:
        """How it ended: `state`, `error`, `seconds` of computing, `final_dice`, `bytes` left on disk."""
        return self.notes / "state.json"

    @property
    def progress(self) -> Path:
        """Where it stands while it runs: `stage`, `done`, `total`."""
        return self.notes / "progress.json"

    @property
    def log(self) -> Path:
        """What its process printed."""
        return self.notes / "log.txt"

    def read_state(self) -> dict[str, Any]:
        """Content of `state`; that of a unit that waits when there is none."""
        waiting = {"state": WAITING, "error": "", "seconds": 0.0, "final_dice": None, "bytes": 0}
        return waiting | (read_json(self.state, LoopError) if self.state.exists() else {})

    def cycles_done(self) -> int:
        """Trainings that are judged."""
        return len(self.summary().get("cycles", ()))

    def summary(self) -> dict[str, Any]:
        """Content of summary.json; empty when there is none."""
        path = self.run / SUMMARY
        found: dict[str, Any] = read_json(path, LoopError) if path.exists() else {}
        return found

    def drop_older_members(self, cycle: CycleFolder) -> None:
        """Remove the members of the cycle before a complete one: only its own are gone on from."""
        if cycle.number:
            shutil.rmtree(CycleFolder(cycle.root, cycle.number - 1).members, ignore_errors=True)

    def drop_bulk(self) -> None:
        """Leave of a complete run what its results are made of: no members, maps, images or labels."""
        for name in (WORK, IMAGES, LABELS):
            shutil.rmtree(self.run / name, ignore_errors=True)
        for cycle in self.run.glob("cycle_*"):
            for name in _BULKY:
                shutil.rmtree(cycle / name, ignore_errors=True)

    def bytes_on_disk(self) -> int:
        """Of the results."""
        return sum(path.lstat().st_size for path in self.run.rglob("*") if path.is_file())
