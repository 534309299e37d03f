"""The learning curve as shapes for an SVG picture: Dice (0 to 1) against annotated patches."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 400, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 388, 12, 206
"""The frame of the plot in the picture; small, so that its letters stay readable on a phone."""
_PAD = 10
"""Between the frame and the first and last point."""
MOST_LINES = 8
_DODGE = 3.0
"""Pixels between the bars of two classes, which would hide each other."""
_RADIUS = 3.6
_STEPS = (1, 2, 5)
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C510A", "#7F7F7F")
"""For classes without a colour; Okabe and Ito's, which colour-blind readers can tell apart."""
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class Point:
    """A value in the picture; pixels. `low` and `high` are the ends of its bar, None without one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A curve of the picture; `colour` is None for the mean, which has the colour of the text.

    Attributes:
        name: for the legend.
        colour: `#rrggbb`.
        points: from left to right.
        shape: SVG path of its marker around (0, 0).
    """

    name: str
    colour: str | None
    points: tuple[Point, ...]
    shape: str

    @property
    def path(self) -> str:
        """SVG points of the line."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table below the picture; None where a training has no figure."""

    model: str
    patches: int
    mean: float | None
    classes: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """The picture and its table.

    Attributes:
        lines: the mean last, so that it is drawn on top.
        classes: names, the columns of the table.
        rows: of the table, one a training.
        ticks_x: place (pixels) and text of each mark of an axis; likewise `ticks_y`.
        optimistic: some figures come from members that share training.
        more: classes that are in the table only.
        spread: some points have bars.
    """

    lines: tuple[Line, ...]
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    ticks_x: tuple[tuple[float, str], ...]
    ticks_y: tuple[tuple[float, str], ...]
    optimistic: bool
    more: int
    spread: bool

    width, height = WIDTH, HEIGHT
    left, right, top, bottom = _LEFT, _RIGHT, _TOP, _BOTTOM

    @property
    def legend(self) -> tuple[Line, ...]:
        """The mean first."""
        return (*self.lines[-1:], *self.lines[:-1])

    @property
    def words(self) -> str:
        """For those who cannot see the picture."""
        known = [row for row in self.rows if row.mean is not None]
        if not known:
            return "Learning curve"
        return (
            f"Learning curve: mean Dice {known[0].mean:.2f} with {known[0].patches} patches, "
            f"{known[-1].mean:.2f} with {known[-1].patches}"
        )


def colour_of(label: Mapping[str, Any], index: int) -> str:
    """A class's colour, or one of the palette."""
    given = str(label.get("colour") or "")
    return given if _COLOUR.fullmatch(given) else PALETTE[index % len(PALETTE)]


def draw(results: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]]) -> Curve | None:
    """The learning curve of a project.

    Args:
        results: of its trainings, oldest first.
        labels: its classes.

    Returns:
        None when no training has a figure yet.
    """
    names = tuple(label["name"] for label in labels)
    rows = tuple(_row(result, names) for result in results)
    if not any(row.mean is not None for row in rows):
        return None
    right = max(1, *(row.patches for row in rows))
    shown = min(len(names), MOST_LINES)
    lines = [_class_line(results, label, index, shown, right) for index, label in enumerate(labels[:shown])]
    means = tuple(Point(_x(row.patches, right), _y(row.mean)) for row in rows if row.mean is not None)
    return Curve(
        lines=(*(line for line in lines if line.points), Line("mean of all classes", None, means, _shape(0))),
        classes=names,
        rows=rows,
        ticks_x=_ticks_x(right),
        ticks_y=tuple((_y(tenth / 10), f"{tenth / 10:.1f}") for tenth in range(0, 11, 2)),
        optimistic=not all(result["independent"] for result in results if result["mean_dice"] is not None),
        more=len(names) - shown,
        spread=any(point.low is not None for line in lines for point in line.points),
    )


def _row(result: Mapping[str, Any], names: Sequence[str]) -> Row:
    dice = result["dice_per_class"] or {}
    values = tuple(dice.get(name) for name in names)
    return Row(result["model"], result["patches"], result["mean_dice"], values)


def _class_line(
    results: Sequence[Mapping[str, Any]], label: Mapping[str, Any], index: int, count: int, right: int
) -> Line:
    shift = (index - (count - 1) / 2) * min(_DODGE, 16 / count)
    points = []
    for result in results:
        dice = (result["dice_per_class"] or {}).get(label["name"])
        if dice is not None:
            spread = (result["fold_spread"] or {}).get(label["name"])
            points.append(_point(result["patches"], dice, spread, right, shift))
    return Line(label["name"], colour_of(label, index), tuple(points), _shape(index + 1))


def _point(patches: int, dice: float, spread: float | None, right: int, shift: float) -> Point:
    x = _x(patches, right) + shift
    if not spread:
        return Point(x, _y(dice))
    return Point(x, _y(dice), _y(max(dice - spread, 0.0)), _y(min(dice + spread, 1.0)))


def _x(patches: float, right: int) -> float:
    return _LEFT + _PAD + (_RIGHT - _LEFT - 2 * _PAD) * patches / right


def _y(dice: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * dice


def _ticks_x(right: int) -> tuple[tuple[float, str], ...]:
    """Round numbers from 0 on, six marks at most."""
    step = next(
        digit * 10**power for power in range(12) for digit in _STEPS if right / (digit * 10**power) <= 5
    )
    return tuple((_x(value, right), f"{value:,}") for value in range(0, right + 1, step))


def _shape(index: int) -> str:
    """Circle, square, diamond, triangle, and so on again."""
    r = _RADIUS
    shapes = (
        f"M{-r} 0a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{-r} {-r}h{2 * r}v{2 * r}h{-2 * r}z",
        f"M0 {-1.4 * r:g}L{1.4 * r:g} 0L0 {1.4 * r:g}L{-1.4 * r:g} 0z",
        f"M0 {-1.3 * r:g}L{1.3 * r:g} {r}L{-1.3 * r:g} {r}z",
    )
    return shapes[index % len(shapes)]
