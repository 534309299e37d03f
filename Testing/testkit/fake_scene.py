"""A scene in numpy: what the clinician sees and draws, without MRML."""

import numpy as np

from NNActiveLogic.work import Reading, WorkError


class FakeScene:
    """Keeps to `work.SceneLike`; `opened` lists what was shown, `problem` is raised by `read`."""

    def __init__(self):
        self.view = None
        self.opened = []
        self.heats = []
        self.stale = False
        self.problem = None
        self.refuse = None
        self._edits = 0

    @property
    def is_open(self):
        return self.view is not None

    def open(self, view):
        assert self.view is None, "two patches at once"
        if self.refuse is not None:
            raise WorkError(self.refuse)
        self.view, self.stale, self._edits = view, False, 0
        self.opened.append(view.patch.id)
        size = view.patch.box.size
        self.labels = np.zeros(size, np.uint8) if view.prefill is None else view.prefill.copy()
        self.unsure = None if view.unsure is None else view.unsure.copy()
        self._before = self.labels.copy(), None if self.unsure is None else self.unsure.copy()

    def draw(self, value, where=np.s_[:1, :1, :1]):
        self.labels[where] = value
        self._edits += 1

    def mark_unsure(self, where=np.s_[:1, :1, :1]):
        self.unsure = np.zeros(self.labels.shape, bool) if self.unsure is None else self.unsure
        self.unsure[where] = True
        self._edits += 1

    def read(self):
        assert self.view is not None
        if self.problem is not None:
            raise WorkError(self.problem, "Undo it.")
        labels, unsure = self._before
        same = np.array_equal(labels, self.labels) and _none(unsure) == _none(self.unsure)
        return Reading(self.labels.copy(), None if self.unsure is None else self.unsure.copy(), not same)

    def set_heat(self, settings, heat):
        self.heats.append((settings, heat))

    def mark_stale(self):
        self.stale = True

    def edits(self):
        return self._edits

    def close(self):
        self.view = None


def _none(mask):
    return b"" if mask is None or not mask.any() else mask.tobytes()
