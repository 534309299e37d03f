"""The patches of a project: what a cycle asks for, in its order, and what clinicians placed themselves."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from nnactive_server.core.errors import Conflict
from nnactive_server.store.database import Database
from nnactive_server.store.events import emit
from nnactive_server.store.patch_rows import (
    NewPatch,
    Origin,
    PatchRecord,
    PatchState,
    find_patch,
    insert_patch,
    next_rank,
    patches_of_cycle,
    select_patches,
)
from nnactive_server.store.projects import find_project


class Patches:
    """The patches of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def propose(
        self,
        project: str,
        cycle: int,
        batch: Sequence[NewPatch],
        origin: Origin = Origin.QUERY,
        early: bool = False,
    ) -> tuple[PatchRecord, ...]:
        """Store the batch of a cycle in the order of its ranks.

        A job that was interrupted may propose the same batch again; the patches stay as they are. A batch
        takes the place of one that was proposed early: of that, patches that somebody has touched stay, and
        count, so that there are no more than the batch has; the others are withdrawn.

        Args:
            project: id.
            cycle: of the loop, from 0.
            batch: by rank.
            origin: who chose it.
            early: the training goes on, and another batch will follow.

        Returns:
            The cycle's patches but those placed by clinicians, by rank.

        Raises:
            Conflict: the cycle has another batch already; carries its patches.
            InvalidInput: a box outside its image, or a case of another project.
            NotFound: no such project or case.
        """
        now = self._database.now()
        with self._database.write() as connection:
            find_project(connection, project)
            known = _proposed(connection, project, cycle, now)
            if any(not patch.early for patch in known):
                return _same_batch(project, cycle, known, batch)
            new, gone = _in_place_of(known, batch)
            for patch in gone:
                connection.execute("UPDATE patches SET withdrawn = ? WHERE id = ?", (now, patch.id))
            for rank, made in enumerate(new, start=next_rank(connection, project, cycle)):
                insert_patch(connection, project, cycle, rank, made, origin, None, now, early)
            if new or gone or not early:
                about = {"cycle": cycle, "patches": len(new), "early": early}
                emit(connection, now, project, "batch.proposed", project, about)
            return _proposed(connection, project, cycle, now)

    def place(self, project: str, cycle: int, patch: NewPatch, placed_by: str) -> PatchRecord:
        """Store a patch that a clinician placed; it comes after all others of the cycle.

        Raises:
            InvalidInput, NotFound: see `propose`.
        """
        now = self._database.now()
        with self._database.write() as connection:
            find_project(connection, project)
            rank = next_rank(connection, project, cycle)
            made = insert_patch(connection, project, cycle, rank, patch, Origin.PLACED, placed_by, now)
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
                "SELECT max(cycle) FROM patches WHERE project = ? AND withdrawn IS NULL", (project,)
            ).fetchone()[0]
            return found

    def counts(self, project: str) -> dict[int, dict[PatchState, int]]:
        """How many patches of each cycle are in each state; states without patches are left out."""
        counts: dict[int, dict[PatchState, int]] = {}
        with self._database.read() as connection:
            for row in connection.execute(
                "SELECT cycle, state, count(*) AS n FROM patches "
                "WHERE project = ? AND withdrawn IS NULL GROUP BY cycle, state "
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
                "SELECT case_id, state, count(*) AS n FROM patches "
                "WHERE project = ? AND withdrawn IS NULL GROUP BY case_id, state",
                (project,),
            ):
                counts.setdefault(row["case_id"], {})[PatchState(row["state"])] = row["n"]
        return counts


def _proposed(
    connection: sqlite3.Connection, project: str, cycle: int, now: float
) -> tuple[PatchRecord, ...]:
    """What a query or a draw chose."""
    found = patches_of_cycle(connection, project, cycle, now)
    return tuple(patch for patch in found if patch.origin != Origin.PLACED)


def _in_place_of(
    known: Sequence[PatchRecord], batch: Sequence[NewPatch]
) -> tuple[list[NewPatch], list[PatchRecord]]:
    """What a batch adds to early patches, and which of them it replaces.

    Those that somebody has touched stay, and only what touches none of them is added, the best first, as
    far as it takes to fill the batch. What is proposed again stays the same patch.
    """
    touched = [patch for patch in known if not patch.untouched]
    free = [new for new in batch if not any(_overlap(new, patch) for patch in touched)]
    wanted = free[: max(0, len(batch) - len(touched))]
    there = {(patch.case, patch.box) for patch in known}
    again = {(new.case, new.box) for new in wanted} & there
    gone = [patch for patch in known if patch.untouched and (patch.case, patch.box) not in again]
    return [new for new in wanted if (new.case, new.box) not in again], gone


def _overlap(new: NewPatch, patch: PatchRecord) -> bool:
    return new.case == patch.case and bool(new.box.overlap(patch.box))


def _same_batch(
    project: str, cycle: int, known: Sequence[PatchRecord], batch: Sequence[NewPatch]
) -> tuple[PatchRecord, ...]:
    found = [(patch.case, patch.box) for patch in known if not patch.early]
    asked = [(patch.case, patch.box) for patch in batch]
    # Beside patches that were proposed early, only a part of the batch found room.
    same = set(found) <= set(asked) if len(found) < len(known) else found == asked
    if not same:
        raise Conflict(
            f"project {project}: cycle {cycle} has another batch of {len(known)} patches; "
            "propose for the next cycle",
            tuple(known),
        )
    return tuple(known)
