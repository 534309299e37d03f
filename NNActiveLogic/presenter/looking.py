"""A whole case to look at, or the model's prediction of it, beside the work on a patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.client.values import Case
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.answering import DONE, Said, refuse
from NNActiveLogic.presenter.desk import Desk
from NNActiveLogic.presenter.lanes import Cancellable
from NNActiveLogic.presenter.loader import Loader

T = TypeVar("T")


class Looking:
    """Loads the image of a case for the views; asking for another one forgets the first.

    Attributes:
        busy: id of the case that is being loaded; empty when none is.
        notice: why it could not be loaded; empty when nothing is wrong.

    Args:
        desk: of the project.
        loader: of voxels.
    """

    def __init__(self, desk: Desk, loader: Loader) -> None:
        self.busy = self.notice = ""
        self._desk, self._loader = desk, loader
        self._task: Cancellable | None = None

    def image(self, case: Case, done: Callable[[Case, VoxelArray], None]) -> Said:
        """Load channel 0 of a case; `done` gets it with the case."""
        return self._fetch(case, lambda: self._loader.fetch_image(case.id), lambda image: done(case, image))

    def prediction(self, case: Case, done: Callable[[Case, VoxelArray, VoxelArray], None]) -> Said:
        """Load the newest model's label values of a case; `done` gets the case, these, and its channel 0."""
        if case.model is None:
            return refuse(words.NOT_PREDICTED, case=case.name)
        client, loader = self._desk.client, self._loader
        return self._fetch(
            case,
            lambda: (client.prediction(case.id), loader.fetch_image(case.id)),
            lambda found: done(case, *found),
        )

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._task is not None:
            self._task.cancel()
        self._task, self.busy = None, ""

    def _fetch(self, case: Case, work: Callable[[], T], done: Callable[[T], None]) -> Said:
        self.cancel()
        self.busy, self.notice = case.id, ""

        def ended(found: T) -> None:
            self.busy, self._task = "", None
            done(found)
            self._desk.changed()

        self._task = self._desk.lanes.submit("load", lambda _: work(), done=ended, failed=self._failed)
        self._desk.changed()
        return DONE

    def _failed(self, problem: Exception) -> None:
        self.busy, self._task = "", None
        self._desk.connection.failed(problem)
        self.notice = str(problem)
        self._desk.changed()
