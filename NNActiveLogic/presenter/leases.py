"""Which patches this clinician has leased: asked for, prolonged while needed, given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from NNActiveLogic.client.background import LeaseKeeper
from NNActiveLogic.client.errors import ClientError
from NNActiveLogic.client.values import Lease, Patch
from NNActiveLogic.presenter.desk import Desk
from NNActiveLogic.presenter.lanes import Cancellable

_SHORTEST, _LONGEST = 5.0, 60.0


class Leases:
    """The leases of one clinician in one project. Requests keep their order, as they share a lane.

    Args:
        desk: of the project.
        lost: called with the patches whose lease is gone although it was wanted.
    """

    def __init__(self, desk: Desk, lost: Callable[[frozenset[str]], None]) -> None:
        self._desk, self._lost = desk, lost
        self._keeper = LeaseKeeper()
        self._owed: set[str] = set()
        self._beat: Cancellable | None = None
        self._seconds = 0.0

    @property
    def held(self) -> frozenset[str]:
        """The patches whose leases are prolonged."""
        return self._keeper.held

    def next(
        self,
        besides: Sequence[str],
        done: Callable[[Patch | None], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Lease the next patch that waits for an answer, besides these."""
        client, project = self._desk.client, self._desk.project.id
        reading = self._desk.preferences.reading
        self._desk.lanes.submit(
            "front", lambda _: client.next_patch(project, besides, reading), done=done, failed=failed
        )

    def take(self, patch: str, done: Callable[[Patch], None], failed: Callable[[Exception], None]) -> None:
        """Lease this patch."""
        client = self._desk.client

        def taken(found: Patch) -> None:
            self.hold(found)
            done(found)

        def refused(problem: Exception) -> None:
            # Without a reply nobody knows whether it was given; then it is given back when that is possible.
            if isinstance(problem, ClientError) and problem.temporary:
                self._owed.add(patch)
            failed(problem)

        self._desk.lanes.submit("front", lambda _: client.lease(patch), done=taken, failed=refused)

    def hold(self, patch: Patch) -> None:
        """Prolong the lease of a patch from now on."""
        self._owed.discard(patch.id)
        self._keeper.hold(patch.id)
        if patch.lease is not None:
            self._beat_every(_interval(patch.lease))

    def drop(self, patch: str) -> None:
        """The lease has ended with an answer."""
        self._keeper.drop(patch)

    def release(self, patch: str) -> None:
        """Give a lease back; when the server cannot be reached, as soon as it can."""
        self._keeper.drop(patch)
        self._owed.add(patch)
        self._give_back(patch)

    def retry(self) -> None:
        """Give back what could not be given back before."""
        for patch in sorted(self._owed - self.held):
            self._give_back(patch)

    def stop(self) -> None:
        """Give everything back, and prolong nothing any more."""
        for patch in sorted(self.held):
            self.release(patch)
        if self._beat is not None:
            self._beat.cancel()

    def _give_back(self, patch: str) -> None:
        client = self._desk.client

        def work() -> None:
            # Taken again since: then it is no longer owed.
            if patch not in self._keeper.held:
                client.release(patch)

        def failed(problem: Exception) -> None:
            if not self._desk.connection.failed(problem):
                self._owed.discard(patch)

        self._desk.lanes.submit(
            "front", lambda _: work(), done=lambda _: self._owed.discard(patch), failed=failed
        )

    def _beat_every(self, seconds: float) -> None:
        if self._beat is not None and abs(seconds - self._seconds) < 0.25 * self._seconds:
            return
        if self._beat is not None:
            self._beat.cancel()
        self._seconds = seconds
        client, keeper = self._desk.client, self._keeper
        self._beat = self._desk.lanes.every(
            "post",
            seconds,
            lambda: keeper.beat(client),
            done=self._beaten,
            failed=self._desk.connection.note,
        )

    def _beaten(self, lost: tuple[str, ...]) -> None:
        if lost:
            self._lost(frozenset(lost))


def _interval(lease: Lease) -> float:
    """A third of what is left; within limits, because the server's clock may differ from ours."""
    return min(max((lease.expires - time.time()) / 3, _SHORTEST), _LONGEST)
