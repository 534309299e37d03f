"""The part of the section Project that finds out how large the boxes should be."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from NNActiveLogic.client.values import Float3, Project
from NNActiveLogic.presenter import box_size
from NNActiveLogic.scene import placing
from NNActiveLogic.scene.colours import class_colour
from NNActiveLogic.scene.grid import Grid
from NNActiveSlicerLib.case_viewer import CaseViewer
from NNActiveSlicerLib.panel import Panel, slot
from NNActiveSlicerLib.quiet import quiet, say
from NNActiveSlicerLib.section import Section

_NAME, _DRAWN, _VARIES, _IMPORTANT = range(4)


class BoxSize(Section):
    """Rough boxes round structures become a suggested size, with its reasons."""

    uiName = "BoxSize"

    def __init__(self, panel: Panel, container: object, viewer: CaseViewer) -> None:
        super().__init__(panel, container)
        self.viewer = viewer

    def setup(self) -> None:
        """Connect signals."""
        ui = self.ui
        self._project = ""
        self._drawing = False
        self._sizes: dict[str, tuple[Float3, ...]] = {}
        header = ui.classTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(_NAME, qt.QHeaderView.Stretch)
        tips = {
            _VARIES: _("It looks very different from patient to patient, as tumours do"),
            _IMPORTANT: _("Its size decides; none ticked means that all do"),
        }
        for column, tip in tips.items():
            ui.classTable.horizontalHeaderItem(column).setToolTip(tip)
        ui.drawButton.connect("clicked()", self.onDraw)
        ui.removeButton.connect("clicked()", self.onRemove)
        ui.suggestButton.connect("clicked()", self.onSuggest)
        ui.useButton.connect("clicked()", self.onUse)
        ui.keepButton.connect("clicked()", self.onKeep)

    def refresh(self) -> None:
        """The present size, what is drawn, and the suggestion."""
        opened, projects = self.presenter.opened, self.presenter.projects
        if opened is None:
            return
        self._fill(opened.project)
        self._count()
        self.ui.nowLabel.text = box_size.present(opened.project, opened.records.now.cases)
        found = projects.suggestion
        say(self.ui.suggestionLabel, box_size.suggested(found) if found is not None else "")
        admin = self.presenter.connection.view().can_administer
        self.ui.suggestButton.enabled = bool(self._sizes) and not projects.busy
        self.ui.useButton.visible = found is not None and admin
        self.ui.keepButton.visible = not opened.sized

    def tick(self) -> None:
        """A box is drawn in the views, which tell nobody: look whether it is finished."""
        if self._drawing:
            self._count()

    def exit(self) -> None:
        """Nothing is drawn any more."""
        self._drawing = False

    def sceneClosing(self) -> None:
        """What was drawn goes with the scene."""
        self._drawing, self._sizes = False, {}

    @slot
    def onDraw(self) -> None:
        """Begin a box round the chosen structure."""
        self.viewer.need(self._draw)

    @slot
    def onRemove(self) -> None:
        """Remove what was drawn round the chosen structure."""
        placing.remove_rough_boxes(self._label().name)
        self.panel.refreshSoon()

    @slot
    def onSuggest(self) -> None:
        """Ask the server, which knows the guidelines."""
        self._count()
        self.panel.say(
            self.presenter.projects.suggest(
                self._project, self._sizes, self._ticked(_VARIES), self._ticked(_IMPORTANT)
            )
        )

    @slot
    def onUse(self) -> None:
        """The project's boxes are as suggested from now on."""
        found = self.presenter.projects.suggestion
        self.panel.say(
            self.presenter.projects.change(
                self._project,
                self._changed,
                patch_size=list(found.patch_size),
                query_size=found.query_size,
                planned_cycles=found.cycles,
            )
        )

    @slot
    def onKeep(self) -> None:
        """The size stays."""
        self._decided()

    def _draw(self) -> None:
        label = self._label()
        placing.begin_rough_box(label.name, class_colour(label, self._row() + 1))
        self._drawing = True

    def _changed(self, project: Project) -> None:
        self.presenter.change_project(project)
        self._decided()

    def _decided(self) -> None:
        if self.presenter.opened is not None:
            self.presenter.opened.sized = True
        placing.remove_rough_boxes()
        self.presenter.projects.suggestion = None
        self.panel.refreshSoon()

    def _row(self) -> int:
        return max(0, self.ui.classTable.currentRow())

    def _label(self):
        return self.presenter.opened.project.labels[self._row()]

    def _ticked(self, column: int) -> list[str]:
        table, labels = self.ui.classTable, self.presenter.opened.project.labels
        return [
            label.name
            for row, label in enumerate(labels)
            if table.item(row, column).checkState() == qt.Qt.Checked
        ]

    def _count(self) -> None:
        case = self.viewer.onScreen()
        self._sizes = placing.rough_sizes(Grid.of_case(case)) if case is not None else {}
        for row, label in enumerate(self.presenter.opened.project.labels):
            text = str(len(self._sizes.get(label.name, ())))
            item = self.ui.classTable.item(row, _DRAWN)
            if item.text() != text:
                item.setText(text)
                self.panel.refreshSoon()

    def _fill(self, project: Project) -> None:
        """A row for each structure; once for a project, so that ticks stay."""
        if project.id == self._project:
            return
        table = self.ui.classTable
        self._project = project.id
        with quiet(table):
            table.setRowCount(len(project.labels))
            for row, label in enumerate(project.labels):
                for column in range(table.columnCount):
                    item = qt.QTableWidgetItem()
                    if column == _NAME:
                        item.setText(label.name)
                    if column in (_VARIES, _IMPORTANT):
                        item.setCheckState(qt.Qt.Unchecked)
                    table.setItem(row, column, item)
            table.setCurrentCell(0, _NAME)
