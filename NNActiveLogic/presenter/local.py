"""One button: a server on this very computer, found or set up, started, and connected to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from NNActiveLogic.client.worker import Task
from NNActiveLogic.local.errors import Cancelled, LocalError
from NNActiveLogic.local.values import Found, Needs, Progress, Report, Running, Stage, Wish
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.answering import DONE, Said, refuse
from NNActiveLogic.presenter.connection import Settings
from NNActiveLogic.presenter.lanes import Cancellable, LanesLike

LOOK_SECONDS = 2.0
STOP_SECONDS = 60.0
"""A training saves its state before the server ends."""
_LOG_LINES = 200
_LANE, _LOG_LANE = "local", "local log"
_USED = "local"


class LocalState(StrEnum):
    """What goes on with the server on this computer."""

    OFF = "off"
    LOOKING = "looking"
    ASKING = "asking"
    SETTING_UP = "setting up"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


_AT_WORK = frozenset({LocalState.LOOKING, LocalState.SETTING_UP, LocalState.STARTING, LocalState.STOPPING})


@dataclass(frozen=True, slots=True)
class LocalView:
    """What is shown of the server on this computer.

    Attributes:
        state: see `LocalState`.
        sentence: the same for people; what went wrong, and what to do.
        stage: what goes on just now; empty when nothing does.
        fraction: of the whole, 0 to 1; None when nobody knows (show a busy bar) or nothing goes on.
        log: last lines of what set-up or server wrote; see `Local.watch_log`.
        log_file: where all of it is; empty before there is one.
        question: what somebody must agree to before something is downloaded; empty unless asked.
        can_start: the button "Use this computer".
        can_stop: the server runs and may be stopped.
        can_cancel: what goes on may be stopped.
        busy: something goes on.
    """

    state: LocalState
    sentence: str
    stage: str
    fraction: float | None
    log: tuple[str, ...]
    log_file: str
    question: str
    can_start: bool
    can_stop: bool
    can_cancel: bool
    busy: bool


class ServerHere(Protocol):
    """What is used of `NNActiveLogic.local.LocalServer`; see there. All of it may take long."""

    @property
    def log_file(self) -> Path | None:
        """What set-up or server wrote last."""

    def find(self) -> Found | None:
        """A server that is installed."""

    def needs(self) -> Needs:
        """What a set-up takes."""

    def set_up(self, progress: Report, cancelled: Wish) -> Found:
        """Install it."""

    def start(self, progress: Report, cancelled: Wish) -> Running:
        """Start it, or join the one that runs."""

    def alive(self) -> bool:
        """Whether the one we use still runs."""

    def stop(self, seconds: float) -> bool:
        """Use it no more; whether it has ended."""

    def release(self) -> None:
        """Use it no more, without waiting."""

    def tail(self, lines: int) -> tuple[str, ...]:
        """Last lines of the log."""


class ConnectionLike(Protocol):
    """What is used of `Connection`."""

    def connect(self, address: str, token: str, *, own: bool) -> None:
        """Use this server; `own` when the panel started it."""

    def disconnect(self) -> None:
        """Use none."""


class Local:
    """The server on this computer. All is called on the thread of the windows, and nothing waits there.

    `use` is the button. When nothing is installed, `view().question` says what a set-up takes, and
    `agree` answers it. In the end `Connection.connect` is called, whose view tells the rest.

    Args:
        server: does the work.
        connection: is connected in the end.
        lanes: threads.
        settings: of this computer; remembers that this computer was used.
        changed: called when something else is to be shown.
    """

    def __init__(
        self,
        server: ServerHere,
        connection: ConnectionLike,
        lanes: LanesLike,
        settings: Settings,
        changed: Callable[[], None],
    ) -> None:
        self._server, self._connection, self._lanes = server, connection, lanes
        self._settings, self._changed = settings, changed
        self._state, self._sentence = LocalState.OFF, ""
        self._needs: Needs | None = None
        self._progress: Progress | None = None
        self._cancel = threading.Event()
        self._log: tuple[str, ...] = ()
        self._log_watch: Cancellable | None = None
        self._life_watch: Cancellable | None = None

    @property
    def wanted(self) -> bool:
        """Whether this computer was used when Slicer last ran; then `resume` starts it without a question."""
        return self._settings.get(_USED) == "yes"

    def view(self) -> LocalView:
        """What is shown."""
        state, progress = self._state, self._progress
        file = self._server.log_file
        return LocalView(
            state=state,
            sentence=self._say(),
            stage=_stage(progress),
            fraction=progress.fraction if progress else None,
            log=self._log,
            log_file=str(file) if file else "",
            question=_question(self._needs) if self._needs else "",
            can_start=state in (LocalState.OFF, LocalState.FAILED),
            can_stop=state == LocalState.RUNNING,
            can_cancel=state in (LocalState.SETTING_UP, LocalState.STARTING, LocalState.ASKING),
            busy=state in _AT_WORK,
        )

    def use(self) -> Said:
        """The button: find a server here and start it; ask first when one has to be set up."""
        return self._look(ask=True)

    def resume(self) -> Said:
        """As `use`, but never asks: nothing happens when no server is installed."""
        return self._look(ask=False)

    def agree(self, yes: bool = True) -> Said:
        """Somebody answered the question."""
        if self._state != LocalState.ASKING:
            return refuse(words.LOCAL_NO_QUESTION)
        self._needs = None
        if not yes:
            self._become(LocalState.OFF)
            return DONE
        self._begin(LocalState.SETTING_UP, Stage.PYTHON)
        self._work(self._set_up, self._ready)
        return DONE

    def cancel(self) -> None:
        """Stop what goes on; a set-up goes on from there the next time."""
        self._cancel.set()
        if self._state == LocalState.ASKING:
            self.agree(False)
        self._changed()

    def stop(self) -> Said:
        """Use the server no more; it ends unless another Slicer uses it."""
        if self._state != LocalState.RUNNING:
            return refuse(words.LOCAL_NOT_RUNNING)
        self._unwatch()
        self._settings.set(_USED, "no")
        self._connection.disconnect()
        self._end()
        return DONE

    def watch_log(self, on: bool) -> None:
        """Somebody looks at the log, or no longer."""
        if on and self._log_watch is None:
            self._log_watch = self._lanes.every(
                _LOG_LANE,
                1.0,
                lambda: self._server.tail(_LOG_LINES),
                done=self._logged,
                failed=lambda _: None,
            )
        elif not on and self._log_watch is not None:
            self._log_watch.cancel()
            self._log_watch = None

    def close(self) -> None:
        """Slicer ends: whatever goes on is stopped, and the server ends unless another Slicer uses it."""
        self._cancel.set()
        self._unwatch()
        self.watch_log(False)
        self._server.release()

    def _look(self, ask: bool) -> Said:
        if self._state not in (LocalState.OFF, LocalState.FAILED):
            return refuse(words.LOCAL_BUSY)
        self._begin(LocalState.LOOKING, None)

        def look(_: Task[Any]) -> Found | Needs | None:
            return self._server.find() or (self._server.needs() if ask else None)

        self._work(look, self._looked)
        return DONE

    def _looked(self, found: Found | Needs | None) -> None:
        if isinstance(found, Found):
            self._ready(found)
        elif found is None:
            self._become(LocalState.OFF)
        elif not found.enough:
            self._become(LocalState.FAILED, _no_room(found))
        else:
            self._needs = found
            self._become(LocalState.ASKING)

    def _ready(self, _: Found) -> None:
        if self._cancel.is_set():
            self._become(LocalState.OFF, words.say(words.LOCAL_CANCELLED))
            return
        self._begin(LocalState.STARTING, Stage.START)
        self._work(self._start, self._started)

    def _started(self, running: Running) -> None:
        if self._cancel.is_set():
            self._end()
            return
        self._settings.set(_USED, "yes")
        self._become(LocalState.RUNNING)
        self._connection.connect(running.address, running.token, own=running.ours)
        self._life_watch = self._lanes.every(
            _LANE, LOOK_SECONDS, self._last_words, done=self._looked_after, failed=lambda _: None
        )

    def _last_words(self) -> tuple[str, ...] | None:
        """The end of the log when the server has ended; None while it lives."""
        return None if self._server.alive() else self._server.tail(_LOG_LINES)

    def _looked_after(self, said: tuple[str, ...] | None) -> None:
        if said is not None and self._state == LocalState.RUNNING:
            self._unwatch()
            self._log = said
            self._become(LocalState.FAILED, words.say(words.LOCAL_ENDED))

    def _end(self) -> None:
        self._begin(LocalState.STOPPING, None)
        self._work(lambda _: self._server.stop(STOP_SECONDS), self._stopped)

    def _stopped(self, ended: bool) -> None:
        self._become(LocalState.OFF, words.say(words.LOCAL_STOPPED if ended else words.LOCAL_LEFT))

    def _set_up(self, task: Task[Any]) -> Found:
        return self._server.set_up(self._reporter(task), self._wish(task))

    def _start(self, task: Task[Any]) -> Running:
        return self._server.start(self._reporter(task), self._wish(task))

    def _reporter(self, task: Task[Any]) -> Report:
        def report(progress: Progress) -> None:
            self._progress = progress
            if not task.cancelled:
                task.progress(0, 1)  # the numbers do not matter: it calls `changed` on the windows' thread

        return report

    def _wish(self, task: Task[Any]) -> Wish:
        return lambda: self._cancel.is_set() or task.cancelled

    def _work(self, work: Callable[[Task[Any]], Any], done: Callable[[Any], None]) -> None:
        self._lanes.submit(_LANE, work, done=done, failed=self._failed, progress=lambda *_: self._changed())

    def _failed(self, problem: Exception) -> None:
        self._progress = None
        if isinstance(problem, Cancelled):
            self._become(LocalState.OFF, words.say(words.LOCAL_CANCELLED))
        elif isinstance(problem, LocalError):
            self._become(LocalState.FAILED, str(problem))
        else:
            self._become(LocalState.FAILED, words.say(words.LOCAL_FAILED, what=str(problem)))

    def _begin(self, state: LocalState, stage: Stage | None) -> None:
        self._cancel.clear()
        self._needs = None
        self._become(state, stage=stage)

    def _become(self, state: LocalState, sentence: str = "", stage: Stage | None = None) -> None:
        self._state, self._sentence = state, sentence
        self._progress = Progress(stage) if stage else None
        self._changed()

    def _logged(self, lines: tuple[str, ...]) -> None:
        if lines != self._log:
            self._log = lines
            self._changed()

    def _unwatch(self) -> None:
        if self._life_watch is not None:
            self._life_watch.cancel()
            self._life_watch = None

    def _say(self) -> str:
        if self._cancel.is_set() and self._state in _AT_WORK:
            return words.say(words.LOCAL_CANCELLING)
        if self._state == LocalState.ASKING and self._needs is not None:
            return words.say(words.LOCAL_NOTHING_HERE)
        return self._sentence or words.say(_SENTENCES[self._state])


_SENTENCES = {
    LocalState.OFF: words.LOCAL_OFF,
    LocalState.LOOKING: words.LOCAL_LOOKING,
    LocalState.ASKING: words.LOCAL_NOTHING_HERE,
    LocalState.SETTING_UP: words.LOCAL_SETTING_UP,
    LocalState.STARTING: words.LOCAL_STARTING,
    LocalState.RUNNING: words.LOCAL_RUNNING,
    LocalState.STOPPING: words.LOCAL_STOPPING,
    LocalState.FAILED: words.LOCAL_OFF,
}


def _stage(progress: Progress | None) -> str:
    if progress is None:
        return ""
    stage = words.say(getattr(words.LOCAL_STAGE, progress.stage.value))
    return words.say(words.LOCAL_DETAIL, stage=stage, detail=progress.detail) if progress.detail else stage


def _question(needs: Needs) -> str:
    download = (
        words.say(words.LOCAL_DOWNLOAD, size=words.size(needs.download_bytes), source=needs.source)
        if needs.download_bytes
        else words.say(words.LOCAL_NO_DOWNLOAD, source=needs.source)
    )
    card = (
        words.say(words.LOCAL_CARD, name=needs.graphics) if needs.graphics else words.say(words.LOCAL_NO_CARD)
    )
    room = words.say(words.LOCAL_ROOM, size=words.size(needs.disk_bytes), folder=needs.folder)
    return " ".join([download, room, card, words.say(words.LOCAL_AGREE)])


def _no_room(needs: Needs) -> str:
    return words.say(
        words.LOCAL_NO_ROOM,
        size=words.size(needs.disk_bytes),
        free=words.size(needs.free_bytes),
        folder=needs.folder,
    )
