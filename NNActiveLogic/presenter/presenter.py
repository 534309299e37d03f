"""The whole: connection, projects, and the project that is open."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from NNActiveLogic.client.transport import Limits
from NNActiveLogic.client.values import Project
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.answering import DONE, Said, refuse
from NNActiveLogic.presenter.cache import DEFAULT_BYTES
from NNActiveLogic.presenter.connection import Connection, Settings
from NNActiveLogic.presenter.desk import Desk, Preferences
from NNActiveLogic.presenter.events import WAIT_SECONDS
from NNActiveLogic.presenter.lanes import Lanes, LanesLike
from NNActiveLogic.presenter.loader import Start
from NNActiveLogic.presenter.opened import Found, Opened, find
from NNActiveLogic.presenter.projects import Projects
from NNActiveLogic.work import SceneLike

_MEMORY = "memory_mb"
_MB = 1 << 20


class Presenter:
    """The clinician's work. Everything is called on the thread of the windows, and nothing waits there.

    Attributes:
        connection, projects: see there.
        opened: the project that is open, or None.
        preferences: of the clinician.
        notice: why no project is open although one was to be.

    Args:
        scene: views and editor.
        settings: of this computer.
        folder: for unsent answers.
        changed: called when something else is to be shown; may be called often, so gather the calls.
        lanes: threads; tests bring their own.
        clock: seconds that only grow.
        limits: time and size of every call to the server.
        wait: seconds of one poll for events.
    """

    def __init__(
        self,
        scene: SceneLike,
        settings: Settings,
        folder: Path,
        changed: Callable[[], None],
        *,
        lanes: LanesLike | None = None,
        clock: Callable[[], float] = time.monotonic,
        limits: Limits | None = None,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self.preferences = Preferences(cache_bytes=_memory(settings))
        self.opened: Opened | None = None
        self.notice = ""
        self.lanes: LanesLike = lanes or Lanes()
        self._scene, self._settings, self._folder, self._changed = scene, settings, folder, changed
        self._clock, self._wait = clock, wait
        self._wanted = ""
        self._drafts: dict[tuple[str, str], dict[str, Start]] = {}
        self.connection = Connection(self.lanes, settings, changed, clock=clock, limits=limits)
        self.projects = Projects(self.connection, self.lanes, changed)
        self.connection.connected.append(self._connected)
        self.connection.regained.append(self._regained)

    @property
    def opening(self) -> bool:
        """Whether a project is on its way."""
        return bool(self._wanted) and self.opened is None and not self.notice

    @property
    def memory(self) -> int:
        """MB that voxels loaded ahead may take; the image on the screen is kept by the views once more."""
        return self.preferences.cache_bytes // _MB

    def set_memory(self, megabytes: int) -> None:
        """Allow so much from now on, also after a restart."""
        self._settings.set(_MEMORY, str(megabytes))
        self.preferences.cache_bytes = megabytes * _MB
        if self.opened is not None:
            self.opened.session.set_memory(self.preferences.cache_bytes)

    def tick(self) -> None:
        """To be called every few hundredths of a second: results arrive here."""
        self.lanes.drain()
        self.connection.tick()
        if self.opened is not None:
            self.opened.tick()

    def open(self, project: str) -> Said:
        """Open a project; the one that is open is closed."""
        client = self.connection.client
        if client is None:
            return refuse(words.NOT_CONNECTED)
        person, folder = self.connection.name, self._folder
        self.close_project()
        self._wanted, self.notice = project, ""

        def failed(problem: Exception) -> None:
            self.connection.failed(problem)
            self.notice = str(problem)
            self._changed()

        self.lanes.submit(
            "disk", lambda _: find(client, project, person, folder), done=self._found, failed=failed
        )
        return DONE

    def close_project(self) -> None:
        """Close the project; what is unsent stays on the disk, what is drawn is there again afterwards."""
        self._wanted = ""
        if self.opened is not None:
            outbox = self.opened.desk.outbox
            self.opened.close()
            self.opened = None
            # After what was to be kept before, and after what is just being sent.
            self.lanes.submit("disk", lambda _: None, done=lambda _: self._close_outbox(outbox.close))
            self._changed()

    def change_project(self, project: Project) -> None:
        """The settings of the open project have changed."""
        if self.opened is not None and self.opened.project.id == project.id:
            self.opened.desk = replace(self.opened.desk, project=project)
            self._changed()

    def close(self, seconds: float = 2.0) -> bool:
        """The program ends: leases are given back if the server answers, and every thread stops."""
        if self.opened is not None:
            self.opened.close()
        ended = self.lanes.close(seconds)
        if self.connection.client is not None:
            self.connection.client.close()
        if self.opened is not None and ended:
            self.opened.desk.outbox.close()
        self.opened = None
        return ended

    def _close_outbox(self, close: Callable[[], None]) -> None:
        self.lanes.submit("post", lambda _: close())

    def _found(self, found: Found) -> None:
        client = self.connection.client
        if found.project.id != self._wanted or client is None:
            self._close_outbox(found.outbox.close)
            return
        desk = Desk(
            client=client,
            project=found.project,
            person=self.connection.name,
            outbox=found.outbox,
            connection=self.connection,
            lanes=self.lanes,
            scene=self._scene,
            preferences=self.preferences,
            changed=self._changed,
            clock=self._clock,
            drafts=self._drafts.setdefault((found.project.id, self.connection.name), {}),
        )
        self.opened = Opened(desk, found, self._wait)
        self._changed()

    def _connected(self) -> None:
        """Another server or person: what was open belongs to the one before."""
        wanted = self._wanted
        self.close_project()
        self.projects.list()
        if wanted:
            self.open(wanted)

    def _regained(self) -> None:
        if self.opened is not None:
            self.opened.regained()
        elif self._wanted:
            self.open(self._wanted)


def _memory(settings: Settings) -> int:
    """Bytes for voxels loaded ahead, as chosen on this computer."""
    chosen = settings.get(_MEMORY) or ""
    return int(chosen) * _MB if chosen.isdecimal() else DEFAULT_BYTES
