"""A radiologist at the panel: the module on the harness, connected to a stand-in clinic."""

from __future__ import annotations

import numpy as np

from harness import qt_steps as steps
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.presenter.session_view import State

QUICK = Limits(
    connect_seconds=2.0, read_seconds=2.0, total_seconds=4.0, attempts=1, first_pause=0.01, longest_pause=0.02
)


class Reader:
    """What somebody sees and does in the panel.

    Args:
        host: the module, entered.
        server: a running stand-in, or None for a real one.
    """

    def __init__(self, host, server=None):
        self.host, self.server = host, server
        self.panel = host.widget.panel
        self.presenter = self.panel.presenter
        self.presenter.connection._limits, self.presenter._wait = QUICK, 0.2

    def ui(self, section):
        return self.panel.sections[section].ui

    def connect(self, url=None, token="token-ann"):
        self.presenter.connection.connect(url or self.server.url, token)
        self.until(lambda: self.presenter.connection.online)
        self.presenter.connection.agree()
        return self

    def open(self, project):
        assert self.presenter.open(project).ok
        self.until(lambda: self.presenter.opened is not None)
        steps.settle()
        self.panel.refresh()
        return self

    @property
    def session(self):
        return self.presenter.opened.session

    @property
    def adapter(self):
        return self.panel.adapter

    @property
    def here(self):
        """The patch on the screen."""
        return self.session.screen.patch.id if self.session.screen.patch else None

    def until(self, condition, seconds=15.0):
        steps.wait_until(condition, seconds, "")

    def shown(self, patch=None):
        """Wait until a patch (this one) can be edited, and the panel shows it."""
        self.until(lambda: self.session.state == State.EDITING and patch in (None, self.here))
        steps.settle()
        self.panel.refresh()
        return self.here

    def begin(self):
        """Press Next."""
        steps.click(self.ui("patch").nextButton)
        return self.shown()

    def all_loaded(self, count=2):
        """Wait until so many of the boxes that follow are here, with all that is shown of them."""
        ahead, view = self.session.ahead, self.session.loader.view
        self.until(
            lambda: len(ahead.patches) == count and all(view(one) is not None for one in ahead.patches)
        )

    def press(self, keys):
        steps.press(self.ui("patch").titleLabel, keys)

    def paint(self, name, where=np.s_[:1, :1, :1], effect="Paint"):
        """Draw in the box with the embedded editor."""
        from harness.qt_segment_editor import painter

        editor = self.ui("patch").editor
        if editor.activeEffect() is None:
            editor.setActiveEffectByName(effect)
        assert editor.activeEffect() is not None, "the editor takes no strokes"
        box = self.session.screen.patch.box
        stroke = np.zeros(self.session.screen.view.case.shape, bool)
        stroke[box.slices][where] = True
        painter(editor).paint(name, stroke)

    def texts(self, table, column):
        """What stands in a column of a table, from top to bottom."""
        items = [table.item(row, column) for row in range(table.rowCount)]
        return ["" if item is None else item.text() for item in items]

    @staticmethod
    def sent_labels(answer):
        """Label values (z, y, x) of an answer as the server got it."""
        from NNActiveLogic.presenter.disputes import crop_of

        return crop_of(answer, "label")
