"""The section Patch: the open box, why it was chosen, the editor, and the answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import qt
from slicer.i18n import tr as _

from NNActiveLogic.client.answers import Reason
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.answering import Said
from NNActiveLogic.presenter.loader import Origin
from NNActiveLogic.presenter.session_view import SessionView, State
from NNActiveLogic.presenter.shortcuts import SHORTCUTS
from NNActiveLogic.presenter.worklist import Filter
from NNActiveSlicerLib.editing import Editing
from NNActiveSlicerLib.heat_controls import HeatControls
from NNActiveSlicerLib.panel import slot
from NNActiveSlicerLib.presence import Presence
from NNActiveSlicerLib.quiet import quiet, say
from NNActiveSlicerLib.section import Section

_WORKING = (State.FETCHING, State.LOADING, State.KEEPING)


class PatchSection(Section):
    """One key or button for each answer; the next box comes by itself."""

    uiName = "Patch"

    def setup(self) -> None:
        """Connect signals; called once."""
        ui = self.ui
        self._patch = ""
        self.editing = Editing(ui.editor, self.panel.adapter)
        self.heat = HeatControls(self.panel, ui)
        self.presence = Presence(self.panel, self.root)
        self.presence.timer.connect("timeout()", self._showTime)
        self.presence.timer.connect("timeout()", self._showHint)
        self._connectAnswers()
        ui.commentEdit.connect("textEdited(QString)", self.onComment)
        ui.prefillCheck.connect("toggled(bool)", self.onPrefill)
        ui.memoryBox.connect("valueChanged(int)", self.onMemory)
        self._showKeys()
        ui.referBox.visible = False
        self._reasons = self._reasonMenu()

    def _connectAnswers(self) -> None:
        ui = self.ui
        actions = {
            "accept": (ui.acceptButton, self.onAccept),
            "confirm": (ui.confirmButton, self.onConfirm),
            "empty": (ui.emptyButton, self.onEmpty),
            "skip": (ui.skipButton, self.onSkip),
            "refer": (ui.referButton, self.onRefer),
            "next": (ui.nextButton, self.onNext),
            "previous": (ui.previousButton, self.onPrevious),
            "centre": (ui.centreButton, self.onCentre),
        }
        for name, (button, action) in actions.items():
            button.connect("clicked()", action)
            self.panel.actions[name] = action
        self.panel.actions["heat"] = self.heat.toggle
        self.panel.actions["unsure"] = self.editing.toggleUnsure
        ui.referEdit.connect("returnPressed()", self.onReferSend)
        ui.referSendButton.connect("clicked()", self.onReferSend)
        ui.referCancelButton.connect("clicked()", lambda: self._openRefer(False))

    def enter(self) -> None:
        """The module was selected."""
        self.editing.enter()
        self.presence.timer.start()

    def exit(self) -> None:
        """Another module was selected."""
        self.presence.timer.stop()
        self.editing.exit()

    def sceneClosing(self) -> None:
        """The scene is about to be emptied: let go of every node."""
        self.editing.release()

    def cleanup(self) -> None:
        """The panel is taken down; called once."""
        self.presence.timer.stop()

    # What is shown

    def refresh(self) -> None:
        """Draw the open box and what may be done with it."""
        opened = self.presenter.opened
        self.root.enabled = opened is not None
        view = opened.session.view() if opened is not None else None
        self.editing.follow(view is not None and view.state == State.EDITING and self.panel.adapter.is_shown)
        self._showPatch(view)
        self._showAnswers(view)
        self._showTime()
        self.heat.refresh()
        with quiet(self.ui.prefillCheck, self.ui.memoryBox):
            self.ui.prefillCheck.checked = self.presenter.preferences.prefill
            self.ui.memoryBox.value = self.presenter.memory

    def _showPatch(self, view: SessionView | None) -> None:
        ui, patch = self.ui, view.patch if view is not None else None
        say(ui.noticeLabel, view.notice if view is not None else "")
        say(ui.sentenceLabel, self._sentence(view))
        say(ui.titleLabel, self._title(patch.id) if patch is not None else "")
        say(ui.whyLabel, patch.sentence if patch is not None else "")
        say(ui.modelLabel, self._origin(view) if view is not None and view.state not in _WORKING else "")
        now = patch.id if patch is not None else ""
        if now != self._patch:
            self._patch = now
            self._openRefer(False)
            ui.commentEdit.text = ""

    def _sentence(self, view: SessionView | None) -> str:
        if view is None:
            return ""
        return (
            _("The box is not shown now. Press Centre to go back to it.") if self._hidden else view.sentence
        )

    @property
    def _hidden(self) -> bool:
        """A box is open and something else is looked at."""
        return self.panel.adapter.is_open and not self.panel.adapter.is_shown

    def _title(self, patch: str) -> str:
        row = next((one for one in self.presenter.opened.rows(Filter.ALL) if one.patch == patch), None)
        if row is None:
            return ""
        parts = [_("Box {number}").format(number=row.number), row.case, row.class_name]
        return ", ".join(part for part in parts if part)

    def _origin(self, view: SessionView) -> str:
        if view.origin is None:
            return ""
        if self.panel.adapter.resumed:
            return _("Goes on from the drawing in the scene that was loaded.")
        shown = self.presenter.opened.session.screen.view
        model = (shown.model if shown is not None else None) or ""
        texts = {
            Origin.NOTHING: _("Starts empty."),
            Origin.PREDICTION: _("Starts from the prediction of model {model}."),
            Origin.EARLIER: _("Starts from the answer that was given before."),
            Origin.DRAFT: _("Goes on from your unfinished drawing."),
        }
        return texts[view.origin].format(model=model)

    def _showAnswers(self, view: SessionView | None) -> None:
        ui = self.ui
        for button in (ui.acceptButton, ui.emptyButton, ui.skipButton, ui.referButton, ui.centreButton):
            button.enabled = view is not None and view.can_answer
        ui.commentEdit.enabled = view is not None and view.can_answer
        ui.confirmButton.enabled = view is not None and view.can_confirm
        ui.previousButton.enabled = view is not None and view.can_go_back
        ui.nextButton.enabled = view is not None and view.state not in _WORKING

    @slot
    def _showTime(self) -> None:
        opened = self.presenter.opened
        seconds = int(opened.session.view().seconds) if opened is not None and self._patch else 0
        say(self.ui.timeLabel, f"{seconds // 60}:{seconds % 60:02d}" if self._patch else "")

    @slot
    def _showHint(self) -> None:
        """The key for what is unsure; or what keeps strokes from working, which the editor shows nowhere."""
        editor, text = self.panel.adapter.editor_node, self._hint
        if editor is not None and editor.GetSourceVolumeIntensityMask():
            low, high = editor.GetSourceVolumeIntensityMaskRange()
            text = _("Only grey values from {low} to {high} can be painted now; the key I ends that.")
            text = text.format(low=f"{low:g}", high=f"{high:g}")
        say(self.ui.unsureLabel, text)

    def _showKeys(self) -> None:
        """Each button carries its key, and says in its tool tip what it does."""
        for shortcut in SHORTCUTS:
            key = qt.QKeySequence(shortcut.key).toString(qt.QKeySequence.NativeText)
            button = getattr(self.ui, f"{shortcut.action}Button", None)
            if button is not None:
                button.text = f"{button.text}\n{key}"
                button.toolTip = shortcut.sentence
        keys = {shortcut.action: shortcut.key for shortcut in SHORTCUTS}
        self.ui.heatCheck.toolTip = f"{words.say(words.ACTION.heat)} ({keys['heat']})"
        self._hint = f"{keys['unsure']}: {words.say(words.ACTION.unsure)}"
        self._showHint()

    # What somebody does

    def go(self, action: Callable[..., Said], *, again: bool = True) -> None:
        """Do something with the open box; no stroke may come between it and what follows."""
        if self.presenter.opened is None:
            return
        self.editing.pause()
        if self._hidden and self.presenter.opened.session.state == State.EDITING:
            # Nobody answers what they do not see.
            self.onCentre()
            return
        try:
            self.panel.say(action(), action if again else None)
        finally:
            self.panel.refresh()

    @slot
    def onAccept(self) -> None:
        """What is drawn counts."""
        self.go(lambda: self.presenter.opened.session.accept(), again=False)

    @slot
    def onConfirm(self) -> None:
        """The prediction is right as it is."""
        self.go(lambda: self.presenter.opened.session.confirm(), again=False)

    @slot
    def onEmpty(self) -> None:
        """Nothing of the structures is in the box."""
        self.go(lambda sure=False: self.presenter.opened.session.empty(sure=sure))

    @slot
    def onSkip(self) -> None:
        """Ask for the reason."""
        button = self.ui.skipButton
        if button.enabled:
            self._reasons.popup(button.mapToGlobal(qt.QPoint(0, button.height)))

    @slot
    def onReason(self, reason: Reason) -> None:
        """No answer is possible."""
        self.go(lambda sure=False: self.presenter.opened.session.skip(reason, sure=sure))

    @slot
    def onRefer(self) -> None:
        """Ask who should look at the box."""
        if self.ui.referButton.enabled:
            self._openRefer(not self.ui.referBox.visible)

    @slot
    def onReferSend(self) -> None:
        """A colleague shall look."""
        colleague = self.ui.referEdit.text
        self.go(lambda: self.presenter.opened.session.refer(colleague), again=False)

    @slot
    def onNext(self) -> None:
        """Leave the box for later."""
        self.go(lambda sure=False: self.presenter.opened.session.next(sure=sure))

    @slot
    def onPrevious(self) -> None:
        """Back to the box before."""
        self.go(lambda sure=False: self.presenter.opened.session.previous(sure=sure))

    @slot
    def onCentre(self) -> None:
        """The views go back to the box."""
        self.panel.adapter.centre()
        self.refresh()

    @slot
    def onComment(self, text: str) -> None:
        """Goes along with the answer."""
        if self.presenter.opened is not None:
            self.presenter.opened.session.screen.comment = text

    @slot
    def onPrefill(self, on: bool) -> None:
        """The boxes that follow start from the prediction, or empty."""
        self.presenter.preferences.prefill = on
        if self.presenter.opened is not None:
            self.presenter.opened.session.ahead.reload()

    @slot
    def onMemory(self, megabytes: int) -> None:
        """Images that are loaded ahead may take more, or less."""
        self.presenter.set_memory(megabytes)

    def _openRefer(self, shown: bool) -> None:
        self.ui.referBox.visible = shown
        if shown:
            self.ui.referEdit.setFocus()

    def _reasonMenu(self) -> Any:
        menu = qt.QMenu(self.ui.skipButton)
        texts = {
            Reason.BAD_IMAGE: words.REASON.bad_image,
            Reason.CANNOT_TELL: words.REASON.cannot_tell,
            Reason.OUT_OF_SCOPE: words.REASON.out_of_scope,
        }
        for number, (reason, text) in enumerate(texts.items(), 1):
            action = menu.addAction(f"&{number}  {words.say(text)}")
            action.connect("triggered()", partial(self.onReason, reason))
        return menu
