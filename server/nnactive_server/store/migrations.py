"""Brings a database file to the newest version, one migration a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from nnactive_server.core.errors import StoreError

APPLICATION_ID = 0x4E4E4163
"""Marks a SQLite file as ours: `NNAc`."""


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> int:
    """Apply the migrations that are missing.

    Several processes may do this at the same time: the version is read again inside each transaction.

    Args:
        connection: in autocommit mode.
        path: of the database file, for messages.
        migrations: SQL that leads from version n to n + 1.

    Returns:
        The version, `len(migrations)`.

    Raises:
        StoreError: the file belongs to another program, or to a newer version of this one.
        sqlite3.Error: a migration failed; the file has the version before it.
    """
    _check_owner(connection, path)
    while version(connection, path, len(migrations)) < len(migrations):
        _step(connection, path, migrations)
    return len(migrations)


def version(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    """The version of the file; raises StoreError when it is newer than `newest`."""
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > newest:
        raise StoreError(
            f"{path}: written by a newer version (schema {found}, this one knows up to {newest}); "
            "update nnactive-server, or open another folder"
        )
    return found


def _step(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = version(connection, path, len(migrations))
        for statement in _statements("".join(migrations[done : done + 1])):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {min(done + 1, len(migrations))}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _check_owner(connection: sqlite3.Connection, path: Path) -> None:
    # One statement, so one view: another process may be making the file at this moment.
    owner, tables = connection.execute(
        "SELECT application_id, (SELECT count(*) FROM sqlite_master) FROM pragma_application_id"
    ).fetchone()
    if owner != APPLICATION_ID and (owner or tables):
        raise StoreError(f"{path}: a database of another program; move it away, or choose another folder")


def _statements(script: str) -> Iterator[str]:
    """Single statements; `executescript` would commit before and after each script."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
