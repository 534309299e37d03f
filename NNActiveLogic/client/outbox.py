"""Answers that are not yet with the server: on disk first, sent later, in order, each counted once.

What `put` returned survives a crash, a restart and a week without network. Every entry keeps the
Idempotency-Key it was given, so sending it again after a lost reply makes no second record. An answer that
the server refuses is parked with the server's side, never dropped; answers to other patches go on.
"""

from __future__ import annotations

import json
import math
import random
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from NNActiveLogic.client.answers import Answer
from NNActiveLogic.client.errors import (
    ClientError,
    Conflict,
    Forbidden,
    NotAuthorised,
    OutboxError,
    Refused,
    ServerProblem,
)
from NNActiveLogic.client.outbox_file import open_outbox, readable, transaction
from NNActiveLogic.client.values import Patch

_BUSY = (408, 425, 429, 503, 507)
"""The server as a whole cannot take anything now; other errors may be about one answer."""
_LONGEST_PAUSE = 60.0


class Sender(Protocol):
    """What of a `Client` the outbox uses."""

    def send_answer(
        self, patch: str, body: Mapping[str, Any], revision: int, key: str | None, attempts: int | None
    ) -> Patch:
        """Answer a patch."""

    def send_second_reading(
        self, patch: str, body: Mapping[str, Any], key: str | None, attempts: int | None
    ) -> Patch:
        """Read a patch a second time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer in the box.

    Attributes:
        id: grows with each entry.
        key: Idempotency-Key.
        patch: id.
        reading: 1, or 2 for a second reading.
        revision: of the patch, as the annotator had seen it.
        body: what was said, as it is sent.
        created: seconds since 1970.
        parked: it waits for a decision: `resend` or `discard`.
        conflict: the reason is that somebody else's answer came first.
        reason: why it is parked, for people.
        theirs: the server's side of a conflict.
    """

    id: int
    key: str
    patch: str
    reading: int
    revision: int
    body: Mapping[str, Any] = field(repr=False, hash=False)
    created: float
    parked: bool = False
    conflict: bool = False
    reason: str = ""
    theirs: Any = field(default=None, repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many answers wait to be sent, and how many for a decision."""

    waiting: int
    parked: int


@dataclass(frozen=True, slots=True)
class Report:
    """What one round of sending did; `problem` is what ended it before its end."""

    sent: tuple[tuple[Entry, Patch], ...] = ()
    parked: tuple[Entry, ...] = ()
    problem: ClientError | None = None


class Outbox:
    """The unsent answers of one person to one project. May be used from several threads.

    Args:
        path: of the file, see `outbox_path`.
        server: address.
        project: id.
        person: name behind the token: nobody's answers are sent under another name.
        clock: seconds that only grow.

    Raises:
        OutboxError: see `open_outbox`.
    """

    def __init__(
        self,
        path: Path,
        server: str,
        project: str,
        person: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        owner = {"server": server.rstrip("/"), "project": project, "person": person}
        self._connection = open_outbox(path, owner)
        self._lock = threading.RLock()
        self._sending = threading.Lock()
        self._clock = clock
        self._delays: dict[int, _Delay] = {}
        self._delay = _Delay()

    def close(self) -> None:
        """Close the file; what is in it stays."""
        with self._lock, readable(self.path):
            self._connection.close()

    def put(self, patch: str, answer: Answer, revision: int, reading: int = 1) -> Entry:
        """Keep an answer; it is on the disk when this returns.

        Args:
            patch: id.
            answer: what is said.
            revision: of the patch as seen; `next_revision` counts unsent answers in.
            reading: 2 for a second reading.

        Raises:
            OutboxError: it could not be written; the answer is not kept.
        """
        if reading not in (1, 2):
            raise ValueError(f"reading: 1 or 2, got {reading}")
        key, body, now = str(uuid.uuid4()), json.dumps(answer.to_json(), allow_nan=False), time.time()
        with self._change():
            cursor = self._connection.execute(
                "INSERT INTO entries (key, patch, reading, revision, body, created) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (key, patch, reading, revision, body, now),
            )
            number = cursor.lastrowid or 0
        return Entry(number, key, patch, reading, revision, json.loads(body), now)

    def next_revision(self, patch: str, known: int) -> int:
        """The revision that a further answer to a patch builds on; `known` is the server's, as last seen."""
        entries = [entry for entry in self.entries() if entry.patch == patch and entry.reading == 1]
        return max([known, *(entry.revision + 1 for entry in entries)])

    def entries(self) -> tuple[Entry, ...]:
        """Everything in the box, oldest first."""
        with self._lock, readable(self.path):
            rows = self._connection.execute("SELECT * FROM entries ORDER BY id").fetchall()
        return tuple(_entry(row) for row in rows)

    def counts(self) -> Counts:
        """For the indicator; an answer that stands behind a parked one counts as waiting."""
        with self._lock, readable(self.path):
            rows = self._connection.execute("SELECT state, count(*) FROM entries GROUP BY state").fetchall()
        found = dict(map(tuple, rows))
        return Counts(found.get("waiting", 0), found.get("parked", 0))

    def flush(self, sender: Sender, now: bool = False) -> Report:
        """Send what waits, as far as possible; each answer is attempted at most once.

        Args:
            sender: a client.
            now: also what would wait a while after a failure.

        Returns:
            What was sent and parked, and the problem that ended the round, such as a missing network.
        """
        if not self._sending.acquire(blocking=False):
            return Report()
        try:
            if now:
                self._delays.clear()
                self._delay = _Delay()
            return self._round(sender) if self._delay.over(self._clock()) else Report()
        finally:
            self._sending.release()

    def resend(self, entry: Entry, revision: int | None = None) -> None:
        """Send a parked answer after all: "mine counts".

        Args:
            entry: a parked one.
            revision: of the patch that the user has looked at meanwhile; answers that build on it move along.

        Raises:
            OutboxError: it is not parked any more.
        """
        shift = 0 if revision is None else revision - entry.revision
        # The server may have kept its refusal under the old key.
        values = (str(uuid.uuid4()), entry.id)
        with self._change():
            done = self._connection.execute(
                "UPDATE entries SET state = 'waiting', conflict = 0, reason = '', theirs = NULL, key = ? "
                "WHERE id = ? AND state = 'parked'",
                values,
            ).rowcount
            if not done:
                raise OutboxError("This answer is not waiting for a decision any more.")
            self._connection.execute(
                "UPDATE entries SET revision = revision + ? WHERE patch = ? AND reading = ? AND id >= ?",
                (shift, entry.patch, entry.reading, entry.id),
            )

    def discard(self, entry: Entry) -> None:
        """Give up a parked answer: "theirs counts". Answers that were built on it are parked in its place.

        Raises:
            OutboxError: it is not parked any more.
        """
        theirs = None if entry.theirs is None else json.dumps(entry.theirs)
        reason = "It was built on an answer of yours that was given up."
        with self._change():
            # Their revision number may be the one that the next answer expects: it must not be sent unseen.
            self._connection.execute(
                "UPDATE entries SET state = 'parked', conflict = ?, reason = ?, theirs = ? "
                "WHERE patch = ? AND reading = ? AND id > ?",
                (entry.conflict, reason, theirs, entry.patch, entry.reading, entry.id),
            )
            done = self._connection.execute(
                "DELETE FROM entries WHERE id = ? AND state = 'parked'", (entry.id,)
            ).rowcount
            if not done:
                raise OutboxError("This answer is not waiting for a decision any more.")

    def _round(self, sender: Sender) -> Report:
        sent: list[tuple[Entry, Patch]] = []
        parked: list[Entry] = []
        tried: set[int] = set()
        while (entry := self._next(tried)) is not None:
            tried.add(entry.id)
            try:
                patch = _send(sender, entry)
            except (NotAuthorised, Forbidden) as problem:
                return self._ended(sent, parked, problem)
            except Refused as problem:
                parked.append(self._park(entry, problem))
            except ServerProblem as problem:
                if problem.status in _BUSY:
                    return self._ended(sent, parked, problem)
                self._delays.setdefault(entry.id, _Delay()).failed(self._clock())
            except ClientError as problem:
                return self._ended(sent, parked, problem)
            else:
                self._remove(entry)
                sent.append((entry, patch))
        self._delay = _Delay()
        return Report(tuple(sent), tuple(parked))

    def _ended(self, sent: list[tuple[Entry, Patch]], parked: list[Entry], problem: ClientError) -> Report:
        self._delay.failed(self._clock())
        return Report(tuple(sent), tuple(parked), problem)

    def _next(self, tried: set[int]) -> Entry | None:
        """The oldest answer that nothing stands in front of."""
        with self._lock, readable(self.path):
            rows = self._connection.execute(
                "SELECT * FROM entries WHERE state = 'waiting' AND id IN "
                "(SELECT min(id) FROM entries GROUP BY patch, reading) ORDER BY id"
            ).fetchall()
        now = self._clock()
        for row in rows:
            delay = self._delays.get(row["id"])
            if row["id"] not in tried and (delay is None or delay.over(now)):
                return _entry(row)
        return None

    def _remove(self, entry: Entry) -> None:
        self._delays.pop(entry.id, None)
        with self._change():
            self._connection.execute("DELETE FROM entries WHERE id = ?", (entry.id,))

    def _park(self, entry: Entry, problem: Refused) -> Entry:
        conflict = isinstance(problem, Conflict)
        theirs = problem.current if isinstance(problem, Conflict) else None
        with self._change():
            self._connection.execute(
                "UPDATE entries SET state = 'parked', conflict = ?, reason = ?, theirs = ? WHERE id = ?",
                (conflict, str(problem), None if theirs is None else json.dumps(theirs), entry.id),
            )
            row = self._connection.execute("SELECT * FROM entries WHERE id = ?", (entry.id,)).fetchone()
        return _entry(row)

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._lock, readable(self.path), transaction(self._connection):
            yield


class _Delay:
    """A pause that grows with each failure in a row."""

    def __init__(self) -> None:
        self._failures = 0
        self._until = -math.inf

    def over(self, now: float) -> bool:
        """Whether it may be tried again."""
        return now >= self._until

    def failed(self, now: float) -> None:
        """Note a failure."""
        self._failures += 1
        self._until = now + random.uniform(0.5, 1) * min(_LONGEST_PAUSE, 2.0 ** min(self._failures, 10))


def _send(sender: Sender, entry: Entry) -> Patch:
    # One attempt each: the pauses between attempts are the outbox's own.
    if entry.reading == 2:
        return sender.send_second_reading(entry.patch, entry.body, key=entry.key, attempts=1)
    return sender.send_answer(entry.patch, entry.body, entry.revision, key=entry.key, attempts=1)


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        id=row["id"],
        key=row["key"],
        patch=row["patch"],
        reading=row["reading"],
        revision=row["revision"],
        body=json.loads(row["body"]),
        created=row["created"],
        parked=row["state"] == "parked",
        conflict=bool(row["conflict"]),
        reason=row["reason"],
        theirs=None if row["theirs"] is None else json.loads(row["theirs"]),
    )
