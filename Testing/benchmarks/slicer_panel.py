"""The panel and the views at work on a real server: what is clicked, and when it is on the screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PySide6 import QtCore, QtWidgets
from slicer_clinic import Clinic
from slicer_watch import Watch

from harness import pictures, qt_faults
from harness.views import Views
from NNActiveLogic.presenter.events import WAIT_SECONDS
from NNActiveLogic.presenter.session_view import State
from testkit.reader import Reader

MODULE = Path(__file__).resolve().parents[2] / "NNActiveSlicer" / "NNActiveSlicer.py"
PATIENCE = 60.0


@dataclass(frozen=True)
class Shown:
    """Seconds from the press of a button.

    Attributes:
        code: until our code has returned and nothing is left to draw in the panel.
        pixels: until the four views are drawn, too.
        held: of `code`, for how long our code held the thread of the windows.
        busy: of `held`, for how long that thread had a processor.
    """

    code: float
    pixels: float
    held: float
    busy: float


class Desk(Reader):
    """A radiologist with four views, connected to a clinic.

    Args:
        load: opens the module.
        clinic: the server.
        views: None for none.
    """

    def __init__(self, load: Callable[..., Any], clinic: Clinic, views: Views | None) -> None:
        host = load(MODULE)
        super().__init__(host)
        self.clinic, self.views = clinic, views
        # Those of a radiologist, not those of a quick test.
        self.presenter.connection._limits, self.presenter._wait = None, WAIT_SECONDS
        self.window = pictures.Window(host, views) if views is not None else None
        host.enter()
        self.connect(clinic.server.url, clinic.token)

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, self.presenter.notice or self.presenter.connection.view().sentence
            self.turn()
        qt_faults.check()

    def render(self) -> None:
        """Draw what the application would draw when nothing else is to be done."""
        for view in (*self.views.slices, self.views.threed) if self.views is not None else ():
            view.render()

    def turn(self) -> None:
        """Wait for the next event, and handle it."""
        flags = QtCore.QEventLoop.ProcessEventsFlag
        QtCore.QCoreApplication.processEvents(flags.AllEvents | flags.WaitForMoreEvents)
        QtCore.QCoreApplication.sendPostedEvents(None, int(QtCore.QEvent.Type.DeferredDelete.value))

    def wait(self, condition: Callable[[], Any]) -> None:
        """Until a condition holds and the panel shows it."""
        self.until(lambda: condition() and not self.panel._stale)

    def ready(self, besides: str | None = None) -> bool:
        """Another patch than this one can be edited."""
        return self.session.state == State.EDITING and self.here not in (None, besides)

    def first(self) -> None:
        """Open a patch, and wait until those that follow are loaded."""
        before = self.here
        QtWidgets.QAbstractButton.click(self.ui("patch").nextButton)
        self.wait(lambda: self.ready(before))
        self.render()

    def loaded_ahead(self, count: int) -> None:
        ahead, view = self.session.ahead, self.session.loader.view
        self.wait(lambda: len(ahead.patches) >= count and all(view(one) is not None for one in ahead.patches))

    def press_and_wait(self, button: Any, watch: Watch | None = None) -> Shown:
        """Press a button of an answer; the next patch comes by itself."""
        before = self.here
        begun = time.perf_counter()
        QtWidgets.QAbstractButton.click(button)
        while not self.ready(before) or self.panel._stale:
            assert time.perf_counter() < begun + PATIENCE, self.session.view().sentence
            self.turn()
        code = time.perf_counter() - begun
        self.render()
        pixels = time.perf_counter() - begun
        qt_faults.check()
        calls = watch.taken() if watch is not None else []
        return Shown(code, pixels, sum(one.seconds for one in calls), sum(one.busy for one in calls))

    def scribble(self, seed: int = 0) -> None:
        """A stroke of the first class somewhere in the box."""
        box = self.session.screen.patch.box
        places = np.random.default_rng(seed)
        at = [int(places.integers(0, max(1, n - 4))) for n in box.size]
        self.paint("class-1", tuple(slice(low, low + 4) for low in at))

    def picture(self) -> np.ndarray:
        """What the axial view shows."""
        assert self.views is not None
        return self.views.red.pixels()

    def set_memory(self, megabytes: int) -> None:
        """As in the panel: how much may be loaded ahead."""
        self.ui("patch").memoryBox.value = megabytes
