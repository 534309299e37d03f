"""A scripted sitting at the panel: everything a radiologist presses, on large images and with a long list."""

from __future__ import annotations

from PySide6 import QtWidgets
from slicer_panel import Desk

from harness import qt_steps
from nnactive_server.core.patch import Patch
from NNActiveLogic.client.answers import Reason
from NNActiveLogic.presenter.worklist import Filter


class Sitting:
    """One person's work in one project.

    Args:
        desk: connected.
        project: with a model and patches.
        later: what a training proposes in the middle of the sitting, as for `Clinic.trained`.
    """

    def __init__(self, desk: Desk, project: str, later: list[tuple[int, Patch]]) -> None:
        self.desk, self.project, self.later = desk, project, later

    def run(self) -> None:
        """From opening the project to closing the scene; the clinic's answers show that all of it arrived."""
        self.desk.open(self.project)
        self.desk.first()
        self.answer_in_every_way()
        self.change_the_colours()
        self.go_elsewhere()
        self.train()
        self.leave()

    def next(self, button: str) -> None:
        self.desk.loaded_ahead(1)
        self.desk.press_and_wait(getattr(self.desk.ui("patch"), button))

    def answer_in_every_way(self) -> None:
        desk, patch = self.desk, self.desk.panel.sections["patch"]
        for number in range(3):
            desk.scribble(number)
            self.next("acceptButton")
        self.next("confirmButton")
        qt_steps.type_text(desk.ui("patch").commentEdit, "ask the surgeon")
        self.next("emptyButton")
        before = desk.here
        patch.onReason(Reason.CANNOT_TELL)
        desk.wait(lambda: desk.ready(before))
        before = desk.here
        patch.onRefer()
        qt_steps.type_text(desk.ui("patch").referEdit, "rev")
        patch.onReferSend()
        desk.wait(lambda: desk.ready(before))
        self.next("previousButton")
        desk.press("Ctrl+U")
        desk.paint("unsure")
        self.next("acceptButton")

    def change_the_colours(self) -> None:
        desk, ui = self.desk, self.desk.ui("patch")
        ui.heatBox.collapsed = False
        for value in (0.2, 0.3, 0.4):
            ui.thresholdSlider.value = ui.opacitySlider.value = value
            desk.render()
        qt_steps.choose(ui.measureCombo, ui.measureCombo.itemText(1))
        desk.wait(lambda: desk.session.screen.view.heat is not None)
        for check in (ui.heat3DCheck, ui.heat3DCheck, ui.heatCheck, ui.heatCheck):
            qt_steps.click(check)
        desk.press("Ctrl+J")
        desk.render()

    def go_elsewhere(self) -> None:
        """Other boxes by the list, whole cases, a prediction, another module."""
        desk, table = self.desk, self.desk.ui("workList").patchTable
        for wanted in (Filter.OPEN, Filter.DONE, Filter.ALL):
            combo = desk.ui("workList").filterCombo
            qt_steps.choose(combo, combo.itemText([*Filter].index(wanted)))
        before = desk.here
        table.setCurrentCell(table.rowCount - 1, 0)
        QtWidgets.QAbstractButton.click(desk.ui("workList").openButton)
        desk.wait(lambda: desk.ready(before))
        desk.render()
        case = desk.presenter.opened.records.now.cases[-1]
        desk.panel.sections["project"].viewer.show(case)
        desk.wait(lambda: not desk.presenter.opened.looking.busy)
        desk.render()
        progress = desk.panel.sections["progress"]
        progress.container.collapsed = False
        desk.panel.refresh()
        desk.ui("progress").casesTable.setCurrentCell(0, 0)
        QtWidgets.QAbstractButton.click(desk.ui("progress").predictionButton)
        desk.wait(lambda: not desk.presenter.opened.looking.busy)
        desk.render()
        qt_steps.click(desk.ui("progress").curveButton)
        qt_steps.click(desk.ui("progress").curveButton)
        desk.press("Ctrl+J")
        desk.host.exit()
        desk.host.enter()
        desk.render()

    def train(self) -> None:
        """A training goes on, ends, and proposes other boxes, while somebody draws."""
        desk, records = self.desk, self.desk.presenter.opened.records
        models, patches = len(records.now.models), len(records.now.patches)
        with desk.clinic.training(self.project, self.later) as told:
            for share in (0.25, 0.5, 0.75):
                told(share)
                desk.scribble(3)
                desk.wait(lambda share=share: desk.presenter.opened.training.view().fraction == share)
        desk.wait(lambda: len(records.now.models) == models + 1 and len(records.now.patches) > patches)
        self.next("acceptButton")
        self.next("acceptButton")

    def leave(self) -> None:
        desk, here = self.desk, self.desk.here
        desk.until(lambda: not desk.presenter.opened.sending.entries)
        desk.host.close_scene()
        desk.session.jump(here)
        desk.wait(lambda: desk.ready())
        desk.render()
        desk.host.close_scene()
        desk.presenter.close_project()
