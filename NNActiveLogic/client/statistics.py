"""How a project gets on, as the server says it: learning curve, costs, outlook. Dice from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CycleStatistics:
    """One point of the learning curve; Dice and its spread over folds are None before there is a model."""

    cycle: int
    patches: int
    foreground_voxels: int
    minutes: float
    dice_per_class: Mapping[str, float | None] | None = field(hash=False)
    fold_spread: Any = field(hash=False)
    seconds: Any = field(hash=False)
    mean_dice: float | None = None
    model: str | None = None
    independent: bool = True


@dataclass(frozen=True, slots=True)
class Range:
    """An expected value with its interval."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one more training would bring.

    Attributes:
        gain: of Mean Dice (0 to 1); None when there is not enough data to say.
        worth: whether that is worth its work; None likewise.
        words: the same for people.
    """

    gain: Range | None
    worth: bool | None
    words: str


@dataclass(frozen=True, slots=True)
class Saving:
    """What was probably saved so far, negative when more was needed; None when that cannot be told.

    Attributes:
        share: of the patches that the baseline would have needed, by simulation.
        patches: what that makes of this project's patches.
        hours: likewise, of annotation.
        words: the same for people, and the simulations it rests on.
    """

    share: Range | None
    patches: Range | None
    hours: Range | None
    words: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """Learning curve, annotated patches of each class, what it cost so far, and whether that pays.

    `outlook` is None before the first training; it and `saving` are None on servers that do not tell them.
    """

    cycles: tuple[CycleStatistics, ...]
    balance: Mapping[str, int] = field(hash=False)
    cost: Mapping[str, Any] = field(hash=False)
    outlook: Outlook | None = None
    saving: Saving | None = None
