"""Projects: a name and settings; their images and models lie in a plain folder that the caller keeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnactive_server.core.errors import Conflict, NotFound
from nnactive_server.store.database import Database
from nnactive_server.store.events import emit
from nnactive_server.store.ids import new_id
from nnactive_server.store.texts import from_text, name_of, to_text


@dataclass(frozen=True, slots=True)
class Project:
    """A project.

    Attributes:
        id: opaque.
        name: for people; no two projects share one, whatever the case of its letters.
        settings: plain JSON values, checked by the caller.
        revision: of name and settings, from 1.
        created: seconds since 1970.
        changed: likewise, of the last change of name or settings.
    """

    id: str
    name: str
    settings: Mapping[str, Any]
    revision: int
    created: float
    changed: float


class Projects:
    """The projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, settings: Mapping[str, Any]) -> Project:
        """A new project.

        Raises:
            InvalidInput: not a usable name, or settings that are no JSON.
            Conflict: the name is taken; carries that project.
        """
        now, project = self._database.now(), new_id()
        values = (project, name_of(name, "project name"), to_text(settings, "project settings"), now, now)
        with self._database.write() as connection:
            _check_free(connection, name, project)
            connection.execute(
                "INSERT INTO projects (id, name, settings, revision, created, changed)"
                " VALUES (?, ?, ?, 1, ?, ?)",
                values,
            )
            emit(connection, now, project, "project.created", project, {"name": name})
            return find_project(connection, project)

    def get(self, project: str) -> Project:
        """A project by id; raises NotFound."""
        with self._database.read() as connection:
            return find_project(connection, project)

    def list(self) -> tuple[Project, ...]:
        """All projects, oldest first."""
        with self._database.read() as connection:
            return tuple(_project(row) for row in connection.execute("SELECT * FROM projects ORDER BY id"))

    def count(self) -> int:
        """How many there are."""
        with self._database.read() as connection:
            return int(connection.execute("SELECT count(*) FROM projects").fetchone()[0])

    def change(
        self,
        project: str,
        expected_revision: int,
        settings: Mapping[str, Any],
        name: str | None = None,
    ) -> Project:
        """Replace the settings and, when one is given, the name.

        Raises:
            Conflict: somebody changed them meanwhile, or the name is taken; carries the present project.
            InvalidInput, NotFound: see `create`, `get`.
        """
        now, text = self._database.now(), to_text(settings, "project settings")
        with self._database.write() as connection:
            known = find_project(connection, project)
            if known.revision != expected_revision:
                raise Conflict(
                    f"project {project}: changed meanwhile (revision {known.revision}, not "
                    f"{expected_revision}); read it again and repeat the change",
                    known,
                )
            name = known.name if name is None else name_of(name, "project name")
            _check_free(connection, name, project)
            connection.execute(
                "UPDATE projects SET name = ?, settings = ?, revision = revision + 1, changed = ?"
                " WHERE id = ?",
                (name, text, now, project),
            )
            emit(connection, now, project, "project.changed", project, {"revision": known.revision + 1})
            return find_project(connection, project)


def find_project(connection: sqlite3.Connection, project: str) -> Project:
    """A project, in the caller's transaction; raises NotFound."""
    row = connection.execute("SELECT * FROM projects WHERE id = ?", (project,)).fetchone()
    if row is None:
        raise NotFound(f"project {project[:80]}: there is none of this id")
    return _project(row)


def _check_free(connection: sqlite3.Connection, name: str, project: str) -> None:
    row = connection.execute("SELECT * FROM projects WHERE name = ? AND id != ?", (name, project)).fetchone()
    if row is not None:
        raise Conflict(f"project name '{name}': in use; take another one", _project(row))


def _project(row: sqlite3.Row) -> Project:
    settings = from_text(row["settings"])
    return Project(row["id"], row["name"], settings, row["revision"], row["created"], row["changed"])
