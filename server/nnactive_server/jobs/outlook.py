"""What one more cycle of a project is expected to bring, from the trainings it has.

Runs where a training ran: the fit loads scipy, which the web process never does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from nnactive_server.core.economy import NOT_ENOUGH, number
from nnactive_server.evaluation.saving import next_gain

HELD_OUT, BEFORE_TRAINING = "held-out", "before-training"
"""What the learning curve is made of, see `outlook`."""

Result = Mapping[str, Any]
_Point = tuple[int, Mapping[str, float | None]]


def outlook(results: Sequence[Result]) -> dict[str, Any]:
    """Expected gain of Mean Dice of one more cycle.

    The curve is the Dice on cases held out of training. That is honest only while every member began from
    random weights: members that go on from others know the cases they hold out, and their curve is too high
    and too flat. Such a project is judged by the Dice of each model on the answers that came after it
    (`before_training`), which no model had seen; they are its hardest boxes, so the level is too low, but
    alike from cycle to cycle.

    A mean over classes that not every cycle knows would jump, so only classes known in all of them count.

    Args:
        results: of the project's finished trainings, oldest first, as `jobs.cycle.run` returns them.

    Returns:
        `{"mean", "low", "high", "verdict", "judged_on", "trainings", "patches"}`: the gain and its 95 %
        interval, None when it cannot be told; "stop", "go on" or "not enough data to say"; what the curve is
        made of; points of the curve; patches of one more cycle.
    """
    if all(result.get("independent") for result in results):
        judged_on, points = HELD_OUT, _held_out(results)
    else:
        judged_on, points = BEFORE_TRAINING, _before_training(results)
    since = int(results[-1]["patches"]) if results else 0
    step = int(results[-1].get("proposed") or 0) if results else 0
    about = {"judged_on": judged_on, "trainings": len(points), "patches": step}
    amounts, dice = _curve(points)
    if step <= 0 or not amounts or any(b < a for a, b in zip(amounts, [*amounts[1:], since], strict=True)):
        return {"mean": None, "low": None, "high": None, "verdict": NOT_ENOUGH, **about}
    gain = next_gain(amounts, dice, step, since=since)
    ends = {name: number(getattr(gain, name)) for name in ("mean", "low", "high")}
    return {**ends, "verdict": gain.verdict, **about}


def _held_out(results: Sequence[Result]) -> list[_Point]:
    return _known((result["patches"], result.get("dice_per_class")) for result in results)


def _before_training(results: Sequence[Result]) -> list[_Point]:
    """Each training tells of the model before it, which had learned from that one's patches."""
    return _known((old["patches"], new.get("before_training")) for old, new in pairwise(results))


def _known(points: Iterable[tuple[int, Mapping[str, float | None] | None]]) -> list[_Point]:
    return [
        (patches, dice)
        for patches, dice in points
        if dice and any(value is not None for value in dice.values())
    ]


def _curve(points: Sequence[_Point]) -> tuple[list[int], list[float]]:
    """Patches and mean Dice; nothing when no class is known everywhere."""
    known = [{name for name, value in dice.items() if value is not None} for _, dice in points]
    classes = sorted(set.intersection(*known)) if known else []
    if not classes:
        return [], []
    means = [math.fsum(dice[name] or 0.0 for name in classes) / len(classes) for _, dice in points]
    return [patches for patches, _ in points], means
