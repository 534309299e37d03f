"""An opened project with everything that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from NNActiveLogic.client.api import Client
from NNActiveLogic.client.outbox import Entry, Outbox
from NNActiveLogic.client.outbox_file import outbox_path
from NNActiveLogic.client.values import Batch, Case, Event, Patch, Project
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.answering import DONE, Said
from NNActiveLogic.presenter.budget import StartBudget, start_budget
from NNActiveLogic.presenter.desk import Desk
from NNActiveLogic.presenter.disputes import Dispute, disputes
from NNActiveLogic.presenter.events import WAIT_SECONDS, EventFeed
from NNActiveLogic.presenter.exports import Exports
from NNActiveLogic.presenter.incoming import cases_of, files_in
from NNActiveLogic.presenter.looking import Looking
from NNActiveLogic.presenter.progress import ProgressView, progress
from NNActiveLogic.presenter.records import PARTS, Records, Snapshot, read
from NNActiveLogic.presenter.sending import Sending
from NNActiveLogic.presenter.session import Session
from NNActiveLogic.presenter.training import Training
from NNActiveLogic.presenter.uploads import NewCase, Uploads
from NNActiveLogic.presenter.worklist import Filter, Row, rows, shown

_NO_EVENT = 2**53
"""Asking for what came after it tells the number of the newest event."""
HERE = "this computer"
"""Instead of an address, in the file of unsent answers."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was read and opened on a thread."""

    project: Project
    snapshot: Snapshot
    last_event: int
    outbox: Outbox
    entries: tuple[Entry, ...]


def find(client: Client, project: str, person: str, folder: Path) -> Found:
    """Read a project, and open the file of unsent answers; raises ClientError. On a thread."""
    # Before everything else is read, so that no change falls between.
    last = client.events(_NO_EVENT).last
    known = client.project(project)
    snapshot = read(client, project, Snapshot(), PARTS)
    address = client.transport.address
    # The port of a server here, or of a tunnel, changes; the id of a project is never given twice.
    server = HERE if address.loopback else address.url
    outbox = Outbox(outbox_path(folder, server, project, person), server, project, person)
    return Found(known, snapshot, last, outbox, outbox.entries())


class Opened:
    """An opened project.

    Attributes:
        desk: what its parts share.
        records: cases, patches, jobs, statistics.
        sending: unsent answers.
        session: the work on patches.
        training, uploads, looking, exports: see there.
        filter: which rows of the work list are shown.
        sized: somebody decided in this sitting how large the boxes are.

    Args:
        desk: of the project.
        found: what was read.
        wait: seconds of one poll for events.
    """

    def __init__(self, desk: Desk, found: Found, wait: float = WAIT_SECONDS) -> None:
        self.desk = desk
        self.filter = Filter.ALL
        self.sized = False
        self._drawn = False
        self.records = Records(desk, found.snapshot)
        self.sending = Sending(desk, found.entries)
        self.session = Session(desk, self.sending, self.records.find)
        self.training = Training(desk, self.records, self.sending, self._trained)
        self.uploads = Uploads(desk, self._added)
        self.looking = Looking(desk, self.session.loader)
        self.exports = Exports(desk, self.records)
        self._minutes: dict[str, float] = {}
        self._table: tuple[Row, ...] = ()
        self._here = ""
        self._parts: tuple[object, ...] = (None,) * 4
        self._known = frozenset(patch.id for patch in found.snapshot.patches)
        self._feed = EventFeed(desk, found.last_event, self._heard, wait)
        self.sending.sent.append(self._sent)
        self.records.updated.append(self._updated)
        self._updated()
        self._feed.start()

    @property
    def project(self) -> Project:
        """As it was opened."""
        return self.desk.project

    def rows(self, wanted: Filter | None = None) -> tuple[Row, ...]:
        """The work list, by the present filter unless another one is wanted."""
        now, patch = self.records.now, self.session.patch
        here = patch.id if patch is not None else ""
        parts = (now.patches, now.cases, self.sending.entries, self._minutes)
        if here != self._here or any(new is not old for new, old in zip(parts, self._parts, strict=True)):
            # It is drawn often and changes seldom, and a large project has a thousand rows.
            self._table = rows(now.patches, now.cases, self.sending.entries, here, self._minutes)
            self._here, self._parts = here, parts
        return shown(self._table, wanted or self.filter)

    def disputes(self) -> tuple[Dispute, ...]:
        """Answers that wait for a decision."""
        return disputes(self.sending.entries, self.project.labels)

    def progress(self) -> ProgressView:
        """Learning curves, coverage, advice and weak cases."""
        now = self.records.now
        return progress(now.statistics, now.cases, [label.name for label in self.project.labels])

    def budget(self) -> StartBudget:
        """What the start still needs."""
        now = self.records.now
        begun = bool(now.statistics.cycles) or self.training.running
        return start_budget(self.project, now.patches, now.statistics.balance, begun, self._drawn)

    def drawn(self, batch: Batch) -> str:
        """Random boxes were added; what is to be said of it, if anything."""
        self._drawn = True
        self.records.refresh("patches")
        if not batch.missing:
            return ""
        return words.say(words.RANDOM_MISSING, n=len(batch.patches), all=len(batch.patches) + batch.missing)

    def add_folder(self, folder: Path, names: bool) -> Said:
        """Send every image of a folder; asks for consent where images leave this computer."""
        if not self.desk.connection.consent:
            return self.uploads.add([])
        channels = len(self.project.channels)

        def look(_: object) -> tuple[NewCase, ...]:
            return cases_of(files_in(folder), channels, names=names)

        self.desk.lanes.submit("disk", look, done=self._add, failed=self.uploads.refuse)
        return DONE

    def regained(self) -> None:
        """The connection is back."""
        self.sending.flush(now=True)
        self.session.regained()
        self._feed.start()
        self.records.refresh()

    def tick(self) -> None:
        """What is due."""
        self.records.tick()

    def close(self) -> None:
        """Show nothing, lease nothing; what is unsent stays on the disk."""
        self._feed.stop()
        self.sending.stop()
        self.uploads.cancel()
        self.looking.cancel()
        self.exports.cancel()
        self.session.stop()

    def _heard(self, events: Sequence[Event]) -> None:
        self.records.hear(events)
        self.training.hear(events)
        self.records.tick()

    def _trained(self) -> None:
        self.records.refresh()

    def _add(self, cases: tuple[NewCase, ...]) -> None:
        self.uploads.add(cases)

    def _added(self, _: Case) -> None:
        self.records.refresh("cases")

    def _sent(self, entry: Entry, patch: Patch) -> None:
        seconds = entry.body.get("seconds")
        if isinstance(seconds, int | float):
            self._minutes = {**self._minutes, patch.id: seconds / 60}
        self.records.learn(patch)

    def _updated(self) -> None:
        now = self.records.now
        self.session.loader.know(now.cases)
        self.session.newest_models(now.models)
        known = frozenset(patch.id for patch in now.patches)
        if known - self._known:
            self.session.new_patches()
        self._known = known
