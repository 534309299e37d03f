"""Answers: what annotators say about patches, its history, and how two readers agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Query, Response

from nnactive_server.api.access import Annotator, Reviewer, Viewer
from nnactive_server.api.bodies import AnswerIn, LabelsIn
from nnactive_server.api.labels import Crop, read_crop, show
from nnactive_server.api.maps import prediction_crop
from nnactive_server.api.once import OnceOnly
from nnactive_server.api.problems import Problem
from nnactive_server.api.replies import AgreementOut, AnswerOut, LabelsOut, Out, PatchOut
from nnactive_server.api.server import Here, Server
from nnactive_server.api.views import SETTLED, answer_out, patch_out
from nnactive_server.core.crops import pack_crop, unpack_crop
from nnactive_server.core.errors import Conflict
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.patch import Index3
from nnactive_server.store import Answer, AnswerRecord, Kind, PatchRecord, Reason, Role, Token

router = APIRouter(prefix="/v1/patches/{patch}", tags=["answers"])


@router.put("/annotation", response_model=PatchOut)
def answer(
    patch: str,
    body: AnswerIn,
    server: Here,
    caller: Annotator,
    once: OnceOnly,
    if_match: Annotated[str, Header(pattern=r'^"?\d{1,9}"?$')],
) -> Response:
    """Answer a patch as seen in the revision that If-Match names; 409 carries what is there instead."""
    earlier = once.earlier()
    if earlier is not None:
        return earlier
    return _record(server, caller, once, patch, body, int(if_match.strip('"')), 1)


@router.post("/second-reading", response_model=PatchOut)
def second_reading(patch: str, body: AnswerIn, server: Here, caller: Annotator, once: OnceOnly) -> Response:
    """Answer a patch that a colleague has answered, without having seen their answer."""
    earlier = once.earlier()
    if earlier is not None:
        return earlier
    known = server.store.answers.newest(patch).get(2)
    return _record(server, caller, once, patch, body, known.revision if known else 0, 2)


@router.post("/reopen", response_model=PatchOut)
def reopen(patch: str, server: Here, caller: Annotator, once: OnceOnly) -> Response:
    """Take an answer back: the patch is open again, its history stays."""

    def work() -> PatchOut:
        revision = server.store.patches.get(patch).revision
        server.store.answers.record(patch, revision, Answer(Kind.REOPENED, caller.name))
        return patch_out(server.store.patches.get(patch), caller)

    return once(200, work)


@router.get("/annotation")
def read_answer(
    patch: str,
    server: Here,
    caller: Viewer,
    revision: Annotated[int | None, Query(ge=1)] = None,
    reading: Annotated[int, Query(ge=1, le=2)] = 1,
) -> AnswerOut:
    """An answer with its labels: the newest, or that of a revision."""
    history = [one for one in _visible(server, patch, caller) if one.reading == reading]
    found = [one for one in history if revision in (None, one.revision)]
    if not found:
        raise Problem(404, "not-found", "There is no such answer to this patch.")
    return _with_labels(server, server.store.patches.get(patch), found[-1])


@router.get("/history")
def read_history(patch: str, server: Here, caller: Viewer) -> list[AnswerOut]:
    """Everything that was said about a patch, without the labels."""
    return [answer_out(one) for one in _visible(server, patch, caller)]


@router.get("/agreement")
def read_agreement(patch: str, server: Here, caller: Reviewer) -> AgreementOut:
    """Dice of each class between two readers, over the voxels of which neither is unsure."""
    # Loaded when it is first needed: it brings in scipy.
    from nnactive_server.evaluation import dice_per_class

    found = server.store.patches.get(patch)
    newest = server.store.answers.newest(patch)
    readings = [newest[reading] for reading in (1, 2) if reading in newest]
    if len(readings) < 2 or not all(one.answer.kind.settles for one in readings):
        raise Problem(409, "one-reading", "Agreement needs two readers who said what is in the box.")
    labels = _labels(server, found)
    first, second = (_voxels(server, found, one, labels) for one in readings)
    unsure = (first == labels.ignore) | (second == labels.ignore)
    values = dice_per_class(first, np.where(unsure, labels.ignore, second), labels)
    dice = {name: None if math.isnan(v) else v for name, v in zip(labels.classes, values, strict=True)}
    return AgreementOut(readers=[one.answer.annotator for one in readings], dice=dice)


class _Said:
    """An answer as it came, checked and with its files stored."""

    def __init__(self, server: Server, patch: PatchRecord, body: AnswerIn) -> None:
        self._blobs = server.store.blobs
        labels = _labels(server, patch)
        size = patch.box.size
        self.labels = _crop(body.label, size, len(labels.classes), "label")
        self.unsure = _crop(body.unsure, size, 1, "unsure")
        self.prefill = _prefill(server, patch, body.prefilled_model)
        self._size = size
        self._kind = Kind(body.kind)

    def class_voxels(self) -> Mapping[int, int]:
        """Voxels of each value that the answer states, those nobody is sure of left out."""
        if not self._kind.settles:
            return {}
        values = np.zeros(self._size, np.uint8) if self.labels is None else self.labels.values
        counts = np.zeros(256, np.int64)
        for z, plane in enumerate(values):  # numpy counts in eight bytes a voxel
            sure = plane.ravel() if self.unsure is None else plane[self.unsure.values[z] == 0]
            counts += np.bincount(sure, minlength=256)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}

    def store(self, crop: Crop | None) -> str | None:
        """A crop's stored file."""
        return None if crop is None else self._blobs.put(crop.packed)


def _crop(given: LabelsIn | None, size: Index3, highest: int, field: str) -> Crop | None:
    return None if given is None else read_crop(given, size, highest, field)


def _record(
    server: Server, caller: Token, once: OnceOnly, patch: str, body: AnswerIn, revision: int, reading: int
) -> Response:
    said = _Said(server, server.store.patches.get(patch), body)
    made = Answer(
        kind=Kind(body.kind),
        annotator=caller.name,
        labels=said.store(said.labels),
        unsure=said.store(said.unsure),
        prefill=said.store(said.prefill),
        prefill_model=body.prefilled_model,
        seconds=body.seconds,
        edits=body.edits,
        class_voxels=said.class_voxels(),
        reason=body.reason and Reason(body.reason),
        referred_to=body.refer_to,
        comment=body.comment,
    )

    def work() -> Out:
        try:
            server.store.answers.record(patch, revision, made, reading)
        except Conflict as conflict:
            raise _both_sides(server, conflict, revision) from conflict
        return patch_out(server.store.patches.get(patch), caller)

    return once(200, work)


def _both_sides(server: Server, conflict: Conflict, yours: int) -> Problem:
    """A refusal that shows what is there."""
    current = conflict.current
    shown = None
    if isinstance(current, AnswerRecord):
        found = server.store.patches.get(current.patch)
        shown = _with_labels(server, found, current).model_dump(mode="json")
    return Problem(409, "revision", str(conflict), current=shown, yours=yours)


def _visible(server: Server, patch: str, caller: Token) -> list[AnswerRecord]:
    """The history as the caller may see it.

    Whoever holds the lease of a patch that somebody else has answered is about to read it a second time, and
    sees nothing of the first reading until their own is there. Reviewers see all.
    """
    found, history = server.store.patches.get(patch), list(server.store.answers.history(patch))
    reads = found.lease is not None and found.lease.holder == caller.name
    mine = any(one.answer.annotator == caller.name for one in history)
    if reads and not mine and found.state in SETTLED and not caller.role.covers(Role.REVIEWER):
        return []
    return history


def _with_labels(server: Server, patch: PatchRecord, record: AnswerRecord) -> AnswerOut:
    def shown(sha256: str | None) -> LabelsOut | None:
        return None if sha256 is None else show(server.store.blobs.read(sha256), patch.box.size)

    said = record.answer
    return answer_out(record, shown(said.labels), shown(said.unsure), shown(said.prefill))


def _labels(server: Server, patch: PatchRecord) -> LabelSet:
    settings = server.store.projects.get(patch.project).settings
    return LabelSet(tuple(label["name"] for label in settings["labels"]), partial=True)


def _voxels(server: Server, patch: PatchRecord, record: AnswerRecord, labels: LabelSet) -> np.ndarray:
    """Label values of an answer (z, y, x), the ignore id where its reader was unsure."""
    blobs, size, said = server.store.blobs, patch.box.size, record.answer
    values = np.zeros(size, np.uint8)
    if said.labels is not None:
        values = unpack_crop(blobs.read(said.labels), size, "label").copy()
    if said.unsure is not None:
        values[unpack_crop(blobs.read(said.unsure), size, "unsure") != 0] = labels.ignore
    return values


def _prefill(server: Server, patch: PatchRecord, model: str | None) -> Crop | None:
    """The prediction the work started from, if its model is still the one whose maps are here."""
    if model is None:
        return None
    values = prediction_crop(server.root(patch.project), server.store.cases.get(patch.case), patch.box, model)
    return None if values is None else Crop(values, pack_crop(values))
