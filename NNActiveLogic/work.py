"""What the presenter and the scene hand to each other: a patch to work on, and what the clinician made of it.

Arrays are (z, y, x), on the grid of the case's image. Neither Qt nor MRML is known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.client.values import Case, Label, Patch


@dataclass(frozen=True, slots=True, eq=False)
class PatchView:
    """A patch with all that is shown of it.

    Attributes:
        patch: its box lies on the grid of the image.
        case: the image's grid: shape, spacing, origin and direction (LPS).
        labels: foreground classes; the first has value 1.
        image: channel 0 of the whole case.
        heat: uncertainty in nats, float16 or float32: of the whole image, or of a box with some context,
            whose first voxel is `heat.info.start`; None before there is a model, or when it is not there yet.
        prefill: label values of the box, uint8, to start from; None to start empty.
        unsure: voxels of the box, bool, that an earlier answer left open; None when there are none.
        stale: heat map and prefill come from an older model than the newest.
        model: version of the model they come from.
    """

    patch: Patch
    case: Case
    labels: tuple[Label, ...]
    image: VoxelArray
    heat: VoxelArray | None = None
    prefill: np.ndarray | None = None
    unsure: np.ndarray | None = None
    stale: bool = False
    model: str | None = None


@dataclass(frozen=True, slots=True)
class HeatSettings:
    """How the heat map is drawn.

    Attributes:
        measure: `predictive_entropy`, `mutual_information`, or `class-N`, where N is a label value.
        visible: whether it is drawn.
        opacity: from 0 to 1.
        threshold: what lies below is transparent; nats.
    """

    measure: str = "predictive_entropy"
    visible: bool = True
    opacity: float = 0.5
    threshold: float = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What stands in the box.

    Attributes:
        labels: uint8 (z, y, x) of the box; 0 is background, otherwise the index of the class + 1.
        unsure: bool, same shape; None when nothing is marked.
        changed: it differs from the prefill.
    """

    labels: np.ndarray
    unsure: np.ndarray | None
    changed: bool


class WorkError(Exception):
    """Something on the screen does not allow the work to go on.

    Attributes:
        what: one sentence for the radiologist.
        advice: what to do, one sentence; may be empty.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"{what} {advice}".strip())
        self.what = what
        self.advice = advice


class SceneLike(Protocol):
    """The views and the editor, as the presenter uses them; only on the thread of the windows."""

    @property
    def is_open(self) -> bool:
        """Whether a patch is shown."""

    def open(self, view: PatchView) -> None:
        """Show a patch and make its box editable; raises WorkError, and then nothing is open."""

    def read(self) -> Reading:
        """What stands in the box now.

        Raises:
            WorkError: it cannot be read truthfully, such as with overlapping segments, an image under a
                transform, or a segment that was removed.
        """

    def set_heat(self, settings: HeatSettings, heat: VoxelArray | None) -> None:
        """Draw the heat map in another way, or another one; None removes it."""

    def mark_stale(self) -> None:
        """Say that the heat map and the prediction come from an older model than the newest."""

    def edits(self) -> int:
        """How often something was changed since the patch was opened."""

    def close(self) -> None:
        """Remove what belongs to the patch; the image stays. Nothing happens when none is open."""
