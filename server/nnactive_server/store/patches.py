"""The patches of a project: what a cycle asks for, in its order, and what clinicians placed themselves."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nnactive_server.core.errors import Conflict, InvalidInput, NotFound
from nnactive_server.core.patch import Patch
from nnactive_server.store.cases import Case, find_case
from nnactive_server.store.database import Database
from nnactive_server.store.events import emit
from nnactive_server.store.ids import new_id
from nnactive_server.store.projects import find_project
from nnactive_server.store.texts import from_text, to_text

LONGEST_SECONDS = 24 * 3600.0
"""The longest lease."""


class PatchState(StrEnum):
    """What the newest first-reading answer made of a patch."""

    OPEN = "open"
    ANSWERED = "answered"
    CONFIRMED = "confirmed"
    EMPTY = "empty"
    SKIPPED = "skipped"
    REFERRED = "referred"


class Origin(StrEnum):
    """Who chose a patch: a query, the draw of the start budget, or a clinician."""

    QUERY = "query"
    START = "start"
    PLACED = "placed"


@dataclass(frozen=True, slots=True)
class NewPatch:
    """A patch to be stored.

    Attributes:
        case: id.
        box: voxels (z, y, x) on the case's grid.
        score: of the query.
        group: the strategy's group, e.g. a class name.
        explanation: what speaks for it; plain JSON values.
    """

    case: str
    box: Patch
    score: float | None = None
    group: str = ""
    explanation: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on a patch.

    Attributes:
        patch: id.
        holder: name of the annotator.
        granted: seconds since 1970.
        expires: likewise; at this time the patch is free again.
    """

    patch: str
    holder: str
    granted: float
    expires: float


@dataclass(frozen=True, slots=True)
class PatchRecord:
    """A stored patch.

    Attributes:
        id: opaque.
        project: id.
        case: id.
        cycle: of the loop, from 0 (the start budget).
        rank: place in the cycle, from 1.
        box: voxels (z, y, x) on the case's grid.
        origin: who chose it.
        score: of the query, if one chose it.
        group: the strategy's group; may be empty.
        explanation: what speaks for it.
        placed_by: name of the clinician who placed it.
        state: what its newest answer made of it.
        revision: of its first reading; 0 before the first answer.
        referred_to: name of the colleague it waits for.
        lease: who works on it now.
    """

    id: str
    project: str
    case: str
    cycle: int
    rank: int
    box: Patch
    origin: Origin
    score: float | None
    group: str
    explanation: Mapping[str, Any]
    placed_by: str | None
    state: PatchState
    revision: int
    referred_to: str | None
    lease: Lease | None


class Patches:
    """The patches of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def propose(
        self, project: str, cycle: int, batch: Sequence[NewPatch], origin: Origin = Origin.QUERY
    ) -> tuple[PatchRecord, ...]:
        """Store the batch of a cycle in the order of its ranks.

        A job that was interrupted may propose the same batch again; the patches stay as they are.

        Raises:
            Conflict: the cycle has another batch already; carries its patches.
            InvalidInput: a box outside its image, or a case of another project.
            NotFound: no such project or case.
        """
        now = self._database.now()
        with self._database.write() as connection:
            find_project(connection, project)
            known = [p for p in _of_cycle(connection, project, cycle, now) if p.origin != Origin.PLACED]
            if known:
                return _same_batch(project, cycle, known, batch)
            first = _next_rank(connection, project, cycle)
            for rank, patch in enumerate(batch, start=first):
                _insert(connection, project, cycle, rank, patch, origin, None, now)
            emit(connection, now, project, "batch.proposed", project, {"cycle": cycle, "patches": len(batch)})
            found = _of_cycle(connection, project, cycle, now)
        return tuple(p for p in found if p.origin != Origin.PLACED)

    def place(self, project: str, cycle: int, patch: NewPatch, placed_by: str) -> PatchRecord:
        """Store a patch that a clinician placed; it comes after all others of the cycle.

        Raises:
            InvalidInput, NotFound: see `propose`.
        """
        now = self._database.now()
        with self._database.write() as connection:
            find_project(connection, project)
            rank = _next_rank(connection, project, cycle)
            made = _insert(connection, project, cycle, rank, patch, Origin.PLACED, placed_by, now)
            about = {"case": patch.case, "cycle": cycle, "annotator": placed_by}
            emit(connection, now, project, "patch.placed", made, about)
            return find_patch(connection, made, now)

    def get(self, patch: str) -> PatchRecord:
        """A patch by id; raises NotFound."""
        with self._database.read() as connection:
            return find_patch(connection, patch, self._database.now())

    def list(
        self,
        project: str,
        cycle: int | None = None,
        state: PatchState | None = None,
        case: str | None = None,
        limit: int = -1,
        offset: int = 0,
    ) -> tuple[PatchRecord, ...]:
        """Patches by cycle and rank: all of a project, or only those of a cycle, state or case.

        At most `limit` of them (-1 for all), from the one at `offset` on.
        """
        wanted = {"project": project, "cycle": cycle, "state": state, "case_id": case}
        with self._database.read() as connection:
            find_project(connection, project)
            return select_patches(connection, wanted, self._database.now(), limit=limit, offset=offset)

    def newest_cycle(self, project: str) -> int | None:
        """The cycle of the current batch; None before the first patch."""
        with self._database.read() as connection:
            found: int | None = connection.execute(
                "SELECT max(cycle) FROM patches WHERE project = ?", (project,)
            ).fetchone()[0]
            return found

    def counts(self, project: str) -> dict[int, dict[PatchState, int]]:
        """How many patches of each cycle are in each state; states without patches are left out."""
        counts: dict[int, dict[PatchState, int]] = {}
        with self._database.read() as connection:
            for row in connection.execute(
                "SELECT cycle, state, count(*) AS n FROM patches WHERE project = ? GROUP BY cycle, state "
                "ORDER BY cycle, state",
                (project,),
            ):
                counts.setdefault(row["cycle"], {})[PatchState(row["state"])] = row["n"]
        return counts

    def counts_by_case(self, project: str) -> dict[str, dict[PatchState, int]]:
        """The same for each case (id) that has patches."""
        counts: dict[str, dict[PatchState, int]] = {}
        with self._database.read() as connection:
            for row in connection.execute(
                "SELECT case_id, state, count(*) AS n FROM patches WHERE project = ? GROUP BY case_id, state",
                (project,),
            ):
                counts.setdefault(row["case_id"], {})[PatchState(row["state"])] = row["n"]
        return counts


def find_patch(connection: sqlite3.Connection, patch: str, now: float) -> PatchRecord:
    """A patch, in the caller's transaction; raises NotFound."""
    found = select_patches(connection, {"id": patch}, now)
    if not found:
        raise NotFound(f"patch {patch[:80]}: there is none of this id")
    return found[0]


def select_patches(
    connection: sqlite3.Connection,
    wanted: Mapping[str, object],
    now: float,
    condition: str = "1",
    limit: int = -1,
    offset: int = 0,
) -> tuple[PatchRecord, ...]:
    """Patches by cycle and rank, with their live leases, in the caller's transaction.

    Args:
        connection: of the transaction.
        wanted: columns of `patches` and their values, None for any; also names values of `condition`.
        now: seconds since 1970.
        condition: further SQL; names that start with `_` in `wanted` are only for it.
        limit: at most so many; -1 for all.
        offset: so many are left out first.
    """
    columns = [name for name, value in wanted.items() if value is not None and not name.startswith("_")]
    where = " AND ".join([*(f"patches.{name} = :{name}" for name in columns), f"({condition})"])
    rows = connection.execute(
        "SELECT patches.*, leases.holder, leases.granted, leases.expires FROM patches "
        "LEFT JOIN leases ON leases.patch = patches.id "
        # One that ends later than any can was granted before the clock was set back, and holds nobody off.
        "AND leases.expires > :_now AND leases.expires <= :_now + :_longest "
        f"WHERE {where} ORDER BY patches.cycle, patches.rank LIMIT :_limit OFFSET :_offset",
        {**wanted, "_now": now, "_longest": LONGEST_SECONDS, "_limit": limit, "_offset": offset},
    )
    return tuple(_record(row) for row in rows)


def _of_cycle(
    connection: sqlite3.Connection, project: str, cycle: int, now: float
) -> tuple[PatchRecord, ...]:
    return select_patches(connection, {"project": project, "cycle": cycle}, now)


def _same_batch(
    project: str, cycle: int, known: Sequence[PatchRecord], batch: Sequence[NewPatch]
) -> tuple[PatchRecord, ...]:
    if [(p.case, p.box) for p in known] != [(p.case, p.box) for p in batch]:
        raise Conflict(
            f"project {project}: cycle {cycle} has another batch of {len(known)} patches; "
            "propose for the next cycle",
            tuple(known),
        )
    return tuple(known)


def _next_rank(connection: sqlite3.Connection, project: str, cycle: int) -> int:
    query = "SELECT coalesce(max(rank), 0) + 1 FROM patches WHERE project = ? AND cycle = ?"
    return int(connection.execute(query, (project, cycle)).fetchone()[0])


def _insert(
    connection: sqlite3.Connection,
    project: str,
    cycle: int,
    rank: int,
    patch: NewPatch,
    origin: Origin,
    placed_by: str | None,
    now: float,
) -> str:
    case = find_case(connection, patch.case)
    _check_box(case, project, patch.box)
    made = new_id()
    connection.execute(
        "INSERT INTO patches (id, project, case_id, cycle, rank, start_z, start_y, start_x,"
        " size_z, size_y, size_x, origin, score, class_group, explanation, placed_by, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(made, project, case.id, cycle, rank, *patch.box.start, *patch.box.size),
            *(origin, patch.score, patch.group),
            *(to_text(patch.explanation, f"rank {rank}: explanation"), placed_by, now),
        ),
    )
    return made


def _check_box(case: Case, project: str, box: Patch) -> None:
    if case.project != project:
        raise InvalidInput(f"case {case.id}: belongs to another project than {project}")
    if not box.inside(case.geometry.shape):
        raise InvalidInput(
            f"case {case.name}: the box from {box.start} of {box.size} voxels reaches outside the image of "
            f"{case.geometry.shape} (z, y, x)"
        )


def _record(row: sqlite3.Row) -> PatchRecord:
    box = Patch(
        (row["start_z"], row["start_y"], row["start_x"]), (row["size_z"], row["size_y"], row["size_x"])
    )
    lease = None if row["holder"] is None else Lease(row["id"], row["holder"], row["granted"], row["expires"])
    return PatchRecord(
        id=row["id"],
        project=row["project"],
        case=row["case_id"],
        cycle=row["cycle"],
        rank=row["rank"],
        box=box,
        origin=Origin(row["origin"]),
        score=row["score"],
        group=row["class_group"],
        explanation=from_text(row["explanation"]),
        placed_by=row["placed_by"],
        state=PatchState(row["state"]),
        revision=row["revision"],
        referred_to=row["referred_to"],
        lease=lease,
    )
