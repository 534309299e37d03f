"""What people said about patches: only ever added to, so that every acknowledged answer stays readable.

A patch has readings: the first is the one the model learns from, a second by somebody else stands beside it.
Each reading is a chain of revisions 1, 2, …; whoever adds to it says which revision they have seen. An answer
counts until a newer revision replaces it or reopens the patch.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum

from nnactive_server.core.errors import Conflict, InvalidInput
from nnactive_server.store.blobs import Blobs
from nnactive_server.store.database import Database
from nnactive_server.store.events import emit
from nnactive_server.store.leases import drop_lease
from nnactive_server.store.patch_rows import PatchRecord, PatchState, find_patch
from nnactive_server.store.projects import find_project
from nnactive_server.store.texts import from_text, name_of, not_negative, short_text, to_text

_LONGEST_COMMENT = 4000


class Kind(StrEnum):
    """What an answer says."""

    LABELLED = "labelled"
    CONFIRMED = "confirmed"
    EMPTY = "empty"
    SKIPPED = "skipped"
    REFERRED = "referred"
    REOPENED = "reopened"

    @property
    def settles(self) -> bool:
        """Whether it says what every voxel of the box is, apart from those marked unsure."""
        return self in (Kind.LABELLED, Kind.CONFIRMED, Kind.EMPTY)


class Reason(StrEnum):
    """Why a patch was skipped."""

    BAD_IMAGE = "bad-image"
    CANNOT_TELL = "cannot-tell"
    OUT_OF_SCOPE = "out-of-scope"


_STATES = {
    Kind.LABELLED: PatchState.ANSWERED,
    Kind.CONFIRMED: PatchState.CONFIRMED,
    Kind.EMPTY: PatchState.EMPTY,
    Kind.SKIPPED: PatchState.SKIPPED,
    Kind.REFERRED: PatchState.REFERRED,
    Kind.REOPENED: PatchState.OPEN,
}
_NEEDED = {
    Kind.LABELLED: "labels",
    Kind.CONFIRMED: "labels",
    Kind.SKIPPED: "reason",
    Kind.REFERRED: "referred_to",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody says about a patch.

    Attributes:
        kind: what it says.
        annotator: name of who says it.
        labels: stored label crop of the box; labelled and confirmed need it, a referred one may carry what
            was done so far.
        unsure: stored mask of the voxels nobody can tell.
        prefill: stored label crop that the work started from.
        prefill_model: version of the model that made the prefill.
        seconds: active working time.
        edits: number of edits.
        class_voxels: voxels of each label value in the box, for statistics.
        reason: of a skipped one.
        referred_to: name of the colleague a referred one goes to.
        comment: free text.

    Raises:
        InvalidInput: the fields do not fit the kind.
    """

    kind: Kind
    annotator: str
    labels: str | None = None
    unsure: str | None = None
    prefill: str | None = None
    prefill_model: str | None = None
    seconds: float = 0.0
    edits: int = 0
    class_voxels: Mapping[int, int] = field(default_factory=dict, hash=False)
    reason: Reason | None = None
    referred_to: str | None = None
    comment: str = ""

    def __post_init__(self) -> None:
        name_of(self.annotator, "annotator")
        not_negative(self.seconds, "answer: seconds")
        not_negative(self.edits, "answer: edits")
        short_text(self.comment, _LONGEST_COMMENT, "answer: comment")
        if self.referred_to is not None:
            name_of(self.referred_to, "answer: referred_to")
        if missing := self._missing():
            raise InvalidInput(f"answer: one that is {self.kind} needs {missing}")
        if needless := self._needless():
            raise InvalidInput(f"answer: one that is {self.kind} cannot have {needless}")

    @property
    def files(self) -> tuple[str, ...]:
        """The stored files it names."""
        return tuple(sha256 for sha256 in (self.labels, self.unsure, self.prefill) if sha256 is not None)

    def _missing(self) -> str:
        """The field this kind of answer cannot do without, when it is not there."""
        name = _NEEDED.get(self.kind, "")
        return name if name and getattr(self, name) is None else ""

    def _needless(self) -> str:
        """Fields that are there and mean nothing for this kind of answer."""
        refused = {
            "reason": self.kind != Kind.SKIPPED,
            "referred_to": self.kind != Kind.REFERRED,
            "labels": self.kind in (Kind.EMPTY, Kind.SKIPPED, Kind.REOPENED),
            "unsure": self.kind in (Kind.SKIPPED, Kind.REOPENED),
        }
        return ", ".join(name for name, wrong in refused.items() if wrong and getattr(self, name) is not None)


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """A stored answer.

    Attributes:
        patch: id.
        reading: 1 is the one the model learns from.
        revision: in its reading, from 1.
        at: seconds since 1970.
        seq: number of the event that told of it.
        answer: what was said.
    """

    patch: str
    reading: int
    revision: int
    at: float
    seq: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Change:
    """A patch whose first reading changed.

    Attributes:
        patch: id.
        case: id.
        state: as it is now; `open` means that an earlier answer no longer counts.
        seq: number of the newest change's event.
    """

    patch: str
    case: str
    state: PatchState
    seq: int


class Answers:
    """The answers to all patches."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    def record(self, patch: str, expected_revision: int, answer: Answer, reading: int = 1) -> AnswerRecord:
        """Add an answer; on the disk when this returns.

        No lease is asked for: work that was done while the network was away counts as long as nobody else
        answered. The annotator's own lease ends.

        Args:
            patch: id.
            expected_revision: of the reading, as the annotator has seen it; 0 for the first answer.
            answer: what is said; the files it names are stored already.
            reading: 1, or 2 and more for readings by other people.

        Returns:
            The answer with its new revision.

        Raises:
            Conflict: another revision is there (carries the newest answer, or None), a further reading has
                nothing to stand beside or is by somebody who has read the patch before, or there is nothing
                to reopen.
            InvalidInput: a file that is not stored.
            NotFound: no such patch.
        """
        for sha256 in answer.files:
            if not self._blobs.refresh(sha256):
                raise InvalidInput(f"answer: file {sha256} is not stored; upload it first")
        now = self._database.now()
        with self._database.write() as connection:
            found = find_patch(connection, patch, now)
            known = _newest(connection, patch)
            _check(found, known, expected_revision, answer, reading)
            made = _insert(connection, found, answer, reading, expected_revision + 1, now)
            if reading == 1:
                connection.execute(
                    "UPDATE patches SET state = ?, revision = ?, referred_to = ?, withdrawn = NULL "
                    "WHERE id = ?",
                    (_STATES[answer.kind], made.revision, answer.referred_to, patch),
                )
            drop_lease(connection, found, answer.annotator, now)
        return made

    def history(self, patch: str) -> tuple[AnswerRecord, ...]:
        """Everything that was ever said about a patch, by reading and revision; raises NotFound."""
        with self._database.read() as connection:
            find_patch(connection, patch, self._database.now())
            return _select(connection, "WHERE patch = ? ORDER BY reading, revision", patch)

    def newest(self, patch: str) -> dict[int, AnswerRecord]:
        """The newest answer of each reading of a patch; raises NotFound."""
        with self._database.read() as connection:
            find_patch(connection, patch, self._database.now())
            return _newest(connection, patch)

    def current(self, project: str, cycle: int | None = None) -> tuple[AnswerRecord, ...]:
        """The newest first-reading answer of each patch that has one, by cycle and rank."""
        with self._database.read() as connection:
            find_project(connection, project)
            return _select(
                connection,
                "JOIN patches ON patches.id = answers.patch AND patches.revision = answers.revision "
                "WHERE answers.reading = 1 AND patches.project = ? AND (? IS NULL OR patches.cycle = ?) "
                "ORDER BY patches.cycle, patches.rank",
                *(project, cycle, cycle),
            )

    def changed_since(self, project: str, seq: int) -> tuple[Change, ...]:
        """Patches whose first reading changed after an event, by the number of their newest change.

        Whoever keeps label files up to date remembers the largest `seq` it has seen.
        """
        with self._database.read() as connection:
            find_project(connection, project)
            rows = connection.execute(
                "SELECT patches.id, patches.case_id, patches.state, max(answers.seq) AS seq FROM answers "
                "JOIN patches ON patches.id = answers.patch "
                "WHERE answers.seq > ? AND answers.reading = 1 AND patches.project = ? "
                "GROUP BY patches.id ORDER BY max(answers.seq)",
                (seq, project),
            )
            return tuple(
                Change(row["id"], row["case_id"], PatchState(row["state"]), row["seq"]) for row in rows
            )

    def read_twice(self, project: str) -> tuple[str, ...]:
        """Ids of the patches that have a second reading, by cycle and rank."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT patches.id FROM patches WHERE project = ? AND EXISTS (SELECT 1 FROM answers "
                "WHERE answers.patch = patches.id AND answers.reading = 2) ORDER BY cycle, rank",
                (project,),
            )
            return tuple(row["id"] for row in rows)


def _check(
    patch: PatchRecord, known: Mapping[int, AnswerRecord], expected: int, answer: Answer, reading: int
) -> None:
    mine = known.get(reading)
    revision = mine.revision if mine else 0
    if revision != expected:
        raise Conflict(
            f"patch {patch.id}: answered meanwhile (revision {revision}, not {expected}); "
            "look at both and decide",
            mine,
        )
    if answer.kind == Kind.REOPENED and (mine is None or mine.answer.kind == Kind.REOPENED):
        raise Conflict(f"patch {patch.id}: is open; there is nothing to reopen", mine)
    if reading > 1:
        _check_further(patch, known, answer, reading)


def _check_further(
    patch: PatchRecord, known: Mapping[int, AnswerRecord], answer: Answer, reading: int
) -> None:
    before, mine = known.get(reading - 1), known.get(reading)
    if before is None or (mine is None and not before.answer.kind.settles):
        raise Conflict(
            f"patch {patch.id}: reading {reading} needs an answer in reading {reading - 1} first", before
        )
    if mine is not None and mine.answer.annotator != answer.annotator:
        raise Conflict(f"patch {patch.id}: reading {reading} belongs to {mine.answer.annotator}", mine)
    for number, other in known.items():
        if number != reading and mine is None and other.answer.annotator == answer.annotator:
            raise Conflict(f"patch {patch.id}: {answer.annotator} did reading {number} already", other)


def _insert(
    connection: sqlite3.Connection,
    patch: PatchRecord,
    answer: Answer,
    reading: int,
    revision: int,
    now: float,
) -> AnswerRecord:
    about = {
        "case": patch.case,
        "cycle": patch.cycle,
        "reading": reading,
        "revision": revision,
        "kind": answer.kind,
        "annotator": answer.annotator,
    }
    seq = emit(connection, now, patch.project, "answer.recorded", patch.id, about)
    values = {name: getattr(answer, name) for name in _FIELDS}
    values["class_voxels"] = to_text(
        {str(k): n for k, n in answer.class_voxels.items()}, "answer: class_voxels"
    )
    values |= {"patch": patch.id, "reading": reading, "revision": revision, "at": now, "seq": seq}
    connection.execute(
        f"INSERT INTO answers ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})",
        values,
    )
    return AnswerRecord(patch.id, reading, revision, now, seq, answer)


_FIELDS = tuple(entry.name for entry in fields(Answer))


def _newest(connection: sqlite3.Connection, patch: str) -> dict[int, AnswerRecord]:
    # Of several rows with one reading the last one stays.
    rows = _select(connection, "WHERE patch = ? ORDER BY reading, revision", patch)
    return {row.reading: row for row in rows}


def _select(connection: sqlite3.Connection, rest: str, *values: object) -> tuple[AnswerRecord, ...]:
    return tuple(_record(row) for row in connection.execute(f"SELECT answers.* FROM answers {rest}", values))


def _record(row: sqlite3.Row) -> AnswerRecord:
    said = {name: row[name] for name in _FIELDS}
    said["kind"] = Kind(row["kind"])
    said["reason"] = row["reason"] and Reason(row["reason"])
    said["class_voxels"] = {int(k): n for k, n in from_text(row["class_voxels"]).items()}
    return AnswerRecord(row["patch"], row["reading"], row["revision"], row["at"], row["seq"], Answer(**said))
