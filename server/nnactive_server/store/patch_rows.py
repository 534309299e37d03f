"""Patches as values, and as rows of the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nnactive_server.core.errors import InvalidInput, NotFound
from nnactive_server.core.patch import Patch
from nnactive_server.store.cases import Case, find_case
from nnactive_server.store.ids import new_id
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
        early: proposed while the training still went on.
        withdrawn: it was proposed early, nobody touched it, and others took its place; whoever has it still
            open may answer it nevertheless, which brings it back.
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
    early: bool = False
    withdrawn: bool = False

    @property
    def untouched(self) -> bool:
        """Nobody works on it, and nobody has answered it."""
        return self.state == PatchState.OPEN and not self.revision and self.lease is None


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

    Withdrawn ones are only found by their id.

    Args:
        connection: of the transaction.
        wanted: columns of `patches` and their values, None for any; also names values of `condition`.
        now: seconds since 1970.
        condition: further SQL; names that start with `_` in `wanted` are only for it.
        limit: at most so many; -1 for all.
        offset: so many are left out first.
    """
    if wanted.get("id") is None:
        condition = f"({condition}) AND patches.withdrawn IS NULL"
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


def patches_of_cycle(
    connection: sqlite3.Connection, project: str, cycle: int, now: float
) -> tuple[PatchRecord, ...]:
    """All patches of a cycle by rank, in the caller's transaction."""
    return select_patches(connection, {"project": project, "cycle": cycle}, now)


def next_rank(connection: sqlite3.Connection, project: str, cycle: int) -> int:
    """The first rank of a cycle that no patch has or had."""
    query = "SELECT coalesce(max(rank), 0) + 1 FROM patches WHERE project = ? AND cycle = ?"
    return int(connection.execute(query, (project, cycle)).fetchone()[0])


def insert_patch(
    connection: sqlite3.Connection,
    project: str,
    cycle: int,
    rank: int,
    patch: NewPatch,
    origin: Origin,
    placed_by: str | None,
    now: float,
    early: bool = False,
) -> str:
    """Store a patch, in the caller's transaction; its id.

    Raises:
        InvalidInput: a box outside its image, or a case of another project.
        NotFound: no such case.
    """
    case = find_case(connection, patch.case)
    _check_box(case, project, patch.box)
    made = new_id()
    connection.execute(
        "INSERT INTO patches (id, project, case_id, cycle, rank, start_z, start_y, start_x,"
        " size_z, size_y, size_x, origin, score, class_group, explanation, placed_by, created, early)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(made, project, case.id, cycle, rank, *patch.box.start, *patch.box.size),
            *(origin, patch.score, patch.group),
            *(to_text(patch.explanation, f"rank {rank}: explanation"), placed_by, now, early),
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
        early=bool(row["early"]),
        withdrawn=row["withdrawn"] is not None,
    )
