"""What happens on the server, heard by a long poll, each event once, also after the computer slept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from NNActiveLogic.client.values import Event, Events
from NNActiveLogic.presenter.desk import Desk

WAIT_SECONDS = 20.0


class EventFeed:
    """The events of one project.

    Args:
        desk: of the project.
        after: number of the last event that counts as known.
        heard: called with what is new.
        wait: seconds of one poll.
    """

    def __init__(
        self,
        desk: Desk,
        after: int,
        heard: Callable[[Sequence[Event]], None],
        wait: float = WAIT_SECONDS,
    ) -> None:
        self.last = after
        self._desk, self._heard, self._wait = desk, heard, wait
        self._asking = self._stopped = False

    def start(self) -> None:
        """Listen, or go on after an interruption with what was missed."""
        if self._asking or self._stopped:
            return
        self._asking = True
        client, project, after, wait = self._desk.client, self._desk.project.id, self.last, self._wait
        self._desk.lanes.submit(
            "watch", lambda _: client.events(after, wait, project), done=self._found, failed=self._failed
        )

    def stop(self) -> None:
        """Listen no more."""
        self._stopped = True

    def _found(self, found: Events) -> None:
        self._asking = False
        if self._stopped:
            return
        new = [event for event in found.events if event.seq > self.last]
        # The newest number of all may belong to events that did not fit into this answer.
        self.last = max([self.last, *(event.seq for event in new)])
        if new:
            self._heard(new)
        self.start()

    def _failed(self, problem: Exception) -> None:
        self._asking = False
        # Goes on when the connection is back; anything else would only be repeated.
        self._desk.connection.failed(problem)
