"""Answers that wait for a decision: what both sides said, in words and as labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from NNActiveLogic.client.arrays import LabelCrop, decode_labels
from NNActiveLogic.client.errors import ProtocolError
from NNActiveLogic.client.outbox import Entry
from NNActiveLogic.client.parsing import parse
from NNActiveLogic.client.values import Label
from NNActiveLogic.presenter import words


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What one side said: a sentence, and the labels of the box (z, y, x), None where there are none."""

    sentence: str
    labels: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Dispute:
    """An answer of yours that does not count yet.

    Attributes:
        entry: its number; for `Sending.keep_mine` and `Sending.take_theirs`.
        patch: id.
        sentence: why it waits.
        mine: your side.
        theirs: what the server has instead; None when it refused the answer for another reason.
    """

    entry: int
    patch: str
    sentence: str
    mine: Side
    theirs: Side | None


def disputes(entries: Sequence[Entry], labels: Sequence[Label]) -> tuple[Dispute, ...]:
    """The answers that wait for a decision, oldest first."""
    return tuple(_dispute(entry, labels) for entry in entries if entry.parked)


def crop_of(body: Mapping[str, Any], name: str) -> np.ndarray | None:
    """A label crop in the body of an answer, uint8 (z, y, x); None when there is none that can be read."""
    if body.get(name) is None:
        return None
    try:
        crop = parse(LabelCrop, body[name], name)
        return decode_labels(crop, crop.shape)
    except ProtocolError:
        return None


def _dispute(entry: Entry, labels: Sequence[Label]) -> Dispute:
    theirs = entry.theirs if isinstance(entry.theirs, Mapping) else None
    name = str(theirs.get("annotator") or "") if theirs else ""
    if not entry.conflict:
        sentence = words.say(words.REFUSED, what=entry.reason)
    elif name:
        sentence = words.say(words.CONFLICT, name=name)
    else:
        sentence = words.say(words.CONFLICT_UNNAMED)
    mine = _side(entry.body, words.say(words.YOU), labels)
    return Dispute(entry.id, entry.patch, sentence, mine, _side(theirs, name, labels) if theirs else None)


def _side(body: Mapping[str, Any], name: str, labels: Sequence[Label]) -> Side:
    crop, kind = crop_of(body, "label"), str(body.get("kind") or "")
    if crop is None:
        said = words.say(getattr(words.KIND, kind, kind))
        return Side(words.say(words.ANSWER_OTHER, name=name, kind=said))
    found = [(label.name, int((crop == value).sum())) for value, label in enumerate(labels, 1)]
    parts = [words.say(words.VOXELS, voxels=voxels, name=label) for label, voxels in found if voxels]
    text = words.listed(parts) if parts else words.say(words.NOTHING_MARKED)
    return Side(words.say(words.ANSWER_LABELLED, name=name, parts=text), crop)
