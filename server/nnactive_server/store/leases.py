"""Who works on which patch: a lease is exclusive, ends by itself, and is renewed while somebody is there."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection

from nnactive_server.core.errors import Conflict, InvalidInput
from nnactive_server.store.database import Database
from nnactive_server.store.events import emit
from nnactive_server.store.patch_rows import LONGEST_SECONDS, Lease, PatchRecord, find_patch, select_patches
from nnactive_server.store.projects import find_project
from nnactive_server.store.texts import name_of, to_text

_FREE = "(leases.holder IS NULL OR leases.holder = :_holder)"
_LEFT_OUT = "patches.id NOT IN (SELECT value FROM json_each(:_besides))"
_UNREAD = (
    f"{_FREE} AND {_LEFT_OUT} AND "
    "(patches.state = 'open' OR (patches.state = 'referred' AND patches.referred_to = :_holder))"
)
_SECOND = (
    f"{_FREE} AND {_LEFT_OUT} AND patches.state IN ('answered', 'confirmed', 'empty') AND NOT EXISTS ("
    "SELECT 1 FROM answers WHERE answers.patch = patches.id AND "
    "(answers.reading = 2 OR answers.annotator = :_holder))"
)


class Leases:
    """The leases of all patches; times come from the database's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, patch: str, holder: str, seconds: float) -> Lease:
        """Lease a patch in any state, or prolong one's own lease of it; a withdrawn one is there again.

        Args:
            patch: id.
            holder: name of the annotator.
            seconds: until it ends, from now.

        Raises:
            Conflict: somebody else works on it; carries their lease.
            NotFound: no such patch.
            InvalidInput: not a usable name or time.
        """
        with self._database.write() as connection:
            found = find_patch(connection, patch, self._database.now())
            return self._grant(connection, found, holder, seconds)

    def renew(self, patch: str, holder: str, seconds: float) -> Lease:
        """The heartbeat: prolong a lease that has not ended.

        Raises:
            Conflict: it has ended; carries the lease of whoever works on the patch now, or None.
            NotFound, InvalidInput: see `take`.
        """
        with self._database.write() as connection:
            found = find_patch(connection, patch, self._database.now())
            if found.lease is None or found.lease.holder != holder:
                raise Conflict(
                    f"patch {patch}: your lease has ended; take it again before going on", found.lease
                )
            return self._grant(connection, found, holder, seconds)

    def release(self, patch: str, holder: str) -> None:
        """Give a lease back; fine when it has ended already or somebody else has one."""
        now = self._database.now()
        with self._database.write() as connection:
            found = find_patch(connection, patch, now)
            drop_lease(connection, found, holder, now)

    def next_open(
        self,
        project: str,
        holder: str,
        seconds: float,
        cycle: int | None = None,
        besides: Collection[str] = (),
    ) -> PatchRecord | None:
        """Lease the first patch, by cycle and rank, that waits for an answer and that nobody else works on.

        That is an open one, or one that was referred to the holder. One the holder has a lease of already
        comes again, unless it is named in `besides`.

        Args:
            project: id.
            holder: name of the annotator.
            seconds: until the lease ends, from now.
            cycle: only patches of this one.
            besides: ids to leave out, e.g. those a client has fetched ahead.

        Returns:
            The patch with its new lease, or None when there is none left.

        Raises:
            NotFound: no such project.
            InvalidInput: see `take`.
        """
        return self._next(project, holder, seconds, cycle, besides, _UNREAD)

    def next_second_reading(
        self,
        project: str,
        holder: str,
        seconds: float,
        cycle: int | None = None,
        besides: Collection[str] = (),
    ) -> PatchRecord | None:
        """As `next_open`, for patches that have an answer by others and no second reading yet."""
        return self._next(project, holder, seconds, cycle, besides, _SECOND)

    def held(self, project: str) -> tuple[Lease, ...]:
        """The leases of a project that have not ended, by cycle and rank of their patches."""
        with self._database.read() as connection:
            found = select_patches(
                connection, {"project": project}, self._database.now(), "leases.holder IS NOT NULL"
            )
        return tuple(patch.lease for patch in found if patch.lease is not None)

    def _next(
        self,
        project: str,
        holder: str,
        seconds: float,
        cycle: int | None,
        besides: Collection[str],
        condition: str,
    ) -> PatchRecord | None:
        wanted = {
            "project": project,
            "cycle": cycle,
            "_holder": holder,
            "_besides": to_text(list(besides), "besides"),
        }
        with self._database.write() as connection:
            now = self._database.now()
            find_project(connection, project)
            found = select_patches(connection, wanted, now, condition, limit=1)
            if not found:
                return None
            self._grant(connection, found[0], holder, seconds)
            return find_patch(connection, found[0].id, now)

    def _grant(
        self, connection: sqlite3.Connection, patch: PatchRecord, holder: str, seconds: float
    ) -> Lease:
        _check_seconds(seconds)
        now, mine = self._database.now(), patch.lease
        if mine is not None and mine.holder != holder:
            raise Conflict(f"patch {patch.id}: {mine.holder} works on it; take another one", mine)
        granted = now if mine is None else mine.granted
        lease = Lease(patch.id, name_of(holder, "lease holder"), granted, now + seconds)
        connection.execute(
            "INSERT OR REPLACE INTO leases (patch, holder, granted, expires) VALUES (?, ?, ?, ?)",
            (lease.patch, lease.holder, lease.granted, lease.expires),
        )
        if patch.withdrawn:
            connection.execute("UPDATE patches SET withdrawn = NULL WHERE id = ?", (patch.id,))
        if mine is None:
            emit(
                connection,
                now,
                patch.project,
                "lease.taken",
                patch.id,
                {"annotator": holder, "expires": lease.expires},
            )
        return lease


def drop_lease(connection: sqlite3.Connection, patch: PatchRecord, holder: str, now: float) -> None:
    """End the holder's lease of a patch, if there is one, in the caller's transaction."""
    if patch.lease is not None and patch.lease.holder == holder:
        connection.execute("DELETE FROM leases WHERE patch = ?", (patch.id,))
        emit(connection, now, patch.project, "lease.released", patch.id, {"annotator": holder})


def _check_seconds(seconds: float) -> None:
    if not math.isfinite(seconds) or not 0 < seconds <= LONGEST_SECONDS:
        raise InvalidInput(f"lease: {seconds} seconds; give more than 0 and at most {LONGEST_SECONDS:g}")
