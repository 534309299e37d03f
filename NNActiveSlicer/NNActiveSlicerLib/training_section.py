"""The section Training: start it, see how far it is, stop it, go on."""

from __future__ import annotations

from NNActiveLogic.presenter.answering import Said
from NNActiveSlicerLib.panel import slot
from NNActiveSlicerLib.quiet import advance, say
from NNActiveSlicerLib.section import Section


class TrainingSection(Section):
    """What the presenter knows of the newest training; editing goes on meanwhile."""

    uiName = "Training"

    def setup(self) -> None:
        """Connect signals; called once."""
        self._log: tuple[str, ...] = ()
        self.ui.startButton.connect("clicked()", self.onStart)
        self.ui.cancelButton.connect("clicked()", self.onCancel)
        self.ui.resumeButton.connect("clicked()", self.onResume)

    def refresh(self) -> None:
        """Draw how the training is."""
        ui, opened = self.ui, self.presenter.opened
        self.root.enabled = opened is not None
        if opened is None:
            say(ui.sentenceLabel, "")
            say(ui.hintLabel, "")
            ui.progressBar.visible = ui.cancelButton.visible = ui.resumeButton.visible = False
            return
        view = opened.training.view()
        say(ui.sentenceLabel, view.sentence)
        say(ui.hintLabel, view.hint)
        ui.progressBar.visible = view.running
        advance(ui.progressBar, view.fraction)
        ui.startButton.enabled = view.can_start
        ui.startButton.visible = ui.earlyCheck.visible = not view.running
        ui.cancelButton.visible = view.running
        ui.cancelButton.enabled = view.can_cancel
        ui.resumeButton.visible = view.can_resume
        ui.logBox.visible = bool(view.log)
        if view.log != self._log:
            self._log = view.log
            self._showLog()

    @slot
    def onStart(self) -> None:
        """Train."""
        self._do(self.presenter.opened.training.start(self.ui.earlyCheck.checked))

    @slot
    def onCancel(self) -> None:
        """Stop."""
        self._do(self.presenter.opened.training.cancel())

    @slot
    def onResume(self) -> None:
        """Go on."""
        self._do(self.presenter.opened.training.resume())

    def _do(self, said: Said) -> None:
        self.panel.say(said)
        self.refresh()

    def _showLog(self) -> None:
        text = self.ui.logText
        text.setPlainText("\n".join(self._log))
        bar = text.verticalScrollBar()
        bar.value = bar.maximum
