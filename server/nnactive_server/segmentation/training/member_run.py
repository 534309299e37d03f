"""One member's training: its steps, its checkpoint, its weights.

Every random draw is keyed by (seed, cycle, member, step), and a checkpoint holds weights, their running mean
and the optimiser. A training that stopped and goes on therefore ends with the same weights as one that did
not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.files import atomic_path, write_json
from nnactive_server.core.monitor import Monitor
from nnactive_server.segmentation.fast.faster import make_faster
from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.profiles import Profile
from nnactive_server.segmentation.training.batches import make_batches, seeded
from nnactive_server.segmentation.training.optimisation import RunningMean, make_optimiser
from nnactive_server.segmentation.training.sampling import CropSampler
from nnactive_server.segmentation.training.schedule import Schedule
from nnactive_server.segmentation.training.weights import (
    checkpoint_path,
    load_state,
    load_weights,
    member_path,
    save_weights,
    steps_path,
)

if TYPE_CHECKING:
    from nnactive_server.segmentation.training.recipe import Recipe

log = logging.getLogger(__name__)

GRADIENT_NORM = 12.0
"""Gradients are clipped to this norm, as nnU-Net does."""
WAIT_STEPS = 25
"""Steps after which a device is asked for its losses: asking means waiting for it."""

Told = Callable[[int, float], None]
"""Hears of the steps done so far and the last loss."""


@dataclass(frozen=True, slots=True)
class MemberKey:
    """Which member this is; decides all random draws.

    Attributes:
        seed: of the experiment.
        cycle: from 0.
        member: from 0.
    """

    seed: int
    cycle: int
    member: int

    @property
    def parts(self) -> tuple[int, int, int]:
        """As a key of random draws."""
        return self.seed, self.cycle, self.member


class Losses:
    """Losses of a member's steps; what a device has not told yet waits until it is asked for.

    Args:
        member: for errors.
        schedule: is told of them.
    """

    def __init__(self, member: int, schedule: Schedule) -> None:
        self._member, self._schedule = member, schedule
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
            self._waiting.clear()
            self._schedule.tell(values)
        known = self._schedule.losses
        return known[-1] if known else math.nan


class MemberRun:
    """One member's training.

    Args:
        recipe: network, augmentation and loss.
        sampler: draws crops of the member's own cases.
        profile: how long and how.
        hardware: where.
        folder: receives the member and, until then, its checkpoint.
        key: which member.
        steps: its whole training, unless it is cut short.
        spare: leave the device's memory to the network.
    """

    def __init__(
        self,
        recipe: Recipe,
        sampler: CropSampler,
        profile: Profile,
        hardware: Hardware,
        folder: Path,
        key: MemberKey,
        steps: int,
        spare: bool = False,
    ) -> None:
        self._profile = profile
        self._hardware = hardware
        self._folder = folder
        self._key = key
        self._schedule = Schedule(profile, steps)
        self._wait = WAIT_STEPS if hardware.resident else 1
        self._batches = make_batches(recipe, sampler, hardware, spare)
        self._loss = recipe.loss()
        with seeded("weights", *key.parts):
            self._network = hardware.place(recipe.network())
        make_faster(self._network, hardware)
        self._weights = list(self._network.parameters())
        self._optimiser = make_optimiser(self._network, profile)
        # float16 needs its gradients scaled; float32 and bfloat16 do not.
        self._scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.autocast == torch.float16)
        self._mean = RunningMean(self._network, profile.averaging)
        self._checkpoint = checkpoint_path(folder, key.member)

    def train(self, parent: Path | None, monitor: Monitor, told: Told) -> float:
        """Train to the end, from the checkpoint if there is one, and write the member.

        Args:
            parent: weights to begin with; None for random ones.
            monitor: for a wish to stop.
            told: hears of progress.

        Returns:
            Mean loss of the last tenth of the steps.

        Raises:
            SegmentationError: a loss that is not finite.
            Cancelled: after a checkpoint was written.
        """
        self._advance(self._resume(parent), None, monitor, told)
        losses = self._schedule.losses
        write_json(steps_path(self._folder, self._key.member), {"steps": len(losses)})
        self.write(member_path(self._folder, self._key.member))
        self._checkpoint.unlink(missing_ok=True)
        return float(np.mean(losses[-max(1, len(losses) // 10) :]))

    def begin(self, parent: Path | None, until: int, monitor: Monitor, told: Told) -> None:
        """Train only up to the step `until` and leave a checkpoint, from which `train` goes on; see there."""
        first = self._resume(parent)
        if first < until:
            self._save(self._advance(first, until, monitor, told))

    def write(self, path: Path) -> None:
        """Write the weights as they are now."""
        save_weights(path, self._mean.state_dict())

    def _advance(self, step: int, until: int | None, monitor: Monitor, told: Told) -> int:
        """Do the steps up to `until`, or to the end; how many there are then."""
        self._network.train()
        saved = time.monotonic()
        losses = Losses(self._key.member, self._schedule)
        while step < (last := min(self._schedule.end, until or self._schedule.end)):
            if time.monotonic() - saved >= self._profile.checkpoint_seconds or monitor.cancelled:
                losses.read()
                self._save(step)
                saved = time.monotonic()
                monitor.check()
            losses.add(step, self._step(step))
            step += 1
            if step % self._wait == 0 or step == last or self._schedule.is_look(step):
                told(step, losses.read())
        return step

    def _step(self, step: int) -> torch.Tensor:
        """One update; returns the loss, which may still be in work."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._schedule.learning_rate(step)
        images, targets = self._batches.draw(*self._key.parts, step)
        # Seeded for dropout layers, which draw from torch's own generator.
        with seeded("dropout", *self._key.parts, step), self._hardware.precision():
            outputs = self._network(images)
            loss = self._loss(outputs, targets)
        for weight in self._weights:
            weight.grad = None
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        nn.utils.clip_grad_norm_(self._weights, GRADIENT_NORM)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._mean.update(step)
        value: torch.Tensor = loss.detach()
        return value

    def _save(self, step: int) -> None:
        state = {
            "step": step,
            "network": self._network.state_dict(),
            "average": self._mean.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "schedule": self._schedule.state(),
        }
        with atomic_path(self._checkpoint) as temporary:
            torch.save(state, temporary)

    def _resume(self, parent: Path | None) -> int:
        """Load what there is to go on from; returns the first step to run."""
        if self._checkpoint.exists():
            state = load_state(self._checkpoint, self._hardware.device)
            log.info("member %d goes on at step %d", self._key.member, state["step"])
            self._network.load_state_dict(state["network"])
            self._mean.load_state_dict(state["average"])
            self._optimiser.load_state_dict(state["optimiser"])
            self._scaler.load_state_dict(state["scaler"])
            self._schedule.load(state["schedule"])
            return int(state["step"])
        if parent is not None:
            self._network.load_state_dict(load_weights(parent, self._hardware.device))
            self._mean.restart()
        return 0
