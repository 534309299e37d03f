"""The start budget: boxes a clinician places for each class, then random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from NNActiveLogic.client.values import Box, Case, Index3, Label, Patch, Project
from NNActiveLogic.presenter import words

EACH_CLASS = 2
"""Boxes that each class needs at the start, by the guidelines."""


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """A class at the start.

    Attributes:
        name: of the class.
        colour: `#rrggbb`, or None.
        placed: boxes somebody placed for it.
        annotated: answered boxes that hold it, whatever they were placed for.
        missing: boxes to be placed yet.
    """

    name: str
    colour: str | None
    placed: int
    annotated: int
    missing: int


@dataclass(frozen=True, slots=True)
class StartBudget:
    """What the start still needs; `random` boxes at random after those of the classes."""

    rows: tuple[BudgetRow, ...]
    random: int
    over: bool
    sentence: str

    @property
    def ready(self) -> bool:
        """Whether there are enough boxes."""
        return self.over or not (self.random or any(row.missing for row in self.rows))


def start_budget(
    project: Project,
    patches: Sequence[Patch],
    balance: Mapping[str, int],
    trained: bool,
    drawn: bool = False,
) -> StartBudget:
    """Count what is there.

    Args:
        project: its labels and query size; the start is as large as a batch.
        patches: all of the project.
        balance: answered boxes that hold each class.
        trained: the first training has begun, and the start is over.
        drawn: random boxes were asked for, and the images have no room for more.
    """
    first = [patch for patch in patches if patch.cycle == 0]
    rows = tuple(_row(label, first, balance) for label in project.labels)
    missing = sum(row.missing for row in rows)
    drawn = drawn or any(patch.origin == "start" for patch in first)
    random = 0 if drawn else max(0, project.query_size - len(first) - missing)
    return StartBudget(rows, random, trained, _sentence(rows, random, trained))


def box_around(centre: Sequence[float], case: Case, size: Index3) -> Box:
    """The box of a size (z, y, x) with a voxel in its middle, moved and cut so that it lies in the image."""
    return Box.around(centre, size, case.shape)


def _row(label: Label, patches: Sequence[Patch], balance: Mapping[str, int]) -> BudgetRow:
    placed = sum(patch.group == label.name and patch.origin == "placed" for patch in patches)
    annotated = balance.get(label.name, 0)
    return BudgetRow(label.name, label.colour, placed, annotated, max(0, EACH_CLASS - max(placed, annotated)))


def _sentence(rows: Sequence[BudgetRow], random: int, over: bool) -> str:
    if over:
        return words.say(words.BUDGET_OVER)
    parts = [
        words.count(row.missing, words.BOX_MISSING, words.BOXES_MISSING, name=row.name)
        for row in rows
        if row.missing
    ]
    if parts:
        return words.say(words.BUDGET_MISSING, parts=words.listed(parts))
    return words.say(words.BUDGET_RANDOM, n=random) if random else words.say(words.BUDGET_READY)
