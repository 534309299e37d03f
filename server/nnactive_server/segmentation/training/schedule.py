"""How far a member's training is along its learning-rate curve, and when the rest of it is passed quickly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnactive_server.segmentation.profiles import Optimiser, Profile


def learning_rate(profile: Profile, step: int, share: float) -> float:
    """Learning rate of a step: linear warm-up, then polynomial (SGD) or cosine (AdamW) decay to 0.

    Args:
        profile: its peak, and how it falls.
        step: counted from 0, for the warm-up.
        share: of the curve that lies behind, from 0 to 1.
    """
    if profile.optimiser is Optimiser.SGD:
        decay = math.pow(1 - share, 0.9)
    else:
        decay = 0.5 * (1 + math.cos(math.pi * share))
    rise = min(1.0, (step + 1) / profile.warm_up) if profile.warm_up else 1.0
    return profile.learning_rate * decay * rise


class Schedule:
    """The steps of one member.

    Args:
        profile: its `patience` decides whether and when a training is cut short.
        steps: planned.

    Attributes:
        losses: of all steps told so far.
        turn: step from which on the rest of the curve is passed in `patience` steps; None while all goes as
            planned.
    """

    def __init__(self, profile: Profile, steps: int) -> None:
        self._profile, self._steps = profile, steps
        self.losses: list[float] = []
        self.turn: int | None = None

    @property
    def end(self) -> int:
        """How many steps there will be, as far as known."""
        return self._steps if self.turn is None else self.turn + self._profile.patience

    def learning_rate(self, step: int) -> float:
        """Of a step, counted from 0."""
        if self.turn is None or step < self.turn:
            return learning_rate(self._profile, step, step / self._steps)
        begun = self.turn / self._steps
        return learning_rate(
            self._profile, step, begun + (1 - begun) * (step - self.turn) / self._profile.patience
        )

    def is_look(self, done: int) -> bool:
        """Whether, after so many steps, their losses decide how it goes on."""
        patience = self._profile.patience
        open_end = self.turn is None and done + patience < self._steps
        return bool(patience) and open_end and done >= 2 * patience and done % patience == 0

    def tell(self, losses: Sequence[float]) -> None:
        """Losses of the next steps; a look must be the last of them."""
        self.losses += losses
        done = len(self.losses)
        if self.is_look(done) and is_plateau(self.losses, self._profile.patience):
            self.turn = done

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"losses": self.losses, "turn": self.turn}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.losses, self.turn = list(state["losses"]), state["turn"]


def is_plateau(losses: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` losses are no lower than those before, but for chance.

    That is: their mean lies less than one standard error of the difference below the mean of as many before.
    """
    before, last = (np.asarray(part) for part in (losses[-2 * patience : -patience], losses[-patience:]))
    error = math.sqrt((before.var(ddof=1) + last.var(ddof=1)) / patience)
    return bool(before.mean() - last.mean() <= error)
