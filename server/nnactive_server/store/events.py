"""What happened, numbered: clients read on from the last number they have seen.

An event is written in the transaction of the change it tells of, so neither is ever there without the other.
Numbers follow the order of the commits and are never used twice. Events are kept; only a job's older progress
makes room for the newer one, so numbers may be missing.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from nnactive_server.store.database import Database
from nnactive_server.store.texts import from_text, to_text

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.1
_actor: ContextVar[str | None] = ContextVar("actor", default=None)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        seq: number, growing.
        at: seconds since 1970.
        project: id; None for what belongs to no project.
        kind: e.g. `answer.recorded`, `job.running`.
        subject: id of the thing it happened to.
        payload: plain JSON values; `by` is the name of whoever caused it, where somebody did.
    """

    seq: int
    at: float
    project: str | None
    kind: str
    subject: str
    payload: Mapping[str, Any]


@contextmanager
def acting(name: str) -> Iterator[None]:
    """Events of this task, and of the threads it calls, tell that this person or program caused them."""
    before = _actor.set(name)
    try:
        yield
    finally:
        _actor.reset(before)


def emit(
    connection: sqlite3.Connection,
    at: float,
    project: str | None,
    kind: str,
    subject: str,
    payload: Mapping[str, Any],
) -> int:
    """Write an event in the caller's transaction; returns its number."""
    by = _actor.get()
    if by is not None:
        payload = {**payload, "by": by}
    cursor = connection.execute(
        "INSERT INTO events (at, project, kind, subject, payload) VALUES (?, ?, ?, ?, ?)",
        (at, project, kind, subject, to_text(payload, f"event {kind}")),
    )
    return int(cursor.lastrowid or 0)


def forget(connection: sqlite3.Connection, kind: str, subject: str) -> None:
    """Remove events that newer ones of the same kind and subject stand for."""
    connection.execute("DELETE FROM events WHERE subject = ? AND kind = ?", (subject, kind))


class Events:
    """Reading and waiting for events."""

    def __init__(self, database: Database, watcher: Watcher) -> None:
        self._database = database
        self._watcher = watcher

    def last(self) -> int:
        """Number of the newest event; 0 before the first."""
        with self._database.read() as connection:
            return int(connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])

    def after(self, seq: int, limit: int = 100, project: str | None = None) -> tuple[Event, ...]:
        """Events with larger numbers, ascending; of one project, or of all.

        Args:
            seq: the last number the caller has seen; 0 for all.
            limit: at most so many.
            project: id, or None.
        """
        mine = " AND project = :project" if project is not None else ""
        query = f"SELECT * FROM events WHERE seq > :seq{mine} ORDER BY seq LIMIT :limit"
        with self._database.read() as connection:
            rows = connection.execute(query, {"seq": seq, "limit": limit, "project": project})
            return tuple(_event(row) for row in rows)

    def wait(
        self, seq: int, seconds: float, limit: int = 100, project: str | None = None
    ) -> tuple[Event, ...]:
        """As `after`, but waits until there is one; empty when there was none within `seconds`.

        Blocks its thread. A server with many waiting clients uses `subscribe` instead.
        """
        committed = threading.Event()
        stop = self.subscribe(committed.set)
        try:
            deadline = time.monotonic() + seconds
            while True:
                # Cleared before reading: a commit after the read sets it again.
                committed.clear()
                found = self.after(seq, limit, project)
                left = deadline - time.monotonic()
                if found or left <= 0:
                    return found
                committed.wait(left)
        finally:
            stop()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after commits of any process; returns what ends it. See `Watcher`."""
        return self._watcher.subscribe(listener)


class Watcher:
    """Notices commits of this process and of others, and tells listeners.

    One thread compares SQLite's `data_version` (https://sqlite.org/pragma.html#pragma_data_version), which
    costs a look into shared memory; commits of this process wake it at once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: set[Callable[[], None]] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        database.on_commit.append(self._wake.set)

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have `listener` called after commits, on the watcher's thread, soon and at least once.

        It may also be called without a commit, must return quickly, and is dropped when it raises
        RuntimeError, as `call_soon_threadsafe` of a closed asyncio loop does.

        Returns:
            A function that ends the subscription; a call that is under way may still come.
        """
        with self._lock:
            self._listeners.add(listener)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._watch, name="store-watcher", daemon=True)
                self._thread.start()
        self._wake.set()
        return lambda: self._drop(listener)

    def close(self) -> None:
        """Stop the thread."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        self._wake.set()
        if thread is not None:
            thread.join()

    def _drop(self, listener: Callable[[], None]) -> None:
        with self._lock:
            self._listeners.discard(listener)

    def _watch(self) -> None:
        connection: sqlite3.Connection | None = None
        seen: int | None = None
        while not self._closed:
            self._wake.wait(_POLL_SECONDS if self._listeners else None)
            self._wake.clear()
            try:
                connection = connection or self._database.connect()
                version = int(connection.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error as problem:
                _log.warning("%s: cannot be watched (%s); trying again", self._database.path, problem)
                # Keeps a failing disk from turning this into a busy loop.
                time.sleep(_POLL_SECONDS)
                continue
            if version != seen:
                seen = version
                self._tell()
        if connection is not None:
            connection.close()

    def _tell(self) -> None:
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            try:
                listener()
            except RuntimeError as problem:
                _log.info("a listener of the store is gone (%s)", problem)
                self._drop(listener)


def _event(row: sqlite3.Row) -> Event:
    return Event(
        row["seq"], row["at"], row["project"], row["kind"], row["subject"], from_text(row["payload"])
    )
