"""Projects: listed, made, their settings and their start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from NNActiveLogic.client.api import Client
from NNActiveLogic.client.values import Batch, Box, Float3, Patch, Project, Suggestion
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.answering import DONE, Said, refuse
from NNActiveLogic.presenter.connection import Connection
from NNActiveLogic.presenter.labels_table import LONGEST, LabelRow, check_channels, check_labels
from NNActiveLogic.presenter.lanes import LanesLike

T = TypeVar("T")
PROFILES = {"fast-cpu": words.PROFILE_QUICK, "paper": words.PROFILE_THOROUGH, "deploy": words.PROFILE_LONG}
"""How much computing a training takes: names on the server, with what people read."""


class Projects:
    """What can be done with projects; each request ends in `changed`, with its result or a `notice`.

    Attributes:
        known: all projects of the server, as last listed.
        suggestion: the last one.
        busy: something is under way.
        notice: what went wrong; empty when nothing did.

    Args:
        connection: to the server.
        lanes: threads.
        changed: called when something else is to be shown.
    """

    def __init__(self, connection: Connection, lanes: LanesLike, changed: Callable[[], None]) -> None:
        self.known: tuple[Project, ...] = ()
        self.suggestion: Suggestion | None = None
        self.busy = False
        self.notice = ""
        self._connection, self._lanes, self._changed = connection, lanes, changed

    def list(self) -> Said:
        """Ask which projects there are."""
        return self._ask(lambda client: client.projects(), self._listed)

    def create(
        self,
        name: str,
        rows: Sequence[LabelRow],
        channels: Sequence[str],
        done: Callable[[Project], None],
        **settings: Any,
    ) -> Said:
        """Make a project; `settings` as in `Client.create_project`."""
        fault = self._fault(name, rows, channels)
        if fault:
            return Said(False, fault)
        labels = [row.label() for row in rows]
        names = [channel.strip() for channel in channels]

        def made(project: Project) -> None:
            self.known = (*self.known, project)
            done(project)

        return self._ask(lambda client: client.create_project(name.strip(), labels, names, **settings), made)

    def change(self, project: str, done: Callable[[Project], None], **settings: Any) -> Said:
        """Change settings; refused by the server where they are fixed."""
        if not self._connection.view().can_administer:
            return refuse(words.ADMIN_NEEDED, role=self._connection.view().role)
        return self._ask(lambda client: client.change_project(project, **settings), done)

    def suggest(
        self,
        project: str,
        boxes: Mapping[str, Sequence[Float3]],
        variable: Sequence[str] = (),
        interest: Sequence[str] = (),
    ) -> Said:
        """Ask for settings by the guidelines, from rough sizes (z, y, x; mm) of structures by class."""
        drawn = {name: sizes for name, sizes in boxes.items() if sizes}
        if not drawn:
            return refuse(words.NO_BOXES)
        self.suggestion = None
        return self._ask(
            lambda client: client.suggestion(project, drawn, variable, interest), self._suggested
        )

    def place(self, project: str, case: str, box: Box, name: str, done: Callable[[Patch], None]) -> Said:
        """Place a box for a class."""
        return self._ask(lambda client: client.place_patch(project, case, box, name), done)

    def draw_start(self, project: str, count: int, done: Callable[[Batch], None]) -> Said:
        """Add random boxes for the start."""
        return self._ask(lambda client: client.start_patches(project, count), done)

    def sentence(self) -> str:
        """What is above the list of projects."""
        if self.known:
            return words.say(words.PROJECTS)
        admin = self._connection.view().can_administer
        return words.say(words.NO_PROJECTS_ADMIN if admin else words.NO_PROJECTS)

    def _fault(self, name: str, rows: Sequence[LabelRow], channels: Sequence[str]) -> str:
        """The first thing that is wrong, for people; empty when nothing is."""
        view = self._connection.view()
        if not view.can_administer:
            return words.say(words.ADMIN_NEEDED, role=view.role)
        if not 0 < len(name.strip()) <= LONGEST:
            return words.say(words.NAME_MISSING)
        return next((fault.text for fault in (*check_labels(rows), *check_channels(channels))), "")

    def _ask(self, work: Callable[[Client], T], done: Callable[[T], None]) -> Said:
        client = self._connection.client
        if client is None:
            return refuse(words.NOT_CONNECTED)
        self.busy, self.notice = True, ""

        def ended(value: T) -> None:
            self.busy = False
            done(value)
            self._changed()

        self._lanes.submit("front", lambda _: work(client), done=ended, failed=self._failed)
        self._changed()
        return DONE

    def _listed(self, found: tuple[Project, ...]) -> None:
        self.known = found

    def _suggested(self, found: Suggestion) -> None:
        self.suggestion = found

    def _failed(self, problem: Exception) -> None:
        self.busy = False
        self._connection.failed(problem)
        self.notice = str(problem)
        self._changed()
