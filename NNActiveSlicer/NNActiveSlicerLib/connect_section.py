"""The section Connect: a server on this computer, or on another one."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from NNActiveLogic.client.check import Step
from NNActiveLogic.presenter.connection import ConnectionView, State
from NNActiveLogic.presenter.local import Local, LocalState, LocalView
from NNActiveSlicerLib.panel import slot
from NNActiveSlicerLib.quiet import advance
from NNActiveSlicerLib.section import Section
from NNActiveSlicerLib.server_here import useFolder

_GOOD, _LOOK, _BAD = "✓", "!", "✗"


class ConnectSection(Section):
    """Finds or sets up a server here, or connects to one elsewhere, and says what fails."""

    uiName = "Connect"

    @property
    def local(self) -> Local:
        """The server on this computer."""
        return self.panel.local

    def setup(self) -> None:
        """Connect signals; show what was typed last time."""
        self._greeted = False
        self.ui.hereButton.connect("clicked()", self.onHere)
        self.ui.hereAgreeButton.connect("clicked()", self.onAgree)
        self.ui.hereFolderButton.connect("clicked()", self.onFolder)
        self.ui.hereCancelButton.connect("clicked()", self.onCancel)
        self.ui.hereStopButton.connect("clicked()", self.onStop)
        self.ui.hereLogBox.connect("toggled(bool)", self.onLog)
        self.ui.connectButton.connect("clicked()", self.onConnect)
        self.ui.addressEdit.connect("returnPressed()", self.onConnect)
        self.ui.tokenEdit.connect("returnPressed()", self.onConnect)
        self.ui.consentCheck.connect("clicked(bool)", self.onConsent)
        connection = self.presenter.connection
        if not self.local.wanted:
            self.ui.addressEdit.text = connection.address
            self.ui.tokenEdit.text = connection.token

    def enter(self) -> None:
        """The first time, go back to the server of the last time; nothing is asked and nothing downloaded."""
        if self._greeted:
            return
        self._greeted = True
        connection = self.presenter.connection
        if self.local.wanted:
            self.local.resume()
        elif connection.address and connection.token and connection.state == State.NONE:
            connection.connect(connection.address, connection.token)

    def refresh(self) -> None:
        """Draw both ways to connect."""
        self._drawHere(self.local.view())
        self._drawThere(self.presenter.connection.view())

    def cleanup(self) -> None:
        """Nobody looks at the log any more."""
        self.local.watch_log(False)

    @slot
    def onHere(self) -> None:
        """Use this computer."""
        self.panel.say(self.local.use())

    @slot
    def onAgree(self) -> None:
        """Set the server up; what it takes has been read."""
        self.panel.say(self.local.agree())

    @slot
    def onFolder(self) -> None:
        """Set the server up from a folder instead."""
        found = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of wheel files"))
        if found:
            self.local.cancel()
            useFolder(self.panel.server, self.panel.settings, Path(found))
            self.panel.say(self.local.use())

    @slot
    def onCancel(self) -> None:
        """Stop what goes on."""
        self.local.cancel()

    @slot
    def onStop(self) -> None:
        """Stop the server here."""
        if self.panel.say(self.local.stop()):
            self.panel.settings.set("address", "")  # nobody is there at the next start

    @slot
    def onLog(self, shown: bool) -> None:
        """Somebody looks at the log."""
        self.local.watch_log(shown)

    @slot
    def onConnect(self) -> None:
        """Test the connection, and use it when it is good."""
        self.panel.showMessage("")
        self.presenter.connection.connect(self.ui.addressEdit.text, self.ui.tokenEdit.text)

    @slot
    def onConsent(self, yes: bool) -> None:
        """Images may be sent, or no longer."""
        self.presenter.connection.agree(yes)

    def _drawHere(self, view: LocalView) -> None:
        self.ui.hereLabel.text = view.question or view.sentence
        self.ui.hereStageLabel.text = view.stage
        self.ui.hereStageLabel.visible = bool(view.stage)
        self.ui.hereButton.visible = view.can_start
        self.ui.hereAgreeButton.visible = view.state == LocalState.ASKING
        self.ui.hereFolderButton.visible = view.state == LocalState.ASKING
        self.ui.hereCancelButton.visible = view.can_cancel
        self.ui.hereStopButton.visible = view.can_stop
        self.ui.hereProgress.visible = view.busy
        self.ui.hereProgress.maximum = 0 if view.fraction is None else 1000
        advance(self.ui.hereProgress, view.fraction)
        self.ui.hereLogBox.visible = bool(view.log_file)
        self.ui.hereLogFileLabel.text = view.log_file
        self._drawLog("\n".join(view.log))

    def _drawLog(self, text: str) -> None:
        if text != self.ui.hereLog.toPlainText():
            self.ui.hereLog.setPlainText(text)
            bar = self.ui.hereLog.verticalScrollBar()
            bar.value = bar.maximum

    def _drawThere(self, view: ConnectionView) -> None:
        checking = view.state == State.CHECKING
        self.ui.connectButton.enabled = not checking
        self.ui.connectButton.text = _("Testing …") if checking else _("Test and connect")
        typed = not checking and self.local.view().state != LocalState.RUNNING
        lines = [f"{_mark(step)} {step.text}" for step in view.steps if typed]
        self.ui.stepsLabel.text = "\n".join(lines)
        self.ui.stepsLabel.visible = bool(lines)
        self.ui.consentCheck.visible = self.presenter.connection.client is not None and not view.own
        self.ui.consentCheck.checked = view.consent


def _mark(step: Step) -> str:
    if not step.ok:
        return _BAD
    return _LOOK if step.warning else _GOOD
