"""The SQLite file behind the outbox: made, opened, refused."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from NNActiveLogic.client.errors import OutboxError

VERSION = 1
_APPLICATION = 0x4E4E4F42  # "NNOB", so that another program's file is not taken for ours
_TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE entries ("
    "id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, patch TEXT NOT NULL, "
    "reading INTEGER NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL, created REAL NOT NULL, "
    "state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'parked')), "
    "conflict INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', theirs TEXT)",
    "CREATE INDEX entries_of_patch ON entries (patch, reading, id)",
)


def outbox_path(folder: Path, server: str, project: str, person: str) -> Path:
    """Where the unsent answers of a person to a project lie; the name tells nothing about either."""
    name = hashlib.sha256("\0".join((server.rstrip("/"), project, person)).encode()).hexdigest()[:32]
    return folder / f"{name}.outbox"


def open_outbox(path: Path, owner: Mapping[str, str]) -> sqlite3.Connection:
    """Open the file, or make it; readable for this user only.

    Args:
        path: of the file.
        owner: what the file must belong to; stored in a new one.

    Raises:
        OutboxError: it belongs to something else, is of a newer version, is damaged, or cannot be written.
    """
    with readable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made with these rights from the start, instead of being open to others for a moment.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            _check_kind(connection, path)
            # Folders on a network may not have WAL; SQLite then stays with its journal, which is as safe.
            connection.execute("PRAGMA journal_mode = WAL").close()
            connection.execute("PRAGMA synchronous = FULL").close()
            with transaction(connection):
                _make(connection, owner)
            _check_owner(connection, path, owner)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the system into OutboxError."""
    try:
        yield
    except (sqlite3.Error, OSError) as problem:
        raise OutboxError(
            f"The file of unsent answers {path} cannot be used ({problem}).",
            "Check that the disk is not full; otherwise keep the file and tell whoever runs the server.",
        ) from problem


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; on the disk when the block ends well."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A commit that failed for lack of space has been rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    application = _number(connection, "application_id")
    version = _number(connection, "user_version")
    tables = _number(connection, "schema_version")
    if application != _APPLICATION and (application or version or tables):
        raise OutboxError(f"{path} is not a file of unsent answers.", "Move it away; a new one is made.")
    if version > VERSION:
        raise OutboxError(
            f"The unsent answers in {path} were written by a newer version of the extension.",
            "Update the extension; nothing is lost.",
        )


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    with closing(connection.execute(f"PRAGMA {pragma}")) as cursor:
        return int(cursor.fetchone()[0])


def _make(connection: sqlite3.Connection, owner: Mapping[str, str]) -> None:
    if _number(connection, "user_version") == VERSION:
        return
    for statement in _TABLES:
        connection.execute(statement)
    connection.executemany("INSERT INTO meta (name, value) VALUES (?, ?)", sorted(owner.items()))
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _check_owner(connection: sqlite3.Connection, path: Path, owner: Mapping[str, str]) -> None:
    rows = connection.execute("SELECT name, value FROM meta").fetchall()
    stored = {row["name"]: row["value"] for row in rows}
    if stored != dict(owner):
        differing = [name for name in sorted(owner) if stored.get(name) != owner[name]]
        raise OutboxError(
            f"The unsent answers in {path} belong to another {' and '.join(differing)}.",
            "Choose another folder.",
        )
