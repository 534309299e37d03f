"""The section Progress: what the model has learned, where it is weak, and taking it home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.client.values import Case
from NNActiveLogic.presenter.progress import Coverage, ProgressView, WeakCase
from NNActiveLogic.scene import plots, results
from NNActiveLogic.work import WorkError
from NNActiveSlicerLib.panel import slot
from NNActiveSlicerLib.quiet import advance, say
from NNActiveSlicerLib.section import Section
from NNActiveSlicerLib.table_rows import TableRows


class ProgressSection(Section):
    """Curves, coverage, weak cases, predictions to look at, export."""

    uiName = "Progress"

    def setup(self) -> None:
        """Connect signals; called once."""
        ui = self.ui
        self._layout: int | None = None
        self._drawn: object = None
        self._coverage = TableRows(ui.coverageTable, 0)
        self._cases = TableRows(ui.casesTable, 0)
        for text in (_("boxes"), _("minutes")):
            ui.againstCombo.addItem(text)
        ui.curveButton.connect("toggled(bool)", self.onCurve)
        ui.againstCombo.connect("activated(int)", self.onAgainst)
        ui.casesTable.connect("cellDoubleClicked(int,int)", self.onPrediction)
        ui.casesTable.connect("itemSelectionChanged()", self._showButtons)
        ui.predictionButton.connect("clicked()", self.onPrediction)
        ui.exportButton.connect("clicked()", self.onExport)
        ui.exportCancelButton.connect("clicked()", self.onExportCancel)
        self.container.connect("contentsCollapsed(bool)", self.onFold)

    def exit(self) -> None:
        """Another module was selected: it finds the views as they were."""
        self.ui.curveButton.checked = False

    def sceneClosing(self) -> None:
        """The scene is about to be emptied: let go of every node."""
        self.ui.curveButton.checked = False

    def refresh(self) -> None:
        """Draw the numbers, as far as they have changed."""
        opened = self.presenter.opened
        self.root.enabled = opened is not None
        if opened is None:
            self.ui.curveButton.checked = False
        if self.container.collapsed and not self.ui.curveButton.checked:
            return
        view = opened.progress() if opened is not None else ProgressView((), (), "", ())
        say(self.ui.adviceLabel, view.advice)
        say(self.ui.latestLabel, _latest(view))
        self._coverage.fill([(one.name, _coverage_cells(one)) for one in view.coverage])
        self._cases.fill([(one.case, _case_cells(one)) for one in view.cases])
        self._showCurve()
        self._showButtons()
        self._showLooking()
        self._showExport()

    @slot
    def onFold(self, _collapsed: bool) -> None:
        """The section is opened or folded."""
        self.refresh()

    # Curves

    @slot
    def onCurve(self, shown: bool) -> None:
        """Show the curve among the views, or the views as they were."""
        if shown:
            self._drawn = None
            self._showCurve()
        else:
            plots.back_to(self._layout)
            plots.remove_curves()
            self._layout = None

    @slot
    def onAgainst(self, _index: int) -> None:
        """Against something else."""
        self._drawn = None
        self._showCurve()

    def _showCurve(self) -> None:
        opened = self.presenter.opened
        if not self.ui.curveButton.checked or opened is None:
            return
        statistics = opened.records.now.statistics
        if statistics is self._drawn:
            return
        self._drawn = statistics
        against = [plots.Against.PATCHES, plots.Against.MINUTES][self.ui.againstCombo.currentIndex]
        chart = plots.show_curves(statistics, opened.project.labels, against)
        before = plots.show_in_views(chart)
        self._layout = before if self._layout is None else self._layout

    # Predictions

    @slot
    def onPrediction(self, *_where: int) -> None:
        """Show the model's prediction of the chosen case."""
        case = self._case()
        if case is not None:
            self.panel.say(self.presenter.opened.looking.prediction(case, self._showPrediction))

    def _showPrediction(self, case: Case, labels: VoxelArray, image: VoxelArray) -> None:
        try:
            results.show_prediction(case, self.presenter.opened.project.labels, labels, image)
        except WorkError as problem:
            self.panel.showMessage(str(problem))
        self.panel.refreshSoon()

    def _case(self) -> Case | None:
        opened, wanted = self.presenter.opened, self._cases.current
        cases = opened.records.now.cases if opened is not None else ()
        return next((one for one in cases if one.id == wanted), None)

    def _showLooking(self) -> None:
        opened = self.presenter.opened
        looking = opened.looking if opened is not None else None
        loading = looking is not None and looking.busy
        texts = _("Loading …") if loading else (looking.notice if looking is not None else "")
        say(self.ui.lookingLabel, texts)

    def _showButtons(self) -> None:
        case = self._case()
        self.ui.predictionButton.enabled = case is not None and case.model is not None

    # Export

    @slot
    def onExport(self) -> None:
        """Ask for a folder, and save model and labels there."""
        chosen = qt.QFileDialog.getExistingDirectory(self.root, _("Folder for the model and the labels"))
        if chosen:
            self.panel.say(self.presenter.opened.exports.start(Path(chosen)))
            self.refresh()

    @slot
    def onExportCancel(self) -> None:
        """Stop saving."""
        self.presenter.opened.exports.cancel()

    def _showExport(self) -> None:
        ui, opened = self.ui, self.presenter.opened
        view: Any = opened.exports.view() if opened is not None else None
        say(ui.exportLabel, view.sentence if view is not None else "")
        running = view is not None and view.running
        ui.exportBar.visible = ui.exportCancelButton.visible = running
        advance(ui.exportBar, view.fraction if view is not None else None)
        ui.exportButton.enabled = view is not None and not running


def _latest(view: ProgressView) -> str:
    """The newest Dice of each structure; the curve shows how it came about."""
    found = [
        _("{name} {dice}").format(name=curve.name, dice=f"{curve.dice[-1]:.2f}")
        for curve in view.curves
        if curve.dice
    ]
    return _("Agreement with your answers (Dice): {parts}").format(parts=", ".join(found)) if found else ""


def _coverage_cells(class_: Coverage) -> tuple[str, ...]:
    return class_.name, str(class_.patches), f"{100 * class_.share:.0f} %"


def _case_cells(case: WeakCase) -> tuple[str, ...]:
    quality = "–" if case.quality is None else f"{case.quality:.2f}"
    return case.name, quality, str(case.annotated)
