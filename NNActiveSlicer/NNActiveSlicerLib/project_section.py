"""The section Project: open one or make one, bring images, and prepare the start."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.opened import Opened
from NNActiveLogic.presenter.steps import ProjectStep, project_step
from NNActiveSlicerLib.case_viewer import CaseViewer
from NNActiveSlicerLib.panel import slot
from NNActiveSlicerLib.project_first import FirstBoxes
from NNActiveSlicerLib.project_images import Images
from NNActiveSlicerLib.project_new import NewProject
from NNActiveSlicerLib.project_size import BoxSize
from NNActiveSlicerLib.quiet import quiet, say
from NNActiveSlicerLib.section import Section

_LAST = "project"


class ProjectSection(Section):
    """A page to choose a project, and one to prepare the project that is open."""

    uiName = "Project"

    def setup(self) -> None:
        """Build the parts and connect signals."""
        ui, panel = self.ui, self.panel
        self.viewer = CaseViewer(panel)
        self.new = NewProject(panel, ui.newBox)
        self.images = Images(panel, ui.imagesBox)
        self.size = BoxSize(panel, ui.sizeBox, self.viewer)
        self.first = FirstBoxes(panel, ui.firstBox, self.viewer)
        self._parts = (self.new, self.images, self.size, self.first)
        self._folds = {
            ProjectStep.IMAGES: ui.imagesBox,
            ProjectStep.SIZE: ui.sizeBox,
            ProjectStep.FIRST: ui.firstBox,
        }
        self._drawn: tuple[ProjectStep, bool] | None = None
        self._projects: list[tuple[str, str]] = []
        self._cases: list[tuple[str, str]] = []
        for part in self._parts:
            part.setup()
        ui.openButton.connect("clicked()", self.onOpen)
        ui.listButton.connect("clicked()", self.onList)
        ui.closeButton.connect("clicked()", self.onClose)
        ui.lookButton.connect("clicked()", self.onLook)

    def refresh(self) -> None:
        """Draw the page that is due."""
        opened = self.presenter.opened
        self.ui.chooserPage.visible = opened is None
        self.ui.openedPage.visible = opened is not None
        if opened is None:
            self._drawChooser()
        else:
            self._drawOpened(opened)
        say(self.ui.noticeLabel, self._notice(opened))
        for part in self._parts:
            part.refresh()

    def tick(self) -> None:
        """The parts ask the views."""
        for part in self._parts if self.presenter.opened is not None else ():
            part.tick()

    def exit(self) -> None:
        """Nothing is drawn or placed any more."""
        for part in self._parts:
            part.exit()

    def sceneClosing(self) -> None:
        """The parts let go of their nodes."""
        for part in self._parts:
            part.sceneClosing()

    @slot
    def onOpen(self) -> None:
        """Open the chosen project."""
        row = self.ui.projectCombo.currentIndex
        if 0 <= row < len(self._projects):
            self.panel.say(self.presenter.open(self._projects[row][0]))

    @slot
    def onList(self) -> None:
        """Ask again which projects there are."""
        self.panel.say(self.presenter.projects.list())

    @slot
    def onClose(self) -> None:
        """Close the project, and choose another one."""
        for part in self._parts:
            part.exit()
        self.presenter.close_project()
        self.presenter.projects.suggestion = None
        self.panel.say(self.presenter.projects.list())

    @slot
    def onLook(self) -> None:
        """Show the chosen image."""
        row = self.ui.caseCombo.currentIndex
        found = [case for case in self.viewer.cases() if self._cases and case.id == self._cases[row][0]]
        if found:
            self.viewer.show(found[0])

    def _drawChooser(self) -> None:
        ui, projects = self.ui, self.presenter.projects
        connected = self.presenter.connection.client is not None
        ui.chooserLabel.text = projects.sentence() if connected else words.say(words.NOT_CONNECTED)
        rows = [(one.id, one.name) for one in projects.known]
        if rows != self._projects:
            self._projects = rows
            self._list(ui.projectCombo, rows, self.panel.settings.get(_LAST) or "")
        ui.openButton.enabled = bool(rows) and not projects.busy and not self.presenter.opening
        ui.projectCombo.visible = ui.openButton.visible = bool(rows)
        ui.listButton.enabled = connected and not projects.busy
        ui.newBox.visible = self.presenter.connection.view().can_administer
        self._fold(project_step(self.presenter))

    def _drawOpened(self, opened: Opened) -> None:
        ui, project = self.ui, opened.project
        if self.panel.settings.get(_LAST) != project.id:
            self.panel.settings.set(_LAST, project.id)
        self._projects = []  # chosen anew when the list is next seen
        names = ", ".join(label.name for label in project.labels)
        ui.headLabel.text = words.say(words.PROJECT_TITLE, name=project.name, labels=names)
        rows = [(case.id, case.name) for case in opened.records.now.cases]
        if rows != self._cases:
            chosen = self._cases[ui.caseCombo.currentIndex][0] if self._cases else ""
            self._cases = rows
            self._list(ui.caseCombo, rows, chosen)
        ui.caseCombo.visible = ui.lookButton.visible = bool(rows)
        ui.lookButton.enabled = not opened.looking.busy
        ui.lookButton.text = _("Loading …") if opened.looking.busy else _("Show")
        ui.firstBox.visible = not opened.budget().over
        self._fold(project_step(self.presenter))

    def _list(self, combo: Any, rows: list[tuple[str, str]], chosen: str) -> None:
        with quiet(combo):
            combo.clear()
            for _id, name in rows:
                combo.addItem(name)
            places = [place for place, (one, _name) in enumerate(rows) if one == chosen]
            combo.currentIndex = places[0] if places else (0 if rows else -1)

    def _fold(self, now: ProjectStep) -> None:
        """Open what is next; only when the step changes, so that a hand's fold stays."""
        known = bool(self.presenter.projects.known)
        if (now, known) == self._drawn:
            return
        self._drawn = (now, known)
        for step, box in self._folds.items():
            box.collapsed = step != now
        if now == ProjectStep.CHOOSE:
            self.ui.newBox.collapsed = known

    def _notice(self, opened: Opened | None) -> str:
        looking = opened.looking.notice if opened is not None else ""
        return looking or self.presenter.notice or self.presenter.projects.notice
