"""Which value of a source's label maps becomes which class of the project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.labels import BACKGROUND, IGNORE, LabelSet

_MOST = 254  # more classes than a byte holds beside background and ignore


@dataclass(frozen=True)
class ClassMap:
    """The project's labels, and the value each file value becomes.

    Attributes:
        labels: of the project.
        values: file value to project value.
    """

    labels: LabelSet
    values: Mapping[int, int]

    @property
    def changes(self) -> dict[int, int]:
        """The values that are renumbered."""
        return {old: new for old, new in self.values.items() if old != new}

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Renumber a label array (any shape) whose values are all known."""
        table = np.zeros(max(self.values) + 1, dtype=np.uint8 if self.labels.ignore < 256 else np.int16)
        for old, new in self.values.items():
            table[old] = new
        renumbered: np.ndarray = table[array]
        return renumbered


def from_label_set(labels: LabelSet) -> ClassMap:
    """Values as they are."""
    return ClassMap(labels, {value: value for value in labels.allowed})


def from_names(labels: Mapping[str, int]) -> ClassMap:
    """Values as the caller names them: `{"liver": 1, "tumour": 2}`, background may be left out.

    Values with gaps are renumbered 1, 2, … in their order.

    Raises:
        DatasetError: values that are not whole numbers above 0, or repeat.
    """
    for name, value in labels.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise DatasetError(f"labels: '{name}' needs a whole number from 0, got {value!r}")
    background = labels.get(BACKGROUND, 0)
    classes = sorted((value, name) for name, value in labels.items() if name not in (BACKGROUND, IGNORE))
    label_set = LabelSet(tuple(name for _, name in classes), partial=IGNORE in labels)
    values = {background: 0} | {value: i for i, (value, _) in enumerate(classes, start=1)}
    if IGNORE in labels:
        values[labels[IGNORE]] = label_set.ignore
    if len(values) != len(labels) + (BACKGROUND not in labels):
        raise DatasetError(f"labels: two names share a value in {dict(labels)}; 0 is background")
    return ClassMap(label_set, values)


def from_values(found: Iterable[int]) -> ClassMap:
    """Names made from the values that label maps hold: `class_1`, `class_2`, …

    Raises:
        DatasetError: no value but 0, or so many that the files can hardly be label maps.
    """
    values = sorted(set(found) - {0})
    if not values:
        raise DatasetError("the label maps hold background only; name the classes with labels={'name': 1}")
    if len(values) > _MOST:
        raise DatasetError(f"the label maps hold {len(values)} different values; are they images?")
    labels = LabelSet(tuple(f"class_{value}" for value in values))
    return ClassMap(labels, {0: 0} | {value: i for i, value in enumerate(values, start=1)})
