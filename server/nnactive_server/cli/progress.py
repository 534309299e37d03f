"""Progress of long work: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from abc import abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from nnactive_server.core.monitor import Monitor

ESTIMATE_SECONDS = 1800.0
"""The time left is told by the steps of the last half hour: a study's steps are trainings of minutes."""
LINE_SECONDS = 10.0
"""Plain lines of one stage are at least this far apart."""


class ShownMonitor(Monitor):
    """A monitor that shows something from `with` to its end."""

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class TerminalMonitor(ShownMonitor):
    """A bar with the time left for the stage in work; a line for each stage that is done.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]{task.fields[detail]}"),
            console=console,
            transient=True,
            speed_estimate_period=ESTIMATE_SECONDS,
            redirect_stdout=False,
        )
        self._stage = ""
        self._task: TaskID | None = None
        self._began = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(done=kind is None)
        self._progress.stop()

    def report(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Show this."""
        if stage != self._stage or self._task is None:
            self._close(done=True)
            self._stage, self._began = stage, time.monotonic()
            self._task = self._progress.add_task(escape(stage), detail=escape(detail))
            self._progress.refresh()
        self._progress.update(self._task, completed=done, total=total, detail=escape(detail))

    def _close(self, done: bool) -> None:
        if self._task is None:
            return
        self._progress.remove_task(self._task)
        self._task = None
        if done:
            self._console.print(
                f"[green]✓[/] {escape(self._stage)} [dim]{clock(time.monotonic() - self._began)}"
            )


class LineMonitor(ShownMonitor):
    """A line when a stage begins and ends, and now and then while it runs.

    Args:
        console: where lines go.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._stage = ""
        self._began = self._spoke = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to tidy up."""

    def report(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Say this, unless something was said a moment ago."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began = stage, now
        elif done < total and now - self._spoke < LINE_SECONDS:
            return
        self._spoke = now
        left = (now - self._began) * (total - done) / done if done else 0.0
        parts = [f"{stage}: {done} of {total}", f"about {clock(left)} left" if left >= 1 else "", detail]
        self._console.print(", ".join(filter(None, parts)), markup=False)


def clock(seconds: float) -> str:
    """A duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
