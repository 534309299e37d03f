"""What is known of an opened project: cases, patches, jobs, statistics; read again when they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from NNActiveLogic.client.api import Client
from NNActiveLogic.client.statistics import Statistics
from NNActiveLogic.client.values import Case, Event, Job, Patch
from NNActiveLogic.presenter.desk import Desk

PARTS = ("cases", "patches", "jobs", "statistics")
_CONCERNS = {
    "answer": ("patches", "statistics", "cases"),
    "patch": ("patches", "cases"),
    "batch": ("patches", "cases", "statistics"),
    "lease": ("patches",),
    "case": ("cases",),
    "job": ("jobs",),
}
"""Parts to be read again, by the first word of an event's kind."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the server said."""

    cases: tuple[Case, ...] = ()
    patches: tuple[Patch, ...] = ()
    jobs: tuple[Job, ...] = ()
    statistics: Statistics = field(default_factory=lambda: Statistics((), {}, {}))

    @property
    def models(self) -> tuple[str, ...]:
        """Versions of the models, oldest first."""
        return tuple(cycle.model for cycle in self.statistics.cycles if cycle.model is not None)


def read(client: Client, project: str, before: Snapshot, parts: Iterable[str]) -> Snapshot:
    """These parts anew; raises ClientError."""
    readers: dict[str, Callable[[str], object]] = {name: getattr(client, name) for name in PARTS}
    return replace(before, **{name: readers[name](project) for name in parts})  # type: ignore[arg-type]


class Records:
    """The newest snapshot, and what of it is out of date.

    Attributes:
        updated: called after each reading.

    Args:
        desk: of the project.
        now: what was read when it was opened.
    """

    def __init__(self, desk: Desk, now: Snapshot) -> None:
        self.updated: list[Callable[[], None]] = []
        self.now = now
        self._desk = desk
        self._old: set[str] = set()
        self._reading = False

    def find(self, patch: str) -> Patch | None:
        """A patch."""
        return next((one for one in self.now.patches if one.id == patch), None)

    def learn(self, patch: Patch) -> None:
        """A patch as the server has just shown it."""
        self.now = replace(
            self.now, patches=tuple(patch if one.id == patch.id else one for one in self.now.patches)
        )
        self._desk.changed()

    def job_progress(self, job: str, change: Callable[[Job], Job]) -> None:
        """A job as an event has just shown it."""
        self.now = replace(
            self.now, jobs=tuple(change(one) if one.id == job else one for one in self.now.jobs)
        )
        self._desk.changed()

    def hear(self, events: Sequence[Event]) -> None:
        """Something happened."""
        for event in events:
            if event.kind != "job.progress":
                self._old.update(_CONCERNS.get(event.kind.split(".")[0], ()))
            if event.kind == "job.succeeded":
                self._old.update(PARTS)

    def refresh(self, *parts: str) -> None:
        """Read these parts again soon; all unless given."""
        self._old.update(parts or PARTS)
        self.tick()

    def tick(self) -> None:
        """Read what is out of date, one request at a time."""
        if self._reading or not self._old or not self._desk.connection.online:
            return
        parts, self._old, self._reading = sorted(self._old), set(), True
        client, project, before = self._desk.client, self._desk.project.id, self.now

        def failed(problem: Exception) -> None:
            self._reading = False
            if self._desk.connection.failed(problem):
                self._old.update(parts)

        self._desk.lanes.submit(
            "front",
            lambda _: read(client, project, before, parts),
            done=lambda found: self._take(found, parts),
            failed=failed,
        )

    def _take(self, found: Snapshot, parts: Sequence[str]) -> None:
        self._reading = False
        self.now = replace(self.now, **{name: getattr(found, name) for name in parts})
        for callback in [*self.updated]:
            callback()
        self._desk.changed()
