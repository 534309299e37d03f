"""Which image of the project is in the views, and how another one comes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.client.values import Case
from NNActiveLogic.presenter import words
from NNActiveLogic.scene import results, views
from NNActiveLogic.scene.nodes import CASE
from NNActiveLogic.work import WorkError
from NNActiveSlicerLib.panel import Panel


class CaseViewer:
    """Shows whole cases; what is on the screen is read from the views, as somebody may change them."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel

    def cases(self) -> tuple[Case, ...]:
        """The images of the open project."""
        opened = self.panel.presenter.opened
        return opened.records.now.cases if opened is not None else ()

    def onScreen(self) -> Case | None:
        """The case in the slice views; None when they show something else."""
        volume = views.background()
        shown = volume.GetAttribute(CASE) if volume is not None else None
        return next((case for case in self.cases() if case.id == shown), None)

    def show(self, case: Case, then: Callable[[], Any] | None = None) -> None:
        """Load a case and show all of it; `then` is called when it is there."""

        def arrived(found: Case, image: VoxelArray) -> None:
            try:
                results.show_case(found, image)
            except WorkError as problem:
                self.panel.showMessage(str(problem))
                return
            if then is not None:
                then()

        opened = self.panel.presenter.opened
        if opened is not None:
            self.panel.say(opened.looking.image(case, arrived))

    def need(self, then: Callable[[], Any], wanted: Case | None = None) -> None:
        """Call `then` with a case on the screen; when there is none, show the one wanted or the first."""
        cases = self.cases()
        if self.onScreen() is not None:
            then()
        elif wanted is not None or cases:
            self.show(wanted or cases[0], then)
        else:
            self.panel.showMessage(words.say(words.NO_CASE_SHOWN))
