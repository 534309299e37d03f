"""Connections and transactions of the one SQLite file.

Many threads of the web process and several worker processes use the file at once. SQLite in WAL mode lets
everybody read while one writes; `synchronous=FULL` makes a commit survive a power cut. The file must lie
on a disk of this machine: WAL does not work over a network file system (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nnactive_server.core.errors import Busy, NoSpace, StoreError
from nnactive_server.store.migrations import migrate
from nnactive_server.store.schema import MIGRATIONS

Clock = Callable[[], float]
BUSY_SECONDS = 10.0
"""How long a transaction waits for another process."""
_RETRY_SECONDS = 0.01
_SETTINGS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA journal_size_limit = 67108864;
"""


class Database:
    """The SQLite file, with one connection per transaction in progress.

    A thread that opens a transaction inside its own write transaction joins it: what the inner one did
    is undone when it fails, and kept only when the outer one is.

    Args:
        path: of the file; made when it is missing.
        migrations: see `schema.MIGRATIONS`.
        clock: seconds since 1970; another one in tests of what expires.

    Raises:
        StoreError: the file belongs to a newer version or another program, or is damaged.
    """

    def __init__(self, path: Path, migrations: Sequence[str] = MIGRATIONS, clock: Clock = time.time) -> None:
        self.path = path
        self.clock = clock
        self.on_commit: list[Callable[[], None]] = []
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        # SQLite lets waiting writers sleep and poll; threads of one process queue here instead.
        self._turn = threading.Lock()
        self._own = threading.local()
        with self._explained(), self._borrowed() as connection:
            migrate(connection, path, migrations)

    def now(self) -> float:
        """Seconds since 1970 (UTC)."""
        return self.clock()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the database, whatever others write meanwhile."""
        mine = self._writing()
        if mine is not None:
            yield mine
            return
        with self._explained(), self._borrowed() as connection, _transaction(connection, "BEGIN"):
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is on the disk when the block ends well, and leaves no trace otherwise.

        Raises:
            Busy: another process held the database for longer than `BUSY_SECONDS`.
            NoSpace: the disk is full or failing.
            StoreError: any other trouble of the database.
        """
        mine = self._writing()
        if mine is not None:
            with _savepoint(mine):
                yield mine
            return
        with (
            self._explained(),
            self._queued(),
            self._borrowed() as connection,
            _transaction(connection, "BEGIN IMMEDIATE"),
            self._marked(connection),
        ):
            yield connection
        for notify in tuple(self.on_commit):
            notify()

    def connect(self) -> sqlite3.Connection:
        """A connection of one's own, in autocommit mode; the caller closes it."""
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        deadline = time.monotonic() + BUSY_SECONDS
        try:
            while not _prepared(connection, time.monotonic() > deadline):
                time.sleep(_RETRY_SECONDS)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file: damage and rows that refer to nothing; empty when sound."""
        with self.read() as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            loose = connection.execute("PRAGMA foreign_key_check").fetchall()
        return found + [f"{row[0]}: row {row[1]} refers to a missing row of {row[2]}" for row in loose]

    def close(self) -> None:
        """Close what is idle now, and what is in use when its transaction ends."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _writing(self) -> sqlite3.Connection | None:
        """The connection of this thread's write transaction."""
        found: sqlite3.Connection | None = getattr(self._own, "connection", None)
        return found

    @contextmanager
    def _marked(self, connection: sqlite3.Connection) -> Iterator[None]:
        self._own.connection = connection
        try:
            yield
        finally:
            self._own.connection = None

    @contextmanager
    def _queued(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=BUSY_SECONDS):
            raise Busy(f"{self.path}: busy with other writes for {BUSY_SECONDS:g} s; try again")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        if self._closed:
            raise StoreError(f"{self.path}: the store is closed")
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.connect()
        sound = True
        try:
            yield connection
        except sqlite3.Error:
            # Nobody knows what state the connection is in; a new one is cheap.
            sound = False
            raise
        finally:
            if sound and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
            raise
        except sqlite3.Error as problem:
            raise explain(problem, self.path) from problem


def _prepared(connection: sqlite3.Connection, last_try: bool) -> bool:
    """Make the settings; False when another process is just making, recovering or closing the file.

    SQLite does not wait by itself then (https://sqlite.org/wal.html, "Sometimes Queries Return SQLITE_BUSY").
    """
    try:
        for pragma in _SETTINGS.strip().splitlines():
            connection.execute(pragma)
    except sqlite3.OperationalError as problem:
        if last_try or not problem.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise
        return False
    return True


def explain(problem: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's error as one of ours, with what to do."""
    name = getattr(problem, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Busy(f"{path}: locked by another process for {BUSY_SECONDS:g} s; try again")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return NoSpace(f"{path}: cannot be written, the disk is full or failing ({problem}); free some space")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return StoreError(f"{path}: damaged or not a database ({problem}); restore it from a backup")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return StoreError(f"{path}: cannot be opened for writing ({problem}); check owner and permissions")
    return StoreError(f"{path}: {problem}")


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # SQLite rolls back by itself after some errors, among them a full disk.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("SAVEPOINT joined")
    kept = False
    try:
        yield
        kept = True
    finally:
        if connection.in_transaction:
            if not kept:
                connection.execute("ROLLBACK TO joined")
            connection.execute("RELEASE joined")
