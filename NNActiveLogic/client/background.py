"""What the worker does at regular times: prolong leases, send answers, look for events."""

from __future__ import annotations

import threading
from collections.abc import Callable

from NNActiveLogic.client.api import Client
from NNActiveLogic.client.errors import Conflict, NotFoundOnServer
from NNActiveLogic.client.outbox import Outbox, Report
from NNActiveLogic.client.values import Event, Events
from NNActiveLogic.client.worker import Periodic, Worker


class LeaseKeeper:
    """The patches this user works on. May be used from several threads."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._lock = threading.Lock()

    def hold(self, patch: str) -> None:
        """Prolong the lease of a patch from now on."""
        with self._lock:
            self._held.add(patch)

    def drop(self, patch: str) -> None:
        """No longer."""
        with self._lock:
            self._held.discard(patch)

    @property
    def held(self) -> frozenset[str]:
        """The patches whose leases are prolonged."""
        with self._lock:
            return frozenset(self._held)

    def beat(self, client: Client) -> tuple[str, ...]:
        """Prolong every lease once; returns the patches whose lease is gone, which are dropped.

        Raises:
            ClientError: the server cannot be asked; the leases are kept and tried again.
        """
        lost = []
        for patch in sorted(self.held):
            try:
                client.heartbeat(patch, attempts=1)
            except (Conflict, NotFoundOnServer):
                # Dropped meanwhile by the user's own answer: then nothing is lost.
                if patch in self.held:
                    lost.append(patch)
                    self.drop(patch)
        return tuple(lost)


class EventReader:
    """Events in order, each once.

    Args:
        client: asks the server.
        project: only of this one.
        after: number of the last event that was seen.
    """

    def __init__(self, client: Client, project: str | None = None, after: int = 0) -> None:
        self._client = client
        self._project = project
        self.last = after

    def read(self) -> tuple[Event, ...]:
        """What is new, without waiting; raises ClientError."""
        found: Events = self._client.events(self.last, project=self._project)
        new = tuple(event for event in found.events if event.seq > self.last)
        self.last = max([self.last, *(event.seq for event in new)])
        return new


def keep_leases(
    worker: Worker,
    client: Client,
    keeper: LeaseKeeper,
    *,
    seconds: float = 20.0,
    lost: Callable[[tuple[str, ...]], None] | None = None,
    failed: Callable[[Exception], None] | None = None,
) -> Periodic:
    """Have leases prolonged; `lost` is told of those that are gone."""
    return worker.every(seconds, lambda: keeper.beat(client), done=lost, failed=failed)


def send_answers(
    worker: Worker,
    client: Client,
    outbox: Outbox,
    *,
    seconds: float = 2.0,
    done: Callable[[Report], None] | None = None,
    failed: Callable[[Exception], None] | None = None,
) -> Periodic:
    """Have the outbox sent; `done` is told after each round."""
    return worker.every(seconds, lambda: outbox.flush(client), done=done, failed=failed)


def read_events(
    worker: Worker,
    reader: EventReader,
    *,
    seconds: float = 3.0,
    done: Callable[[tuple[Event, ...]], None] | None = None,
    failed: Callable[[Exception], None] | None = None,
) -> Periodic:
    """Have events looked for; short polls, because the one thread has other things to do."""
    return worker.every(seconds, reader.read, done=done, failed=failed)
