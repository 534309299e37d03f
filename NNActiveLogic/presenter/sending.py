"""Answers on their way: kept on the disk, sent in the background, disputed ones decided by the clinician."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from NNActiveLogic.client.answers import Answer
from NNActiveLogic.client.api import Client
from NNActiveLogic.client.outbox import Counts, Entry, Outbox, Report
from NNActiveLogic.client.values import Patch
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.desk import Desk

_SECONDS = 2.0
Snapshot = tuple[int, tuple[Entry, ...]]


class Sending:
    """The outbox as seen from the windows: what is shown comes from memory, what is done goes to a thread.

    Attributes:
        sent: called with each answer the server took and the patch as it is now.
        parked: called with each answer that waits for a decision from now on.

    Args:
        desk: of the project.
        entries: what is in the outbox.
    """

    def __init__(self, desk: Desk, entries: Sequence[Entry]) -> None:
        self.sent: list[Callable[[Entry, Patch], None]] = []
        self.parked: list[Callable[[Entry], None]] = []
        self.problem = ""
        self._desk = desk
        self._entries = tuple(entries)
        self._sender = _Sender(desk.client)
        self._lock = threading.Lock()
        self._taken = self._shown = 0
        self._periodic = desk.lanes.every(
            "post", _SECONDS, lambda: self._flush(now=False), done=self._flushed, failed=self._broken
        )

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything that is not sent, oldest first."""
        return self._entries

    @property
    def patches(self) -> frozenset[str]:
        """Patches with an answer that is not sent."""
        return frozenset(entry.patch for entry in self._entries)

    @property
    def counts(self) -> Counts:
        """How many answers wait to be sent, and how many for a decision."""
        parked = sum(entry.parked for entry in self._entries)
        return Counts(len(self._entries) - parked, parked)

    @property
    def sentence(self) -> str:
        """For the indicator."""
        counts = self.counts
        parts = []
        if counts.waiting:
            parts.append(words.count(counts.waiting, words.ONE_UNSENT, words.SOME_UNSENT))
        if counts.parked:
            parts.append(words.count(counts.parked, words.ONE_DECISION, words.SOME_DECISIONS))
        if self.problem:
            parts.append(self.problem)
        return " ".join(parts) or words.say(words.ALL_SENT)

    def newest(self, patch: str, reading: int = 1) -> Entry | None:
        """The newest unsent answer to a patch."""
        mine = [entry for entry in self._entries if (entry.patch, entry.reading) == (patch, reading)]
        return mine[-1] if mine else None

    def put(
        self,
        patch: Patch,
        answer: Answer,
        reading: int,
        *,
        done: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Keep an answer; `done` is called when it is on the disk, and then it is sent by itself."""
        outbox = self._desk.outbox

        def keep() -> Snapshot:
            # In this order: an answer that has just been sent is either still in the box or already noted.
            following = outbox.next_revision(patch.id, patch.revision)
            outbox.put(patch.id, answer, max(following, self._sender.revision(patch.id)), reading)
            return self._snapshot()

        def kept(snapshot: Snapshot) -> None:
            self._show(snapshot)
            self.flush()
            done()

        self._desk.lanes.submit("disk", lambda _: keep(), done=kept, failed=failed)

    def flush(self, now: bool = False) -> None:
        """Send soon; with `now` also what would wait a while after a failure."""
        self._desk.lanes.submit("post", lambda _: self._flush(now), done=self._flushed, failed=self._broken)

    def keep_mine(self, entry: int) -> None:
        """Send a disputed answer after all."""
        found = self._find(entry)
        if found is not None:
            self._decide(lambda: self._resend(found))

    def take_theirs(self, entry: int) -> None:
        """Give a disputed answer up."""
        found = self._find(entry)
        if found is not None:
            self._decide(lambda: self._desk.outbox.discard(found))

    def stop(self) -> None:
        """Send nothing any more; what is unsent stays on the disk."""
        self._periodic.cancel()

    def _find(self, entry: int) -> Entry | None:
        return next((one for one in self._entries if one.id == entry and one.parked), None)

    def _decide(self, work: Callable[[], None]) -> None:
        def decided() -> Snapshot:
            work()
            return self._snapshot()

        def done(snapshot: Snapshot) -> None:
            self._show(snapshot)
            self.flush(now=True)

        # On the lane of the network: one of the two may have to ask the server.
        self._desk.lanes.submit("post", lambda _: decided(), done=done, failed=self._broken)

    def _resend(self, entry: Entry) -> None:
        outbox: Outbox = self._desk.outbox
        if not entry.conflict or entry.reading != 1:
            outbox.resend(entry)
        elif isinstance(entry.theirs, Mapping) and isinstance(entry.theirs.get("revision"), int):
            outbox.resend(entry, entry.theirs["revision"])
        else:
            outbox.resend(entry, self._desk.client.patch(entry.patch).revision)

    def _flush(self, now: bool) -> tuple[Report, Snapshot]:
        report = self._desk.outbox.flush(self._sender, now)
        return report, self._snapshot()

    def _flushed(self, result: tuple[Report, Snapshot]) -> None:
        report, snapshot = result
        self.problem = ""
        self._show(snapshot)
        for entry, patch in report.sent:
            for told in self.sent:
                told(entry, patch)
        for entry in report.parked:
            for asked in self.parked:
                asked(entry)
        if report.problem is not None:
            self._desk.connection.failed(report.problem)

    def _broken(self, problem: Exception) -> None:
        if not self._desk.connection.failed(problem):
            self.problem = str(problem)
            self._desk.changed()

    def _snapshot(self) -> Snapshot:
        with self._lock:
            self._taken += 1
            return self._taken, self._desk.outbox.entries()

    def _show(self, snapshot: Snapshot) -> None:
        # Snapshots of two threads may arrive in the other order than they were taken.
        number, entries = snapshot
        if number > self._shown:
            same = [(one.id, one.parked) for one in entries] == [(e.id, e.parked) for e in self._entries]
            self._shown, self._entries = number, entries
            if not same:
                self._desk.changed()


class _Sender:
    """A client that notes which revision each patch has got, before the outbox forgets the answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._revisions: dict[str, int] = {}

    def revision(self, patch: str) -> int:
        """The newest revision known from a reply; 0 without one."""
        return self._revisions.get(patch, 0)

    def send_answer(
        self, patch: str, body: Mapping[str, Any], revision: int, key: str | None, attempts: int | None
    ) -> Patch:
        """Answer a patch."""
        reply = self._client.send_answer(patch, body, revision, key, attempts)
        # Not `reply.revision`: somebody may have gone on from ours, and that has to be noticed.
        self._revisions[patch] = max(self.revision(patch), revision + 1)
        return reply

    def send_second_reading(
        self, patch: str, body: Mapping[str, Any], key: str | None, attempts: int | None
    ) -> Patch:
        """Read a patch a second time."""
        return self._client.send_second_reading(patch, body, key, attempts)
