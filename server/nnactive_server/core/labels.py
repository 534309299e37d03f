"""Which label value means what; the one place that knows the ignore id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nnactive_server.core.errors import DatasetError

BACKGROUND = "background"
IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Label names of a data set: 0 is background, 1..K are classes, K + 1 is ignore.

    Attributes:
        classes: names of the foreground classes; class `classes[i]` has value `i + 1`.
        partial: whether label files may hold the ignore id for voxels nobody annotated.
    """

    classes: tuple[str, ...]
    partial: bool = False

    def __post_init__(self) -> None:
        if not self.classes:
            raise DatasetError("labels: name at least one foreground class")
        if len(set(self.classes)) != len(self.classes):
            raise DatasetError(f"labels: class names repeat: {list(self.classes)}")
        if {BACKGROUND, IGNORE} & set(self.classes):
            raise DatasetError(f"labels: '{BACKGROUND}' and '{IGNORE}' cannot name a class")

    @property
    def foreground(self) -> tuple[int, ...]:
        """Values of the foreground classes: 1..K."""
        return tuple(range(1, len(self.classes) + 1))

    @property
    def num_classes(self) -> int:
        """Number of channels of a softmax array: K + 1 with background, ignore left out."""
        return len(self.classes) + 1

    @property
    def ignore(self) -> int:
        """The ignore id: highest label + 1 (nnU-Net's convention)."""
        return len(self.classes) + 1

    @property
    def allowed(self) -> frozenset[int]:
        """Every value a label file of this data set may hold."""
        top = self.ignore if self.partial else len(self.classes)
        return frozenset(range(top + 1))

    def as_partial(self) -> LabelSet:
        """The same classes, with the ignore id allowed."""
        return LabelSet(self.classes, partial=True)

    def name(self, value: int) -> str:
        """Name of a label value."""
        if value == 0:
            return BACKGROUND
        return IGNORE if value == self.ignore else self.classes[value - 1]

    def to_json(self) -> dict[str, int]:
        """The `labels` entry of an nnU-Net `dataset.json`."""
        entry = {BACKGROUND: 0} | {name: i for i, name in enumerate(self.classes, start=1)}
        return entry | ({IGNORE: self.ignore} if self.partial else {})

    @classmethod
    def from_json(cls, labels: Mapping[str, object], source: str = "dataset.json") -> LabelSet:
        """Read the `labels` entry of a `dataset.json`: nnU-Net (name to value) or MSD (value to name).

        Raises:
            DatasetError: regions, gaps in the values, no background, or no class.
        """
        if labels and all(str(k).isdigit() for k in labels):
            labels = {str(name): int(value) for value, name in labels.items()}
        wrong = {k: v for k, v in labels.items() if isinstance(v, bool) or not isinstance(v, int)}
        if wrong:
            raise DatasetError(
                f"{source}: labels {wrong} are not single whole numbers; region-based labels are "
                "not supported, give each class a value of its own"
            )
        by_value = {int(str(value)): name for name, value in labels.items()}
        partial = IGNORE in labels
        classes = [by_value[v] for v in sorted(by_value) if v != 0 and by_value[v] != IGNORE]
        expected = list(range(len(labels)))
        if len(by_value) != len(labels) or sorted(by_value) != expected:
            raise DatasetError(
                f"{source}: label values {sorted(by_value)} must be 0 for background, then 1, 2, … "
                "without gaps or repeats, 'ignore' last"
            )
        if partial and by_value[expected[-1]] != IGNORE:
            raise DatasetError(f"{source}: 'ignore' must have the highest value, {expected[-1]}")
        return cls(tuple(classes), partial)
