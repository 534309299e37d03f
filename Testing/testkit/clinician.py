"""A clinician at the panel who knows the truth: clicks, types, draws, and remembers the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
import slicer.util
from PySide6 import QtCore, QtWidgets

from harness import qt_steps as steps
from harness.qt_segment_editor import painter
from NNActiveLogic.presenter.session_view import State
from NNActiveLogic.presenter.shortcuts import key_of
from NNActiveLogic.scene import nodes, segments
from NNActiveLogic.scene.grid import Grid, voxels
from testkit.known_scans import Scans

PATIENCE = 90.0
"""Seconds until somebody gives up; machines that run tests are slow."""


class Clinician:
    """What somebody does and sees.

    Attributes:
        answered: by case (id), boxes and label values (z, y, x) in the order of the answers, -1 where unsure.
        truth: by case (id), label map (z, y, x) of the scans that are in the project.

    Args:
        host: the module, entered.
        scans: to work on.
        views: to click into; None when nothing is drawn.
    """

    def __init__(self, host, scans: Scans | None = None, views=None):
        self.host, self.scans, self.views = host, scans, views
        self.panel = host.widget.panel
        self.presenter = self.panel.presenter
        self.answered: dict[str, list] = {}
        self.truth: dict[str, np.ndarray] = {}

    # Looking

    def ui(self, section):
        """Widgets of a section."""
        return self.panel.sections[section].ui

    @property
    def opened(self):
        return self.presenter.opened

    @property
    def session(self):
        return self.presenter.opened.session

    @property
    def adapter(self):
        return self.panel.adapter

    @property
    def patch(self):
        """The box on the screen."""
        return self.session.screen.patch

    @property
    def state(self):
        return self.session.state

    def says(self, section, label="sentenceLabel"):
        return getattr(self.ui(section), label).text

    def rows(self, column, table=None):
        """A column of a table; of the work list unless another table is given."""
        table = table or self.ui("workList").patchTable
        return [table.item(row, column).text() for row in range(table.rowCount)]

    def until(self, condition, seconds=PATIENCE, what=""):
        """Wait for something, and until the panel shows it."""
        found = steps.wait_until(condition, seconds, what)
        steps.wait_until(lambda: not self.panel._stale, seconds)
        return found

    def unfold(self, section):
        """Open a section with a click on its header, and scroll to it."""
        fold = self.panel.sections[section].container
        if fold.collapsed:
            fold.collapsed = False
        self.scroll_to(fold)

    def fold(self, *sections):
        for section in sections:
            self.panel.sections[section].container.collapsed = True
        steps.settle()

    def scroll_to(self, widget):
        area = self.host.window.centralWidget()
        top = widget.mapTo(area.widget(), QtCore.QPoint(0, 0)).y()
        steps.settle()
        area.verticalScrollBar().setValue(top)
        steps.settle()

    # Connection and project

    def connect(self, url, token):
        """Another computer and its token."""
        self.type_connection(url, token)
        self.press_connect()

    def type_connection(self, url, token):
        ui = self.ui("connect")
        steps.type_text(ui.addressEdit, url)
        steps.type_text(ui.tokenEdit, token)

    def press_connect(self):
        steps.click(self.ui("connect").connectButton)
        self.until(lambda: self.presenter.connection.online, what="the connection")

    def fill_in_project(self, title, channel, classes):
        """Name, kind of image and structures of a new project."""
        self.until(lambda: not self.presenter.projects.busy)
        self.ui("project").newBox.collapsed = False
        new = self.panel.sections["project"].new.ui
        steps.type_text(new.nameEdit, title)
        steps.type_text(new.channelsEdit, channel)
        for row, name in enumerate(classes):
            if row:
                steps.click(new.addButton)
            new.labelsTable.item(row, 0).setText(name)
        steps.settle()

    def create_project(self):
        steps.click(self.panel.sections["project"].new.ui.createButton)
        self.until(lambda: self.opened is not None)

    def open_project(self, title):
        """One that is there already."""
        ui = self.ui("project")
        self.until(lambda: ui.openButton.visible and ui.openButton.enabled)
        steps.choose(ui.projectCombo, title)
        steps.click(ui.openButton)
        self.until(lambda: self.opened is not None)

    def add_files(self, paths: Sequence[Path]):
        """Images from files; waits until they are on the server."""
        count = len(self.opened.records.now.cases) + len(paths)
        self.host.answers.expect("QFileDialog.getOpenFileNames", [str(path) for path in paths])
        self.agree()
        steps.click(self.panel.sections["project"].images.ui.filesButton)
        self._arrived(count)

    def add_volume(self, volume):
        """A volume of the scene."""
        count = len(self.opened.records.now.cases) + 1
        images = self.panel.sections["project"].images
        images._selectors[0].setCurrentNode(volume)
        self.agree()
        steps.click(images.ui.addButton)
        self._arrived(count)

    def agree(self):
        """Say yes when it is asked whether images may be sent to the server."""
        if not self.presenter.connection.consent:
            yes = QtWidgets.QMessageBox.StandardButton.Yes
            self.host.answers.expect("are sent to", yes)

    def _arrived(self, count):
        self.until(lambda: len(self.cases) == count or self.opened.uploads.view().failed)
        assert not self.opened.uploads.view().failed, self.opened.uploads.view().failed

    @property
    def cases(self):
        return self.opened.records.now.cases

    def know(self, truths: Sequence[np.ndarray]):
        """The truth of the cases, in the order in which they were added."""
        for case, truth in zip(self.cases, truths, strict=True):
            assert case.shape == truth.shape
            self.truth[case.id] = truth

    # The start

    def look_at(self, case):
        """Show a case, chosen in the list."""
        ui = self.ui("project")
        steps.choose(ui.caseCombo, case.name)
        steps.click(ui.lookButton)
        self.until(lambda: _id(self.panel.sections["project"].viewer.onScreen()) == case.id)

    def draw_rough_box(self, case, value):
        """Round a structure of the case on the screen, which lies along the axes of the body."""
        size = self.panel.sections["project"].size.ui
        size.classTable.setCurrentCell(value - 1, 0)
        before = len(nodes.find_all(nodes.Role.ROUGH))
        steps.click(size.drawButton)
        self.until(lambda: len(nodes.find_all(nodes.Role.ROUGH)) > before)
        grid, found = Grid.of_case(case), np.argwhere(self.truth[case.id] == value)
        low, high = found.min(0), found.max(0)
        corners = grid.to_ras(low - 0.5), grid.to_ras(high + 0.5)
        middle = (corners[0] + corners[1]) / 2
        if self.views is not None:
            for corner in corners:
                self.click_at([*corner[:2], middle[2]])
        # The third edge is drawn at the handles in another view.
        rough = nodes.find(nodes.Role.ROUGH)
        rough.SetCenter(*middle)
        rough.SetSize(*np.abs(corners[1] - corners[0]))
        self.until(lambda: size.classTable.item(value - 1, 1).text() != "0")

    def scroll_views(self, point):
        """So that all slices go through a point (RAS, mm)."""
        for view in self.views.slices:
            view.node.JumpSliceByOffsetting(*point)

    def click_at(self, point):
        """With the mouse in the Red view, at a point (RAS, mm) of the image."""
        self.scroll_views(point)
        self.views.red.click(np.asarray(point))
        steps.settle()

    def place_box(self, case, index, wait=None):
        """A first box for the structure that is due, at a voxel (z, y, x) of the case on the screen."""
        placed = len(self.opened.records.now.patches)
        ui = self.panel.sections["project"].first.ui
        steps.click(ui.placeButton)
        self.until(lambda: nodes.find(nodes.Role.POINT) is not None)
        point = Grid.of_case(case).to_ras(np.asarray(index, float))
        if wait is not None:
            self.scroll_views(point)
            wait()
        if self.views is not None:
            self.click_at(point)
        else:
            nodes.find(nodes.Role.POINT).AddControlPoint(*point)
        self.until(lambda: len(self.opened.records.now.patches) > placed, what="the box is placed")

    def settle_by(self, operator, **settings):
        """The server's operator changes the open project, which is then opened again."""
        project = self.opened.project
        operator.call("PATCH", f"/v1/projects/{project.id}", json=settings).raise_for_status()
        steps.click(self.ui("project").closeButton)
        self.open_project(project.name)
        size = self.panel.sections["project"].size.ui
        if self.opened.records.now.cases:
            self.until(lambda: size.keepButton.visible)
            steps.click(size.keepButton)
            self.until(lambda: not self.ui("project").firstBox.collapsed)

    def suggest_size(self):
        """Have a size suggested from the rough boxes; what the panel says of it."""
        ui = self.panel.sections["project"].size.ui
        steps.click(ui.suggestButton)
        self.until(lambda: ui.useButton.visible, what="a suggestion")
        return ui.suggestionLabel.text

    def use_size(self):
        steps.click(self.panel.sections["project"].size.ui.useButton)
        self.until(lambda: not self.ui("project").firstBox.collapsed)

    def place_boxes(self, wait=None):
        """Two boxes for each structure, in the middle of it, each in another scan.

        `wait` is called before the click of the last one.
        """
        wanted = [value for value, row in enumerate(self.opened.budget().rows, 1) for _ in range(row.missing)]
        for number, value in enumerate(wanted):
            case = self.cases[number % len(self.cases)]
            self.look_at(case)
            found = np.argwhere(self.truth[case.id] == value)
            last = number == len(wanted) - 1
            self.place_box(case, found[len(found) // 2], wait if last else None)

    def add_random_boxes(self):
        steps.click(self.panel.sections["project"].first.ui.randomButton)
        self.until(lambda: self.opened.budget().ready, what="the random boxes")

    # Boxes

    def press(self, action):
        """The key of an action."""
        steps.press(self.ui("patch").titleLabel, key_of(action))

    def begin(self):
        """Press Next."""
        steps.click(self.ui("patch").nextButton)
        return self.shown()

    def shown(self, besides=None):
        """Wait for a box (not this one) that can be drawn in, or for the end; whether there is one."""

        def ready():
            if self.state == State.EDITING:
                return self.patch.id != besides and not self.ui("patch").editor.readOnly
            return self.state == State.DONE

        self.until(ready, what="the next box")
        return self.state == State.EDITING

    @property
    def wanted(self):
        """What is true in the open box."""
        return self.truth[self.patch.case][self.patch.box.slices]

    def look_into(self):
        """Scroll the slices to the middle of what is in the open box."""
        found = np.argwhere(self.wanted) if self.wanted.any() else np.argwhere(self.wanted == 0)
        middle = np.asarray(self.patch.box.start) + found[len(found) // 2]
        self.scroll_views(Grid.of_case(self.session.screen.view.case).to_ras(middle.astype(float)))

    def in_image(self, mask):
        """Voxels of the open box as voxels of its image."""
        whole = np.zeros(self.session.screen.view.case.shape, bool)
        whole[self.patch.box.slices] = mask
        return whole

    def brush(self, labels):
        """Draw these label values with Paint and Erase, slice by slice, out over the edges of the box."""
        editor = self.ui("patch").editor
        if editor.activeEffect() is None:
            editor.setActiveEffectByName("Paint")
        hand = painter(editor)
        now = self.adapter.read().labels
        for value in range(1, len(self.opened.project.labels) + 1):
            tag = self.segment(segments.class_tag(value))
            wrong, missing = (now == value) & (labels != value), (labels == value) & (now != value)
            if wrong.any():
                hand.erase(tag, self.in_image(wrong))
            for z in np.flatnonzero(missing.any(axis=(1, 2))):
                stroke = np.zeros(labels.shape, bool)
                stroke[z] = missing[z]
                hand.paint(tag, self._over_the_edge(stroke, value))

    def _over_the_edge(self, stroke, value):
        """The same stroke outside the box, too, where the structure goes on."""
        whole = self.in_image(stroke)
        truth = self.truth[self.patch.case] == value
        levels = np.flatnonzero(whole.any(axis=(1, 2)))
        outside = ~self.in_image(np.ones(stroke.shape, bool))
        whole[levels] |= (truth & outside)[levels]
        return whole

    def write(self, labels):
        """Draw these label values as scripts and other effects do: whole arrays."""
        node, image = self.adapter.segmentation_node, self.adapter.image_node
        for value in range(1, len(self.opened.project.labels) + 1):
            mask = self.in_image(labels == value).astype(np.uint8)
            slicer.util.updateSegmentBinaryLabelmapFromArray(
                mask, node, self.segment(segments.class_tag(value)), image
            )

    def mark_unsure(self, mask):
        """Draw voxels that nobody can tell."""
        self.press("unsure")
        painter(self.ui("patch").editor).paint(self.segment(segments.UNSURE), self.in_image(mask))
        self.press("unsure")

    def segment(self, tag):
        return segments.segment_ids(self.adapter.segmentation_node, tag)[0]

    def draws(self, labels, unsure=None):
        """Remember an answer that is about to be given in the open box."""
        told = labels.astype(np.int16)
        if unsure is not None:
            told[unsure] = -1
        self.answered.setdefault(self.patch.case, []).append((self.patch.id, self.patch.box, told))

    def answer(self, draw=None):
        """The truth, by the shortest way: confirmed, empty, or drawn and accepted. How it was answered."""
        truth = self.wanted
        view, now = self.session.view(), self.adapter.read().labels
        if view.can_confirm and np.array_equal(now, truth):
            kind, action = "confirmed", "confirm"
        elif not truth.any() and not now.any():
            kind, action = "empty", "empty"
        else:
            kind, action = "answered", "accept"
            (draw or self.brush)(truth)
            assert np.array_equal(self.adapter.read().labels, truth)
        self.draws(truth)
        self._give(action)
        return kind

    def answer_all(self):
        """Every box that is left; how many."""
        count = 0
        while self.state == State.EDITING:
            self.answer(self.write if count % 3 == 2 else None)
            count += 1
        return count

    def accept_as_it_is(self, unsure=None):
        """What stands in the box now is the answer."""
        self.draws(self.adapter.read().labels, unsure)
        self._give("accept")

    def confirm(self):
        """The prediction is right for once."""
        assert self.session.view().can_confirm
        self.draws(self.adapter.read().labels)
        self._give("confirm")

    def skip(self, reason="cannot tell"):
        here = self.patch.id
        self.press("skip")
        steps.pick(self.panel.sections["patch"]._reasons, reason)
        self.shown(besides=here)

    def refer(self, colleague):
        here = self.patch.id
        self.press("refer")
        steps.type_text(self.ui("patch").referEdit, colleague)
        steps.click(self.ui("patch").referSendButton)
        self.shown(besides=here)

    def back(self):
        """To the box before, to correct it."""
        here = self.patch.id
        self.press("previous")
        self.shown(besides=here)
        told = self.answered.get(self.patch.case, [])
        told[:] = [one for one in told if one[0] != self.patch.id]

    def _give(self, action):
        here = self.patch.id
        self.press(action)
        self.shown(besides=here)

    def train(self):
        """Press Train now; waits until it goes on."""
        self.unfold("training")
        steps.click(self.ui("training").startButton)
        self.until(lambda: self.opened.training.running, what="the training")

    def trained(self, seconds=300.0, boxes=True):
        """Wait for its end, and for the boxes that it brings."""
        known = len(self.opened.records.now.patches)
        self.until(lambda: not self.opened.training.running, seconds, "the end of the training")
        if boxes:
            self.until(lambda: len(self.opened.records.now.patches) > known, what="new boxes")

    def all_sent(self):
        self.until(lambda: not self.opened.sending.entries, what="every answer is sent")

    # How the model learns

    def look_at_curve(self):
        """Press Learning curve, or press it again."""
        steps.click(self.ui("progress").curveButton)

    def show_prediction(self, row):
        """Of a case in the list of weak ones."""
        ui = self.ui("progress")
        ui.casesTable.setCurrentCell(row, 0)
        steps.click(ui.predictionButton)
        self.until(lambda: nodes.find(nodes.Role.PREDICTION) is not None, what="the prediction")

    def cut_off(self):
        """Texts of the panel that have too little room."""
        return steps.cut_off(self.host.parent)

    # What must have arrived

    def expected(self, case: str, ignore: int):
        """The label map (z, y, x) of a case that the server must have: answers inside boxes, else ignore."""
        label = np.full(self.truth[case].shape, ignore, np.uint8)
        for _patch, box, told in self.answered.get(case, ()):
            label[box.slices] = np.where(told < 0, ignore, told)
        return label


def load_volume(path: Path, name: str):
    """A file into the scene, as Add Data does."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetScene(slicer.mrmlScene)
    storage.SetFileName(str(path))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    assert storage.ReadData(node), path
    node.CreateDefaultDisplayNodes()
    return node


def voxels_of(volume):
    """Voxels (z, y, x) of a volume of the scene."""
    return voxels(volume.GetImageData())


def _id(case):
    return case.id if case is not None else None
