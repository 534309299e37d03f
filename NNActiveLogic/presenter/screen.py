"""What is on the screen: one patch, what the work on it started from, and how long it has taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.client.values import Patch
from NNActiveLogic.presenter.activity import ActiveTime
from NNActiveLogic.presenter.answering import Said, Work
from NNActiveLogic.presenter.desk import Desk
from NNActiveLogic.presenter.loader import Loader, Origin, Start
from NNActiveLogic.work import HeatSettings, PatchView, WorkError


class Screen:
    """The scene with what belongs to the open patch.

    Attributes:
        view: what is shown; None when no patch is open.
        start: what the work on it started from.
        comment: free text for its answer.
        activity: active time.

    Args:
        desk: of the project.
        loader: of heat maps.
    """

    def __init__(self, desk: Desk, loader: Loader) -> None:
        self.view: PatchView | None = None
        self.start: Start | None = None
        self.comment = ""
        self.activity = ActiveTime(desk.clock, desk.preferences.idle_seconds)
        self._desk, self._loader = desk, loader

    @property
    def patch(self) -> Patch | None:
        """The open patch."""
        return self.view.patch if self.view is not None else None

    @property
    def stale(self) -> bool:
        """Whether what is shown comes from an older model than the newest."""
        return self.view is not None and self.view.stale

    def open(self, view: PatchView, start: Start) -> None:
        """Show a patch; raises WorkError, and then nothing is open."""
        # First, so that it is drawn once; without an open patch only the settings are kept.
        self._desk.scene.set_heat(self._desk.preferences.heat, view.heat)
        self._desk.scene.open(view)
        self.view, self.start = view, start
        if view.stale:
            self._desk.scene.mark_stale()
        self.activity.open(start.seconds)

    def close(self) -> None:
        """Show no patch any more."""
        if self.view is not None:
            self.activity.close()
            self._desk.scene.close()
        self.view, self.start, self.comment = None, None, ""

    def work(self) -> Work | Said | None:
        """The patch after the work on it; why it cannot be read; None when none is open."""
        if self.start is None:
            return None
        try:
            reading = self._desk.scene.read()
        except WorkError as problem:
            return Said(False, str(problem))
        return Work(reading, self.start, self.activity.seconds, self._desk.scene.edits(), self.comment)

    def check_models(self) -> None:
        """The project has got another model: say so when what is shown is older."""
        if self.view is not None and not self.view.stale and self._loader.is_stale(self.view.model):
            self.view = replace(self.view, stale=True)
            self._desk.scene.mark_stale()

    def set_heat(self, settings: HeatSettings, failed: Callable[[Exception], None]) -> None:
        """Draw the heat map in this way; another measure appears when it is loaded."""
        shown = self.view
        if shown is None:
            return

        def loaded(heat: VoxelArray | None) -> None:
            if self.patch is shown.patch and settings == self._desk.preferences.heat:
                self._draw(heat)

        try:
            self._draw(self._loader.heat(shown.patch, settings.measure))
        except KeyError:
            self._desk.lanes.submit(
                "load",
                lambda _: self._loader.fetch_heat(shown.patch, settings.measure),
                done=loaded,
                failed=failed,
            )

    def _draw(self, heat: VoxelArray | None) -> None:
        if self.view is not None:
            self.view = replace(self.view, heat=heat)
            self._desk.scene.set_heat(self._desk.preferences.heat, heat)


def draft(work: Work) -> Start:
    """What is drawn so far, to go on from later."""
    reading = work.reading
    return Start(Origin.DRAFT, reading.labels, reading.unsure, work.start.model, work.seconds)
