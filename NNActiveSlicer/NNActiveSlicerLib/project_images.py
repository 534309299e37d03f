"""The part of the section Project that brings images to the server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.answering import Said
from NNActiveLogic.presenter.incoming import ENDINGS, case_name, cases_of
from NNActiveLogic.presenter.uploads import NewCase
from NNActiveLogic.scene import nodes, outgoing
from NNActiveLogic.work import WorkError
from NNActiveSlicerLib.panel import slot
from NNActiveSlicerLib.quiet import advance, say
from NNActiveSlicerLib.section import Section


class Images(Section):
    """Volumes of the scene, files or a folder, sent one after the other while work goes on."""

    uiName = "Images"

    def setup(self) -> None:
        """Connect signals; the selectors of volumes come with the project."""
        self._selectors: list[Any] = []
        self._channels: tuple[str, ...] = ()
        self.ui.addButton.connect("clicked()", self.onAdd)
        self.ui.allButton.connect("clicked()", self.onAll)
        self.ui.filesButton.connect("clicked()", self.onFiles)
        self.ui.folderButton.connect("clicked()", self.onFolder)
        self.ui.cancelButton.connect("clicked()", self.onCancel)

    def refresh(self) -> None:
        """How many images there are, and what is being sent."""
        opened = self.presenter.opened
        if opened is None:
            return
        self._choose(opened.project.channels)
        count = len(opened.records.now.cases)
        self.ui.countLabel.text = (
            words.count(count, words.CASE_COUNT, words.CASES_COUNT) if count else words.say(words.NO_CASES)
        )
        self.ui.allButton.visible = len(self._channels) == 1
        view = opened.uploads.view()
        say(self.ui.uploadLabel, view.sentence)
        say(self.ui.failedLabel, "\n".join(view.failed))
        self.ui.uploadProgress.visible = self.ui.cancelButton.visible = view.running
        advance(self.ui.uploadProgress, view.fraction)

    @slot
    def onAdd(self) -> None:
        """The chosen volume, or volumes of one case."""
        self._send([self._case([selector.currentNode() for selector in self._selectors])])

    @slot
    def onAll(self) -> None:
        """Every volume of the scene that can be sent."""
        volumes = [node for node in nodes.of_class("vtkMRMLScalarVolumeNode") if self._fits(node)]
        if not volumes:
            raise WorkError(_("There is no image volume in the scene."), _("Load one first."))
        self._send([self._case([volume]) for volume in volumes])

    @slot
    def onFiles(self) -> None:
        """Files that somebody chooses."""
        kinds = " ".join(f"*{ending}" for ending in ENDINGS)
        filter_ = _("Images ({kinds})").format(kinds=kinds)
        found = qt.QFileDialog.getOpenFileNames(slicer.util.mainWindow(), _("Add images"), "", filter_)
        if found:
            names = self.ui.namesCheck.checked
            self._send(cases_of([Path(path) for path in found], len(self._channels), names=names))

    @slot
    def onFolder(self) -> None:
        """A folder that somebody chooses."""
        found = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Add a folder"))
        if found:
            opened, names = self.presenter.opened, self.ui.namesCheck.checked
            self._agreed(lambda: opened.add_folder(Path(found), names))

    @slot
    def onCancel(self) -> None:
        """Send no more."""
        self.presenter.opened.uploads.cancel()

    def _send(self, cases: Sequence[NewCase]) -> None:
        self._agreed(lambda: self.presenter.opened.uploads.add(cases))

    def _agreed(self, send: Any) -> None:
        """Send, after the question whether images may leave this computer where they would."""
        said: Said = send()
        if said.ask and self.panel.ask(said.text):
            self.presenter.connection.agree()
            said = send()
        if not said.ask:
            self.panel.say(said)

    def _case(self, volumes: Sequence[Any]) -> NewCase:
        for volume in volumes:
            if volume is not None and volume.GetAttribute(nodes.ROLE):
                raise WorkError(
                    _("'{name}' comes from the server.").format(name=volume.GetName()),
                    _("Choose a volume of your own."),
                )
        taken = outgoing.take_channels(volumes)
        return NewCase(taken, case_name(taken[0].name) if self.ui.namesCheck.checked else None)

    def _fits(self, node: Any) -> bool:
        return not node.GetAttribute(nodes.ROLE) and not node.GetHideFromEditors() and outgoing.usable(node)

    def _choose(self, channels: tuple[str, ...]) -> None:
        """A selector for each channel of the project."""
        if channels == self._channels:
            return
        form = self.ui.channelsPage.layout()
        while form.rowCount():
            form.removeRow(0)
        self._channels = channels
        self._selectors = [self._selector() for _channel in channels]
        for name, selector in zip(channels, self._selectors, strict=True):
            form.addRow(f"{name}:", selector)

    def _selector(self) -> Any:
        made = slicer.qMRMLNodeComboBox()
        made.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        made.showChildNodeTypes = False
        made.addEnabled = made.removeEnabled = made.renameEnabled = False
        made.toolTip = _("A volume of the scene")
        made.setMRMLScene(slicer.mrmlScene)
        return made
