"""The part of the section Project with the first boxes, which the model begins with."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from NNActiveLogic.client.values import Batch, Label, Patch
from NNActiveLogic.presenter import words
from NNActiveLogic.scene import placing
from NNActiveLogic.scene.colours import class_colour
from NNActiveLogic.work import WorkError
from NNActiveSlicerLib.case_viewer import CaseViewer
from NNActiveSlicerLib.panel import Panel, slot
from NNActiveSlicerLib.quiet import say
from NNActiveSlicerLib.section import Section
from NNActiveSlicerLib.table_rows import TableRows


class FirstBoxes(Section):
    """Boxes placed by hand for each structure, then some at random."""

    uiName = "FirstBoxes"

    def __init__(self, panel: Panel, container: Any, viewer: CaseViewer) -> None:
        super().__init__(panel, container)
        self.viewer = viewer

    def setup(self) -> None:
        """Connect signals."""
        self._rows = TableRows(self.ui.classTable, 0)
        self._picker = placing.Picker()
        self._label: Label | None = None
        self._moveOn = False
        self.ui.placeButton.connect("clicked()", self.onPlace)
        self.ui.randomButton.connect("clicked()", self.onRandom)
        self.ui.classTable.connect("itemSelectionChanged()", self.onSelect)

    def refresh(self) -> None:
        """What the start still needs."""
        opened = self.presenter.opened
        if opened is None:
            return
        budget = opened.budget()
        self.ui.sentenceLabel.text = budget.sentence
        self._rows.fill(
            [
                (row.name, (row.name, str(row.placed), str(row.annotated), str(row.missing)))
                for row in budget.rows
            ]
        )
        enough = self._rows.current not in [row.name for row in budget.rows if row.missing]
        if not self._rows.current or (self._moveOn and enough):
            self._next()
        self.ui.randomButton.visible = budget.random > 0
        self.ui.randomButton.text = _("Add {n} random boxes").format(n=budget.random)
        self.ui.randomButton.enabled = not self.presenter.projects.busy
        self._drawButton()

    def tick(self) -> None:
        """The views tell nobody of a click that is awaited here: ask."""
        if self._label is None:
            return
        point = self._picker.taken()
        if point is not None:
            self._place(self._label, point)
        elif not self._picker.waiting:
            self._stop()

    def exit(self) -> None:
        """No click is awaited any more."""
        self._picker.cancel()
        self._label = None

    def sceneClosing(self) -> None:
        """The mark goes with the scene."""
        self.exit()

    @slot
    def onPlace(self) -> None:
        """Await a click for the chosen structure; pressed again, await none."""
        if self._label is not None:
            self._stop()
        else:
            self.viewer.need(self._begin)

    @slot
    def onRandom(self) -> None:
        """Add the random boxes."""
        opened = self.presenter.opened
        self.panel.say(
            self.presenter.projects.draw_start(opened.project.id, opened.budget().random, self._drawn)
        )

    @slot
    def onSelect(self) -> None:
        """Another structure was chosen."""
        self._moveOn = False
        if self._label is not None:
            self._begin()
        self._drawButton()

    def _begin(self) -> None:
        labels = self.presenter.opened.project.labels
        found = [(place, label) for place, label in enumerate(labels) if label.name == self._rows.current]
        if found:
            place, self._label = found[0]
            self._picker.begin(self._label.name, class_colour(self._label, place + 1))
        self._drawButton()

    def _stop(self) -> None:
        self.exit()
        self._drawButton()

    @slot
    def _place(self, label: Label, point: Any) -> None:
        self._stop()
        case = self.viewer.onScreen()
        if case is None:
            raise WorkError(words.say(words.NO_CASE_SHOWN))
        opened = self.presenter.opened
        box = placing.box_at(point, case, opened.project.patch_size)
        self.panel.say(
            self.presenter.projects.place(opened.project.id, case.id, box, label.name, self._placed)
        )

    def _placed(self, patch: Patch) -> None:
        self._moveOn = True
        self.panel.showMessage(words.say(words.PLACED, name=patch.group))
        if self.presenter.opened is not None:
            self.presenter.opened.records.refresh("patches")

    def _drawn(self, batch: Batch) -> None:
        if self.presenter.opened is not None:
            self.panel.showMessage(self.presenter.opened.drawn(batch))

    def _next(self) -> None:
        """Choose the first structure that still needs boxes."""
        rows = self.presenter.opened.budget().rows
        wanted = next((row.name for row in rows if row.missing), rows[0].name if rows else "")
        self._rows.choose(wanted)

    def _drawButton(self) -> None:
        ui, label = self.ui, self._label
        ui.placeButton.text = _("Place a box") if label is None else _("Stop placing")
        ui.placeButton.enabled = bool(self._rows.current) and not self.presenter.projects.busy
        hint = _("Click where {name} is, in any slice; Esc stops.")
        say(ui.hintLabel, hint.format(name=label.name) if label is not None else "")
