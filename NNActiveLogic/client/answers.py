"""What a clinician says about a patch: as it is made here, and as the server tells it later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from NNActiveLogic.client.arrays import LabelCrop, decode_labels, encode_labels


class Kind(StrEnum):
    """What an answer says."""

    LABELLED = "labelled"
    CONFIRMED = "confirmed"
    EMPTY = "empty"
    SKIPPED = "skipped"
    REFERRED = "referred"


class Reason(StrEnum):
    """Why a patch was skipped."""

    BAD_IMAGE = "bad-image"
    CANNOT_TELL = "cannot-tell"
    OUT_OF_SCOPE = "out-of-scope"


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What is said about a patch.

    Attributes:
        kind: what it says.
        labels: label values of the box (z, y, x), 0 to 255; labelled and confirmed need them.
        unsure: voxels (z, y, x) that nobody can tell, true or 1 there.
        seconds: active working time.
        edits: number of edits.
        prefilled_model: version of the model whose prediction the work started from.
        comment: free text.
        reason: of a skipped one.
        refer_to: name of the colleague a referred one goes to.

    Raises:
        ValueError: the fields do not fit the kind.
    """

    kind: Kind
    labels: np.ndarray | None = None
    unsure: np.ndarray | None = None
    seconds: float = 0.0
    edits: int = 0
    prefilled_model: str | None = None
    comment: str = ""
    reason: Reason | None = None
    refer_to: str | None = None

    def __post_init__(self) -> None:
        if self.kind in (Kind.LABELLED, Kind.CONFIRMED) and self.labels is None:
            raise ValueError(f"answer: one that is {self.kind} needs labels")
        if self.kind in (Kind.EMPTY, Kind.SKIPPED) and self.labels is not None:
            raise ValueError(f"answer: one that is {self.kind} has no labels")
        if (self.kind == Kind.SKIPPED) != (self.reason is not None):
            raise ValueError("answer: a reason goes with a skipped one, and with no other")
        if (self.kind == Kind.REFERRED) != bool(self.refer_to):
            raise ValueError("answer: a colleague's name goes with a referred one, and with no other")
        if self.unsure is not None and self.labels is not None and self.unsure.shape != self.labels.shape:
            raise ValueError(
                f"answer: unsure {self.unsure.shape} and labels {self.labels.shape} differ in shape"
            )

    def to_json(self) -> dict[str, Any]:
        """The body that the server takes; nothing for what is not set."""
        given = {
            "kind": str(self.kind),
            "label": None if self.labels is None else encode_labels(self.labels).to_json(),
            "unsure": None if self.unsure is None else encode_labels(self.unsure != 0).to_json(),
            "comment": self.comment or None,
            "reason": None if self.reason is None else str(self.reason),
            "refer_to": self.refer_to,
        }
        set_ones = {key: value for key, value in given.items() if value is not None}
        return {
            **set_ones,
            "seconds": float(self.seconds),
            "edits": int(self.edits),
            "prefilled_model": self.prefilled_model,
        }


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """An answer as the server keeps it.

    Attributes:
        kind: see `Kind`, or `reopened`; a newer server may know further ones.
        annotator: name.
        revision: in its reading, from 1.
        time: seconds since 1970.
        reading: 1 is the one the model learns from.
        label: labels of the box; None in lists and for kinds without.
        unsure: likewise.
    """

    kind: str
    annotator: str
    revision: int
    time: float
    seconds: float
    edits: int
    prefilled_model: str | None = None
    reading: int = 1
    comment: str | None = None
    reason: str | None = None
    refer_to: str | None = None
    label: LabelCrop | None = field(default=None, repr=False)
    unsure: LabelCrop | None = field(default=None, repr=False)

    def labels(self, size: Sequence[int]) -> np.ndarray | None:
        """Label values of the box, uint8 (z, y, x); raises ProtocolError when they do not fill it."""
        return None if self.label is None else decode_labels(self.label, size)

    def unsure_mask(self, size: Sequence[int]) -> np.ndarray | None:
        """Voxels nobody can tell, bool (z, y, x); raises ProtocolError when they do not fill the box."""
        return None if self.unsure is None else decode_labels(self.unsure, size) != 0
