"""Training of an ensemble on partial labels: resumable, cancellable, the same after a restart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.files import link_or_copy, read_json, write_json
from nnactive_server.core.memory import named, with_less
from nnactive_server.core.monitor import Monitor
from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.plan import Plan
from nnactive_server.segmentation.preprocessing import CaseStore
from nnactive_server.segmentation.profiles import Ensemble, Profile
from nnactive_server.segmentation.training.crew import Told, train_apart
from nnactive_server.segmentation.training.member_run import MemberKey, MemberRun
from nnactive_server.segmentation.training.members import TRAINING, MemberSplit, member_splits
from nnactive_server.segmentation.training.sampling import CropSampler
from nnactive_server.segmentation.training.task import TrainingTask
from nnactive_server.segmentation.training.weights import checkpoint_path, member_path, steps_path

if TYPE_CHECKING:
    from nnactive_server.segmentation.training.recipe import Recipe

T = TypeVar("T")

EARLY_SHARE = 0.2
"""Share of the schedule after which the members are good enough for a first look at what comes next."""

ADVICE = (
    "choose a profile with smaller crops (crop_voxels), a smaller batch_size or fewer features in a new "
    "project, or stop other work on this machine; what was trained is kept"
)
WORTH_STEPS = 500
"""Steps a member has left from which on a process of its own pays: it takes seconds to begin."""

SPARING = "with the training images in main memory instead of on the device"


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a training did.

    Attributes:
        splits: training and held-out cases per member.
        iterations: steps per member; fewer than planned where the profile's patience ended.
        losses: mean loss of the last tenth of each member's steps; NaN for members that were finished before.
    """

    splits: tuple[MemberSplit, ...]
    iterations: tuple[int, ...]
    losses: tuple[float, ...]


class EnsembleTraining:
    """The training of a cycle's members, into a folder; what is there already is kept.

    Args:
        task: what is to be trained.
        hardware: where.
        monitor: progress (stage "train", in steps of all members) and cancel.
        told: hears of single members instead of the monitor.

    Raises:
        SegmentationError: nothing annotated, or another training's folder.
    """

    def __init__(
        self,
        task: TrainingTask,
        hardware: Hardware,
        monitor: Monitor | None = None,
        told: Told | None = None,
    ) -> None:
        self._plan = Plan.load(task.workdir)
        store = CaseStore(task.workdir / "cases", self._plan)
        cases = {case: store.training_case(case) for case in task.cases}
        self._cases = {name: case for name, case in cases.items() if case.annotated_voxels}
        self._task, self._profile, self._folder = task, task.profile, task.folder
        self._hardware, self._monitor, self._told = hardware, monitor or Monitor(), told or self._report
        classes = {name: case.classes for name, case in self._cases.items()}
        self._splits = member_splits(classes, self._profile.members, task.seed)
        self._steps = _steps(self._profile, scratch=task.warm_start is None)
        self._settings = _settings(self._splits, task)
        _claim(self._folder / TRAINING, self._settings)
        self._done = [self._done_before(member) for member in range(self._profile.members)]

    def finish(self) -> TrainingReport:
        """Train the members; goes on where a killed call, or `begin`, left off.

        One after the other, or several at the same time where they do not need each other and the hardware
        has room for them; see `Hardware.apart`.

        Raises:
            SegmentationError: a loss that is not finite.
            OutOfMemory: says what to do.
            Cancelled: after a checkpoint was written.
        """
        losses = self._members(range(self._profile.members), None)
        steps = tuple(self._steps_of(member) for member in range(self._profile.members))
        return TrainingReport(self._splits, steps, losses)

    def begin(self, early: Path) -> None:
        """Train the first part, `EARLY_SHARE` of the schedule, and leave the members as they are then.

        Folds are each trained up to that share of their steps. Of a chain the first members are trained to
        their end: this share of them, but two if there are more. The training ends with the same weights
        with and without this.

        Args:
            early: receives `member_M.pt` and, when they are all there, `training.json`.

        Raises:
            SegmentationError, OutOfMemory, Cancelled: see `finish`.
        """
        count = self._early_members()
        self._members(range(count), early)
        write_json(early / TRAINING, self._settings | {"splits": self._settings["splits"][:count]})

    def member(self, member: int, early: Path | None = None) -> float:
        """Train one member, or only its first part; see `finish` and `begin`.

        Returns:
            Mean loss of the last tenth of its steps; NaN for one that was there, and for a first part.
        """
        if early is None:
            return self._finished(member)
        if not member_path(early, member).exists():
            self._begin(member, early)
        return math.nan

    def _members(self, members: Sequence[int], early: Path | None) -> tuple[float, ...]:
        lacking = [m for m in members if not member_path(early or self._folder, m).exists()]
        places = () if self._is_chain else self._hardware.apart(len(lacking))
        wanted = self._early_steps if early else self._steps.__getitem__
        left = sum(max(0, wanted(member) - self._done[member]) for member in lacking)
        losses = {}
        if places and left >= WORTH_STEPS * len(lacking):
            losses = train_apart(self._task, places, lacking, early, self._monitor, self._told)
        return tuple(losses[m] if m in losses else self.member(m, early) for m in members)

    def _early_members(self) -> int:
        members = self._profile.members
        if not self._is_chain:
            return members
        return min(max(2, math.ceil(EARLY_SHARE * members)), members - 1)

    def _early_steps(self, member: int) -> int:
        return math.ceil(EARLY_SHARE * self._steps[member])

    def _steps_of(self, member: int) -> int:
        """Steps of a finished member: those planned, or fewer."""
        path = steps_path(self._folder, member)
        return int(read_json(path, SegmentationError)["steps"]) if path.exists() else self._steps[member]

    @cached_property
    def _recipe(self) -> Recipe:
        # Brings in nnU-Net's trainer, which takes seconds.
        from nnactive_server.segmentation.training.recipe import Recipe

        return Recipe(self._plan, self._profile.augmentation)

    @property
    def _is_chain(self) -> bool:
        """Whether a member needs the one before it."""
        return self._profile.ensemble is Ensemble.CHAIN and self._profile.members > 1

    def _done_before(self, member: int) -> int:
        """Steps of a member that need not be done again, as far as known before its checkpoint is read."""
        if member_path(self._folder, member).exists():
            return self._steps[member]
        begun = not self._is_chain and checkpoint_path(self._folder, member).exists()
        return self._early_steps(member) if begun else 0

    def _begin(self, member: int, early: Path) -> None:
        finished = member_path(self._folder, member)
        if self._is_chain and not finished.exists():
            self._finished(member)
        if finished.exists():
            link_or_copy(finished, member_path(early, member))
            return
        until = self._early_steps(member)

        def work(run: MemberRun) -> None:
            run.begin(self._parent(member), until, self._monitor, partial(self._told, member))
            run.write(member_path(early, member))

        self._with_memory(member, work)

    def _finished(self, member: int) -> float:
        """Last loss of a member, which is trained if it is not there; NaN if it is."""
        if member_path(self._folder, member).exists():
            checkpoint_path(self._folder, member).unlink(missing_ok=True)
            return math.nan
        told = partial(self._told, member)
        loss = self._with_memory(member, lambda run: run.train(self._parent(member), self._monitor, told))
        self._done[member] = self._steps[member]
        return loss

    def _with_memory(self, member: int, work: Callable[[MemberRun], T]) -> T:
        """Do something with a member's run; once more with less memory where that is possible."""

        def attempt(spare: bool = False) -> T:
            with named(f"training {self._name(member)}", ADVICE):
                return work(self._run(member, spare))

        if self._hardware.resident:
            return with_less(attempt, partial(attempt, spare=True), SPARING)
        return attempt()

    def _run(self, member: int, spare: bool) -> MemberRun:
        sampler = CropSampler(
            [self._cases[name] for name in self._splits[member].train],
            self._recipe.crop,
            self._recipe.geometry[2],
            self._recipe.plan.labels.ignore,
            self._profile.foreground_share,
            self._profile.case_sampling == "annotated",
        )
        key = MemberKey(self._task.seed, self._task.cycle, member)
        steps = self._steps[member]
        return MemberRun(
            self._recipe, sampler, self._profile, self._hardware, self._folder, key, steps, spare
        )

    def _parent(self, member: int) -> Path | None:
        """The weights a member goes on from; None for random ones."""
        if self._is_chain and member > 0:
            return member_path(self._folder, member - 1)
        before = self._task.warm_start
        if before is None:
            return None
        chain = self._profile.ensemble is Ensemble.CHAIN
        return member_path(before, self._profile.members - 1 if chain else member)

    def _report(self, member: int, step: int, loss: float) -> None:
        self._done[member] = step
        total = sum(self._steps)
        self._monitor.report("train", sum(self._done), total, f"{self._name(member)}, loss {loss:.3f}")

    def _name(self, member: int) -> str:
        return f"member {member + 1} of {self._profile.members}"


def _steps(profile: Profile, *, scratch: bool) -> tuple[int, ...]:
    """Steps per member; the first of a chain that starts from random weights gets more."""
    first = profile.iterations
    if scratch and profile.ensemble is Ensemble.CHAIN and profile.first_iterations:
        first = profile.first_iterations
    return (first, *[profile.iterations] * (profile.members - 1))


def _settings(splits: Sequence[MemberSplit], task: TrainingTask) -> dict[str, Any]:
    """What tells a training from another one, as plain values."""
    return {
        "seed": task.seed,
        "cycle": task.cycle,
        "profile": task.profile.to_json(),
        "warm_start": task.warm_start is not None,
        "splits": [{key: list(value) for key, value in asdict(split).items()} for split in splits],
    }


def _claim(path: Path, settings: dict[str, Any]) -> None:
    """Say whose training a folder holds, or check that it is ours."""
    if not path.exists():
        write_json(path, settings)
        return
    found = read_json(path, SegmentationError)
    # Settings that an older version did not know have their defaults.
    found["profile"] = Profile("").to_json() | found.get("profile", {})
    if found != settings:
        differ = sorted(key for key in settings if found.get(key) != settings[key])
        raise SegmentationError(
            f"{path}: this folder holds another training ({', '.join(differ)} differ); "
            "give an empty folder or remove it"
        )
