"""Patches leased and loaded ahead, so that the next one appears at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from NNActiveLogic.client.values import Patch
from NNActiveLogic.presenter.cache import ArrayCache, Key
from NNActiveLogic.presenter.desk import Desk
from NNActiveLogic.presenter.leases import Leases
from NNActiveLogic.presenter.loader import Loader

_MOST_BESIDES = 100
"""The server takes addresses of bounded length."""


@dataclass(slots=True)
class _Waiting:
    """A leased patch that comes next."""

    patch: Patch
    asked: bool = False


class Ahead:
    """The queue of what comes next.

    Attributes:
        exhausted: the server had nothing more when it was last asked.
        running: somebody works; otherwise nothing is asked for.
        problem: why nothing comes; empty when it may still.

    Args:
        desk: of the project.
        leases: of this clinician.
        loader: of views.
        cache: of the loader.
        occupied: patches that must not come: the open one, those with unsent answers, those passed over.
        outdated: whether a patch was answered here since it looked like this.
        arrived: called when the queue has changed.
    """

    def __init__(
        self,
        desk: Desk,
        leases: Leases,
        loader: Loader,
        cache: ArrayCache,
        *,
        occupied: Callable[[], Iterable[str]],
        outdated: Callable[[Patch], bool],
        arrived: Callable[[], None],
    ) -> None:
        self.exhausted = self.running = False
        self.problem = ""
        self._desk, self._leases, self._loader, self._cache = desk, leases, loader, cache
        self._occupied, self._outdated, self._arrived = occupied, outdated, arrived
        self._queue: list[_Waiting] = []
        self._asking = False
        self._showing: Patch | None = None
        self._loading = ""

    @property
    def patches(self) -> tuple[Patch, ...]:
        """What comes next, in order."""
        return tuple(waiting.patch for waiting in self._queue)

    def start(self) -> None:
        """Begin to fetch."""
        self.running, self.exhausted, self.problem = True, False, ""
        self.fill()

    def stop(self) -> None:
        """Fetch nothing any more, and give back what was fetched."""
        self.running = False
        for waiting in self._queue:
            self._leases.release(waiting.patch.id)
        self._queue.clear()
        self._pin()

    def more(self) -> None:
        """There may be new patches on the server."""
        self.exhausted = False
        self.fill()

    def reload(self) -> None:
        """What was loaded is out of date."""
        for waiting in self._queue:
            waiting.asked = False
        self.fill()

    def take(self, patch: str | None = None) -> Patch | None:
        """The next patch, or this one, out of the queue; None when it is not there."""
        found = [one for one in self._queue if patch in (None, one.patch.id)]
        if not found:
            return None
        self._queue.remove(found[0])
        return found[0].patch

    def drop(self, patches: Iterable[str]) -> None:
        """These are not ours any more."""
        gone = set(patches)
        self._queue = [waiting for waiting in self._queue if waiting.patch.id not in gone]
        self._pin()

    def show(self, patch: Patch | None) -> None:
        """What is on the screen, or will be next: it stays in memory."""
        self._showing = patch
        self._pin()

    def fill(self) -> None:
        """Ask for what is missing in the queue, and load what is in it."""
        if not self.running:
            return
        self._load()
        # Without anything on the screen one is needed even by those who want none ahead.
        wanted = max(self._desk.preferences.ahead, 1 if self._showing is None else 0)
        if len(self._queue) >= wanted or self._asking or self.exhausted or self.problem:
            return
        self._asking = True
        mine = [waiting.patch.id for waiting in self._queue]
        besides = [*dict.fromkeys([*mine, *self._occupied()])][:_MOST_BESIDES]
        self._leases.next(besides, self._found, self._failed)

    def _found(self, patch: Patch | None) -> None:
        self._asking = False
        if patch is None:
            self.exhausted = True
        elif not self.running:
            self._leases.release(patch.id)
        elif patch.id in [*(one.patch.id for one in self._queue), *self._occupied()]:
            # Leased for another reason while this request was on its way; with too many to name, the rest
            # of the answers has to be sent first.
            self.exhausted = len([*self._occupied()]) >= _MOST_BESIDES
        elif not self._outdated(patch):
            self._leases.hold(patch)
            self._queue.append(_Waiting(patch))
        self._arrived()
        self.fill()

    def _failed(self, problem: Exception) -> None:
        self._asking = False
        if self.running:
            # Asked again when the connection is back; other problems wait for a person.
            self.problem = str(problem)
            self._desk.connection.failed(problem)
            self._arrived()

    def resume(self) -> None:
        """The connection is back, or somebody wants to try again."""
        self.problem = ""
        self.exhausted = False
        self.reload()

    def loading(self, patch: Patch) -> bool:
        """Whether this patch is just being loaded ahead."""
        return self._loading == patch.id

    def _load(self) -> None:
        """Load the first patch that was not tried yet; one at a time, in the order in which they come."""
        if self._loading:
            return
        for waiting in self._queue:
            if not waiting.asked:
                waiting.asked = True
                if self._loader.fits_ahead(waiting.patch):
                    self._fetch(waiting.patch)
                    return

    def _fetch(self, patch: Patch) -> None:
        self._loading = patch.id

        def ended() -> None:
            self._loading = ""
            self._pin()
            self._arrived()
            self.fill()

        def failed(problem: Exception) -> None:
            # Tried again, and said aloud, when its turn comes.
            self._desk.connection.failed(problem)
            ended()

        loader = self._loader
        self._desk.lanes.submit("ahead", lambda _: loader.load(patch), done=lambda _: ended(), failed=failed)

    def _pin(self) -> None:
        ready = [one.patch for one in self._queue if self._loader.view(one.patch) is not None]
        shown = [] if self._showing is None else [self._showing]
        keys: list[Key] = [key for patch in [*shown, *ready] for key in self._loader.keys(patch)]
        self._cache.pin(keys)
