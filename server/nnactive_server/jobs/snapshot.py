"""What the store says about a project at one moment, as far as a cycle needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_server.core.crops import unpack_crop
from nnactive_server.core.errors import NotFound, StoreError
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import LoopPatch, label_dtype
from nnactive_server.store import Answer, AnswerRecord, Blobs, Case, Kind, PatchRecord, PatchState, Store


@dataclass(frozen=True)
class Snapshot:
    """The patches up to a cycle and what was last said about each.

    Attributes:
        seq: number of the newest answer's event that it knows.
        cases: all cases of the project, by id.
        patches: of the cycles up to this one, by cycle and rank.
        answers: the newest first reading of those that have one, by patch id.
        changed: cases (ids) in which something may have changed since an earlier snapshot.
    """

    seq: int
    cases: Mapping[str, Case]
    patches: Sequence[PatchRecord]
    answers: Mapping[str, AnswerRecord]
    changed: frozenset[str]

    def settled(self, case: str | None = None) -> Iterator[tuple[PatchRecord, Answer]]:
        """Patches with an answer to learn from, oldest answer first; of all cases, or of one (id)."""
        found = [patch for patch in self.patches if case in (None, patch.case) and patch.id in self.answers]
        for patch in sorted(found, key=lambda p: self.answers[p.id].seq):
            answer = self.answers[patch.id].answer
            if answer.kind.settles:
                yield patch, answer

    def loop(self, number: int) -> tuple[LoopPatch, ...]:
        """The patches of a cycle as its loop file tells of them."""
        return tuple(self._entry(patch) for patch in self.patches if patch.cycle == number)

    def _entry(self, patch: PatchRecord) -> LoopPatch:
        case = self.cases[patch.case]
        said = None if patch.state == PatchState.OPEN else self.answers[patch.id].answer
        return LoopPatch(
            case.name,
            patch.box,
            patch.score,
            patch.group or None,
            patch.rank,
            case.geometry.index_to_world(patch.box.start),
            None if said is None else said.annotator,
            None if said is None else said.seconds,
            patch.state.value,
        )


def take_snapshot(store: Store, project: str, number: int, since: int) -> Snapshot:
    """Read everything of one moment.

    Args:
        store: of the server.
        project: id.
        number: of the cycle; patches of later ones are left out.
        since: `seq` of the snapshot for the cycle before; 0 when there is none.
    """
    # The calls inside a write transaction share its view of the database; nothing is written.
    with store.database.write():
        cases = {case.id: case for case in store.cases.list(project)}
        patches = tuple(patch for patch in store.patches.list(project) if patch.cycle <= number)
        known = {patch.id for patch in patches}
        answers = {each.patch: each for each in store.answers.current(project) if each.patch in known}
        changes = store.answers.changed_since(project, since)
    # A patch of this cycle may have been answered before the last snapshot, which left it out.
    late = {patch.case for patch in patches if patch.cycle == number}
    seq = max((change.seq for change in changes), default=since)
    return Snapshot(seq, cases, patches, answers, frozenset(late | {change.case for change in changes}))


def read_answer(
    blobs: Blobs, patch: PatchRecord, answer: Answer, labels: LabelSet
) -> tuple[Patch, np.ndarray]:
    """A settled answer as a box and its labels (z, y, x), with the ignore id where nobody can tell.

    Raises:
        StoreError: a stored file is missing or damaged.
    """
    crop = np.zeros(patch.box.size, label_dtype(labels))
    if answer.kind != Kind.EMPTY and answer.labels is not None:
        crop[:] = _unpacked(blobs, patch, answer.labels)
    if answer.unsure is not None:
        crop[_unpacked(blobs, patch, answer.unsure) != 0] = labels.ignore
    return patch.box, crop


def _unpacked(blobs: Blobs, patch: PatchRecord, sha256: str) -> np.ndarray:
    what = f"patch {patch.id}: stored file {sha256}"
    try:
        packed = blobs.read(sha256)
    except NotFound as problem:
        raise StoreError(
            f"{what} is missing; restore it from a backup, or answer the patch again"
        ) from problem
    return unpack_crop(packed, patch.box.size, what, StoreError)
