"""Cases: the images of a project as stored files and the grid they share."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nnactive_server.core.errors import Conflict, InvalidInput, NotFound
from nnactive_server.core.geometry import Geometry
from nnactive_server.store.blobs import Blobs
from nnactive_server.store.database import Database
from nnactive_server.store.events import emit
from nnactive_server.store.ids import new_id
from nnactive_server.store.projects import find_project
from nnactive_server.store.texts import from_text, to_text

CASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)
"""Names that Windows keeps for devices."""


@dataclass(frozen=True, slots=True)
class Case:
    """A case.

    Attributes:
        id: opaque.
        project: id.
        name: used in file names; letters, digits, _ and -; unique in the project, whatever the case of its
            letters.
        geometry: the voxel grid of all its channels; shape and spacing (z, y, x), origin in mm, LPS.
        images: SHA-256 of each channel's stored file, in the order of the channels.
        details: further plain JSON values, checked by the caller.
        created: seconds since 1970.
    """

    id: str
    project: str
    name: str
    geometry: Geometry
    images: tuple[str, ...]
    details: Mapping[str, Any]
    created: float


@dataclass(frozen=True, slots=True)
class Source:
    """What became of a file that was sent.

    Attributes:
        size: bytes of the file.
        case: that was made of it.
        channel: of that case.
    """

    size: int
    case: Case
    channel: int

    @property
    def image(self) -> str:
        """SHA-256 of the stored image."""
        return self.case.images[self.channel]


class Cases:
    """The cases of all projects."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    def add(
        self,
        project: str,
        name: str,
        geometry: Geometry,
        images: Sequence[str],
        details: Mapping[str, Any] | None = None,
    ) -> Case:
        """A new case, whose images are stored already.

        Raises:
            InvalidInput: not a usable name, no image or one that is not stored, or details that are no JSON.
            NotFound: no such project.
            Conflict: the name is taken; carries that case.
        """
        check_case_name(name)
        self._check_images(name, images)
        now, case = self._database.now(), new_id()
        grid = to_text(asdict(geometry), f"case {name}: geometry")
        more = to_text(details or {}, f"case {name}: details")
        with self._database.write() as connection:
            find_project(connection, project)
            _check_free(connection, project, name)
            connection.execute(
                "INSERT INTO cases (id, project, name, geometry, details, created) VALUES (?, ?, ?, ?, ?, ?)",
                (case, project, name, grid, more, now),
            )
            connection.executemany(
                "INSERT INTO case_images (case_id, channel, blob) VALUES (?, ?, ?)",
                [(case, channel, blob) for channel, blob in enumerate(images)],
            )
            emit(connection, now, project, "case.added", case, {"name": name})
            return find_case(connection, case)

    def get(self, case: str) -> Case:
        """A case by id; raises NotFound."""
        with self._database.read() as connection:
            return find_case(connection, case)

    def by_name(self, project: str, name: str) -> Case:
        """A case by its name in a project; raises NotFound."""
        with self._database.read() as connection:
            row = _row_of_name(connection, project, name)
            if row is None:
                raise NotFound(f"case '{name[:80]}': project {project[:80]} has none of this name")
            return _case(row)

    def list(self, project: str) -> tuple[Case, ...]:
        """The cases of a project, by name."""
        with self._database.read() as connection:
            find_project(connection, project)
            rows = connection.execute(f"{_SELECT} WHERE cases.project = ? ORDER BY cases.name", (project,))
            return tuple(_case(row) for row in rows)

    def count(self, project: str) -> int:
        """How many a project has."""
        with self._database.read() as connection:
            query = "SELECT count(*) FROM cases WHERE project = ?"
            return int(connection.execute(query, (project,)).fetchone()[0])

    def free_name(self, project: str) -> str:
        """The next name of the form case-0001; to be asked for in the transaction that uses it."""
        taken = {case.name.lower() for case in self.list(project)}
        number = len(taken) + 1
        while f"case-{number:04d}" in taken:
            number += 1
        return f"case-{number:04d}"

    def of_source(self, sha256: str) -> Source | None:
        """What became of a file that was sent with this hash; None when no case was made of it.

        The file itself is not kept. `details["sources"]` names what each channel was made of, as
        `{"sha256", "size"}`.
        """
        query = (
            "SELECT cases.id, source.key, json_extract(source.value, '$.size') AS size FROM cases, "
            "json_each(cases.details, '$.sources') AS source "
            "WHERE json_extract(source.value, '$.sha256') = ? LIMIT 1"
        )
        with self._database.read() as connection:
            row = connection.execute(query, (sha256,)).fetchone()
            return row and Source(row["size"], find_case(connection, row["id"]), row["key"])

    def describe(self, case: str, details: Mapping[str, Any]) -> Case:
        """Replace a case's details; raises NotFound, InvalidInput."""
        text = to_text(details, f"case {case}: details")
        with self._database.write() as connection:
            known = find_case(connection, case)
            connection.execute("UPDATE cases SET details = ? WHERE id = ?", (text, case))
            emit(connection, self._database.now(), known.project, "case.changed", case, {"name": known.name})
            return find_case(connection, case)

    def _check_images(self, name: str, images: Sequence[str]) -> None:
        if not images:
            raise InvalidInput(f"case {name}: needs an image for each channel")
        missing = [sha256 for sha256 in images if not self._blobs.refresh(sha256)]
        if missing:
            raise InvalidInput(f"case {name}: images {missing} are not stored; upload them first")


def check_case_name(name: str) -> None:
    """Whether a name can stand in file names on every system; raises InvalidInput."""
    if not CASE_NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        raise InvalidInput(
            f"case name '{name[:80]}': needs 1 to 64 letters, digits, _ or -, and a letter or digit first; "
            "names that Windows keeps for devices cannot be used"
        )


def find_case(connection: sqlite3.Connection, case: str) -> Case:
    """A case, in the caller's transaction; raises NotFound."""
    row = connection.execute(f"{_SELECT} WHERE cases.id = ?", (case,)).fetchone()
    if row is None:
        raise NotFound(f"case {case[:80]}: there is none of this id")
    return _case(row)


def _check_free(connection: sqlite3.Connection, project: str, name: str) -> None:
    row = _row_of_name(connection, project, name)
    if row is not None:
        raise Conflict(f"case name '{name}': in use in this project; take another one", _case(row))


def _row_of_name(connection: sqlite3.Connection, project: str, name: str) -> sqlite3.Row | None:
    found: sqlite3.Row | None = connection.execute(
        f"{_SELECT} WHERE cases.project = ? AND cases.name = ?", (project, name)
    ).fetchone()
    return found


# A subquery with its own ORDER BY: group_concat would not promise the order of the channels otherwise.
_SELECT = """
SELECT cases.*, (
    SELECT group_concat(blob, ' ') FROM
        (SELECT blob FROM case_images WHERE case_id = cases.id ORDER BY channel)
) AS images FROM cases
"""


def _case(row: sqlite3.Row) -> Case:
    geometry = Geometry.from_json(from_text(row["geometry"]))
    images = tuple(row["images"].split())
    details = from_text(row["details"])
    return Case(row["id"], row["project"], row["name"], geometry, images, details, row["created"])
