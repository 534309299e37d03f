"""What the sections of the panel share."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import slicer
from slicer.i18n import tr as _

from NNActiveLogic.local import LocalServer
from NNActiveLogic.presenter import Presenter
from NNActiveLogic.presenter.answering import Said
from NNActiveLogic.presenter.local import Local
from NNActiveLogic.presenter.steps import Step, step
from NNActiveLogic.scene.adapter import SceneAdapter
from NNActiveLogic.work import WorkError
from NNActiveSlicerLib.settings import Settings

_OPEN = {
    Step.CONNECT: {"connect"},
    Step.PROJECT: {"project"},
    Step.START: {"project"},
    Step.WORK: {"workList", "patch"},
}
"""Which folds are open at a step."""


@contextmanager
def errorsShown(panel: Panel) -> Iterator[None]:
    """What goes wrong meanwhile is shown in the panel; what nobody foresaw goes on to the log, too."""
    try:
        yield
    except WorkError as problem:
        panel.showMessage(str(problem))
    except Exception as problem:
        panel.showError(problem)
        raise


def slot(method: Callable[..., Any]) -> Callable[..., Any]:
    """For methods that Qt calls, of objects with a `panel`: an error is shown, not only printed."""

    @functools.wraps(method)
    def run(self: Any, *arguments: Any) -> Any:
        with errorsShown(self.panel):
            return method(self, *arguments)

    return run


class Panel:
    """What the sections share.

    Attributes:
        presenter: the clinician's work.
        adapter: views and editor.
        settings: of this computer.
        server, local: on this computer, and how it is used.
        sections: by name, from top to bottom.
        actions: what a shortcut does, by the action's name; sections enter theirs in `setup`.

    Args:
        logic: the module's logic, which has these.
        ui: the widgets of the frame.
        resourcePath: gives the path of a file in Resources.
    """

    def __init__(self, logic: Any, ui: Any, resourcePath: Callable[[str], str]) -> None:
        self.presenter: Presenter = logic.presenter
        self.adapter: SceneAdapter = logic.adapter
        self.settings: Settings = logic.settings
        self.server: LocalServer = logic.server
        self.local: Local = logic.local
        self.resourcePath = resourcePath
        self.sections: dict[str, Any] = {}
        self.actions: dict[str, Callable[[], Any]] = {}
        self.entered = False
        self._ui = ui
        self._stale = True
        self._step: Step | None = None
        ui.messageLabel.visible = False

    def refreshSoon(self) -> None:
        """Something else is to be shown: at the next turn of the timer, however often this is called."""
        self._stale = True

    def tick(self) -> None:
        """A turn of the timer: results arrive, and what has changed is drawn."""
        with errorsShown(self):
            self.presenter.tick()
            if not self.entered:
                return
            for section in self.sections.values():
                section.tick()
            if self._stale:
                self.refresh()

    def refresh(self) -> None:
        """Draw everything now."""
        self._stale = False
        self._ui.statusLabel.text = self.presenter.connection.view().sentence
        self._showSending()
        self._follow(step(self.presenter))
        for section in self.sections.values():
            section.refresh()

    def say(self, said: Said, again: Callable[..., Said] | None = None) -> bool:
        """Show why something was not done, or ask and do it after a yes.

        Args:
            said: what an action came to.
            again: the same action, called with `sure=True` after a yes.

        Returns:
            Whether it is done, or under way.
        """
        if said.ask and again is not None:
            return self.ask(said.text) and self.say(again(sure=True))
        self.showMessage(said.text)
        self.refreshSoon()
        return said.ok

    def ask(self, question: str) -> bool:
        """A question to be answered with yes or no."""
        return bool(slicer.util.confirmYesNoDisplay(question))

    def showMessage(self, text: str) -> None:
        """One sentence at the top of the panel; an empty one removes it."""
        self._ui.messageLabel.text = text
        self._ui.messageLabel.visible = bool(text)

    def showError(self, problem: Exception) -> None:
        """Something nobody foresaw: say so, and write it down with all that is known."""
        logging.error("NNActive: %s", problem, exc_info=problem)
        self.showMessage(_("That did not work: {problem}").format(problem=problem))

    def _showSending(self) -> None:
        opened = self.presenter.opened
        self._ui.sendingLabel.text = opened.sending.sentence if opened is not None else ""
        self._ui.sendingLabel.visible = bool(self._ui.sendingLabel.text)

    def _follow(self, now: Step) -> None:
        """Open what is next and fold the rest; only when the step changes, so that a hand's fold stays."""
        if now == self._step:
            return
        self._step = now
        for name, section in self.sections.items():
            section.container.collapsed = name not in _OPEN[now]
