"""Training of an ensemble on partial labels: resumable, cancellable, the same after a restart.

Every random draw is keyed by (seed, cycle, member, iteration), and a checkpoint holds weights, their running
mean and the optimiser. A training that was killed and started again therefore ends with the same weights as
one that was not.
"""

from __future__ import annotations

import logging
import math
import pickle
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.files import atomic_path, read_json, write_json
from nnactive_server.core.monitor import Monitor
from nnactive_server.segmentation.batches import make_batches, seeded
from nnactive_server.segmentation.convolution import make_faster
from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.members import TRAINING, MemberSplit, member_splits
from nnactive_server.segmentation.memory import named, with_less
from nnactive_server.segmentation.optimisation import RunningMean, learning_rate, make_optimiser
from nnactive_server.segmentation.preprocessing import TrainingCase
from nnactive_server.segmentation.profiles import Ensemble, Profile
from nnactive_server.segmentation.sampling import CropSampler

if TYPE_CHECKING:
    from nnactive_server.segmentation.recipe import Recipe

log = logging.getLogger(__name__)

GRADIENT_NORM = 12.0
"""Gradients are clipped to this norm, as nnU-Net does."""

ADVICE = (
    "choose a profile with smaller crops (crop_voxels), a smaller batch_size or fewer features in a new "
    "project, or stop other work on this machine; what was trained is kept"
)
SPARING = "with the training images in main memory instead of on the device"

WAIT_STEPS = 25
"""Steps after which a device is asked for its losses: asking means waiting for it."""


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a training did.

    Attributes:
        splits: training and held-out cases per member.
        iterations: steps per member.
        losses: mean loss of the last tenth of each member's steps that this process ran; NaN for
            members that were finished before.
    """

    splits: tuple[MemberSplit, ...]
    iterations: tuple[int, ...]
    losses: tuple[float, ...]


def member_path(folder: Path, member: int) -> Path:
    """Weights of a finished member."""
    return folder / f"member_{member}.pt"


def load_weights(path: Path, device: torch.device) -> dict[str, torch.Tensor]:
    """A member's weights.

    Raises:
        SegmentationError: missing or not a weights file.
    """
    try:
        weights: dict[str, torch.Tensor] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise SegmentationError(f"{path}: no such model; train this cycle first") from None
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as problem:
        reason = str(problem).splitlines()[0]
        raise SegmentationError(f"{path}: not a readable model ({reason})") from problem
    return weights


def train_ensemble(
    cases: Sequence[TrainingCase],
    recipe: Recipe,
    profile: Profile,
    hardware: Hardware,
    folder: Path,
    *,
    seed: int,
    cycle: int,
    warm_start: Path | None = None,
    monitor: Monitor | None = None,
) -> TrainingReport:
    """Train the members one after the other into `folder`; members found there are kept.

    Args:
        cases: annotated cases.
        recipe: network, augmentation and loss of the frozen plan.
        profile: how long and how.
        hardware: where.
        folder: receives `member_M.pt`, `training.json` and, while running, `checkpoint.pt`.
        seed, cycle: key all random draws.
        warm_start: folder of the cycle before, to go on from its weights; None starts from scratch.
        monitor: progress (stage "train", in steps of all members) and cancel.

    Raises:
        SegmentationError: nothing annotated, another training's folder, or a loss that is not finite.
        Cancelled: after a checkpoint was written.
    """
    usable = [case for case in cases if case.annotated_voxels]
    splits = member_splits({case.name: case.classes for case in usable}, profile.members, seed)
    steps = _steps(profile, scratch=warm_start is None)
    _claim(folder, splits, profile, seed, cycle, warm_start)
    by_name = {case.name: case for case in usable}
    monitor = monitor or Monitor()

    def train(member: int, spare: bool = False) -> float:
        sampler = CropSampler(
            [by_name[name] for name in splits[member].train],
            recipe.crop,
            recipe.geometry[2],
            recipe.plan.labels.ignore,
            profile.foreground_share,
            profile.case_sampling == "annotated",
        )
        parent = _parent(folder, member, profile, warm_start)
        name = f"member {member + 1} of {len(splits)}"
        progress = _Progress(monitor, sum(steps[:member]), sum(steps), name)
        with named(f"training {name}", ADVICE):
            key = (seed, cycle, member)
            run = _MemberRun(recipe, sampler, profile, hardware, key, steps[member], spare)
            return run.train(folder, member, parent, progress)

    losses = []
    for member in range(len(splits)):
        if member_path(folder, member).exists():
            losses.append(math.nan)
        elif hardware.resident:
            losses.append(with_less(partial(train, member), partial(train, member, spare=True), SPARING))
        else:
            losses.append(train(member))
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return TrainingReport(splits, steps, tuple(losses))


def _steps(profile: Profile, *, scratch: bool) -> tuple[int, ...]:
    """Steps per member; the first of a chain that starts from random weights gets more."""
    first = profile.iterations
    if scratch and profile.ensemble is Ensemble.CHAIN and profile.first_iterations:
        first = profile.first_iterations
    return (first, *[profile.iterations] * (profile.members - 1))


def _parent(folder: Path, member: int, profile: Profile, warm_start: Path | None) -> Path | None:
    """The weights a member goes on from; None for random ones."""
    if profile.ensemble is Ensemble.CHAIN and member > 0:
        return member_path(folder, member - 1)
    if warm_start is None:
        return None
    chain = profile.ensemble is Ensemble.CHAIN
    return member_path(warm_start, profile.members - 1 if chain else member)


def _claim(
    folder: Path,
    splits: Sequence[MemberSplit],
    profile: Profile,
    seed: int,
    cycle: int,
    warm_start: Path | None,
) -> None:
    """Say whose training this folder holds, or check that it is ours."""
    settings = {
        "seed": seed,
        "cycle": cycle,
        "profile": profile.to_json(),
        "warm_start": warm_start is not None,
        "splits": [{key: list(value) for key, value in asdict(split).items()} for split in splits],
    }
    path = folder / TRAINING
    if not path.exists():
        write_json(path, settings)
    elif (found := read_json(path, SegmentationError)) != settings:
        differ = sorted(key for key in settings if found.get(key) != settings[key])
        raise SegmentationError(
            f"{path}: this folder holds another training ({', '.join(differ)} differ); "
            "give an empty folder or remove it"
        )


@dataclass(frozen=True, slots=True)
class _Progress:
    """Progress of one member as part of the ensemble's."""

    monitor: Monitor
    before: int
    total: int
    name: str

    def step(self, done: int, loss: float) -> None:
        self.monitor.report("train", self.before + done, self.total, f"{self.name}, loss {loss:.3f}")


class _Losses:
    """Losses of a member's steps; what a device has not told yet waits until it is asked for.

    Args:
        member: for errors.
    """

    def __init__(self, member: int) -> None:
        self._member = member
        self._known: list[float] = []
        self._waiting: list[tuple[int, torch.Tensor]] = []

    def add(self, step: int, loss: torch.Tensor) -> None:
        """Take note of a step's loss."""
        self._waiting.append((step, loss))

    def read(self) -> float:
        """Ask for what is waiting; the last loss, NaN when there is none.

        Raises:
            SegmentationError: one is not finite.
        """
        if self._waiting:
            values = torch.stack([loss for _, loss in self._waiting]).tolist()
            for (step, _), value in zip(self._waiting, values, strict=True):
                if not math.isfinite(value):
                    raise SegmentationError(
                        f"member {self._member}: the loss is {value} at step {step}; "
                        "lower the profile's learning_rate"
                    )
            self._known += values
            self._waiting.clear()
        return self._known[-1] if self._known else math.nan

    def mean(self, last: int) -> float:
        """Of the last ones; NaN when there is none."""
        return float(np.mean(self._known[-last:])) if self._known else math.nan


class _MemberRun:
    """One member's training."""

    def __init__(
        self,
        recipe: Recipe,
        sampler: CropSampler,
        profile: Profile,
        hardware: Hardware,
        key: tuple[int, int, int],
        steps: int,
        spare: bool = False,
    ) -> None:
        self._profile = profile
        self._hardware = hardware
        self._key = key
        self._steps = steps
        self._wait = WAIT_STEPS if hardware.resident else 1
        self._batches = make_batches(recipe, sampler, hardware, spare)
        self._loss = recipe.loss()
        with seeded("weights", *key):
            self._network = hardware.place(recipe.network())
        make_faster(self._network, hardware)
        self._optimiser = make_optimiser(self._network, profile)
        # float16 needs its gradients scaled; float32 and bfloat16 do not.
        self._scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.autocast == torch.float16)
        self._mean = RunningMean(self._network, profile.averaging)

    def train(self, folder: Path, member: int, parent: Path | None, progress: _Progress) -> float:
        """Run to the end and write the member; mean loss of the last tenth of the steps run here."""
        checkpoint = folder / "checkpoint.pt"
        first = self._resume(checkpoint, member, parent)
        saved = time.monotonic()
        losses = _Losses(member)
        for step in range(first, self._steps):
            if time.monotonic() - saved >= self._profile.checkpoint_seconds or progress.monitor.cancelled:
                losses.read()
                self._save(checkpoint, member, step)
                saved = time.monotonic()
                progress.monitor.check()
            losses.add(step, self._step(step))
            if (step + 1) % self._wait == 0 or step + 1 == self._steps:
                progress.step(step + 1, losses.read())
        with atomic_path(member_path(folder, member)) as temporary:
            torch.save({k: v.cpu() for k, v in self._mean.state_dict().items()}, temporary)
        return losses.mean(max(1, self._steps // 10))

    def _step(self, step: int) -> torch.Tensor:
        """One update; returns the loss, which may still be in work."""
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self._profile, step, self._steps)
        images, targets = self._batches.draw(*self._key, step)
        self._network.train()
        # Seeded for dropout layers, which draw from torch's own generator.
        with seeded("dropout", *self._key, step), self._hardware.precision():
            outputs = self._network(images)
            loss = self._loss(outputs, targets)
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        nn.utils.clip_grad_norm_(self._network.parameters(), GRADIENT_NORM)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._mean.update(step)
        value: torch.Tensor = loss.detach()
        return value

    def _save(self, path: Path, member: int, step: int) -> None:
        state = {
            "member": member,
            "step": step,
            "network": self._network.state_dict(),
            "average": self._mean.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def _resume(self, path: Path, member: int, parent: Path | None) -> int:
        """Load what there is to go on from; returns the first step to run."""
        state: dict[str, Any] = load_weights(path, self._hardware.device) if path.exists() else {}
        if state.get("member") == member:
            log.info("member %d goes on at step %d", member, state["step"])
            self._network.load_state_dict(state["network"])
            self._mean.load_state_dict(state["average"])
            self._optimiser.load_state_dict(state["optimiser"])
            self._scaler.load_state_dict(state["scaler"])
            return int(state["step"])
        if parent is not None:
            self._network.load_state_dict(load_weights(parent, self._hardware.device))
            self._mean.restart()
        return 0
