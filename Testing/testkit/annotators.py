"""Annotators in processes of their own who answer patches through the client's outbox, whatever breaks.

The server may be killed and connections may break at any moment; `tally` says afterwards what came of it.
"""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from nnactive_server.store import Store
from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.api import Client
from NNActiveLogic.client.errors import ClientError
from NNActiveLogic.client.outbox import Outbox
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.client.values import Patch

_CONTEXT = multiprocessing.get_context("spawn")
_LIMITS = Limits(connect_seconds=5, read_seconds=10, total_seconds=20, first_pause=0.05, longest_pause=0.5)


@dataclass(frozen=True)
class Work:
    """What annotators are to do.

    Attributes:
        url: of the server, or of something that stands before it.
        project: id.
        folder: for the outboxes.
        labels: answers to choose from (z, y, x).
        think: longest random pause over a patch, in seconds.
    """

    url: str
    project: str
    folder: Path
    labels: Sequence[np.ndarray]
    think: float


@dataclass
class Diary:
    """What an annotator knows afterwards.

    Attributes:
        name: of the annotator.
        given: patches that the server handed out, in order, repetitions included.
        put: comment of the answer put into the outbox, by patch.
        told: patches whose answer the server acknowledged.
        parked: answers that the server refused.
        troubles: requests that failed for good, after all attempts.
    """

    name: str
    given: list[str] = field(default_factory=list)
    put: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    parked: int = 0
    troubles: int = 0


@dataclass(frozen=True)
class Tally:
    """What came of it; all but `patches` and `once` should be 0.

    Attributes:
        patches: of the project.
        once: have exactly one answer, that of the annotator who was handed the patch.
        never: have none.
        twice: have several.
        lost: answers that were put into an outbox and are not in the store as they were.
        shared: patches that were handed to more than one person.
        parked: answers that the server refused.
    """

    patches: int
    once: int
    never: int
    twice: int
    lost: int
    shared: int
    parked: int


class Annotators:
    """Processes with several annotators each, at work until every patch is answered.

    Args:
        tokens: by name.
        work: see `Work`.
        processes: how many.
    """

    def __init__(self, tokens: Mapping[str, str], work: Work, processes: int) -> None:
        people = list(tokens.items())
        self._pipes, self._processes = [], []
        for number in range(processes):
            here, there = _CONTEXT.Pipe(duplex=False)
            arguments = (there, people[number::processes], work)
            process = _CONTEXT.Process(target=_several, args=arguments, daemon=True)
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    @property
    def working(self) -> bool:
        """Whether any of them has not finished."""
        return any(process.is_alive() for process in self._processes)

    def diaries(self) -> list[Diary]:
        """What they wrote, when all have finished; raises EOFError when a process broke."""
        found = [diary for pipe in self._pipes for diary in pipe.recv()]
        for process in self._processes:
            process.join()
        return found

    def __enter__(self) -> Annotators:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join()


def tally(store: Store, project: str, diaries: Sequence[Diary]) -> Tally:
    """Compare what the store holds with what the annotators did and were told."""
    holders = defaultdict(set)
    for diary in diaries:
        for patch in diary.given:
            holders[patch].add(diary.name)
    counts, found = Counter(), {}
    patches = store.patches.list(project)
    for patch in patches:
        history = store.answers.history(patch.id)
        counts[min(len(history), 2)] += 1
        said = {one.answer.annotator: one.answer.comment for one in history}
        found |= {(patch.id, name): comment for name, comment in said.items()}
        counts["right"] += len(history) == 1 and set(said) == holders[patch.id]
    put = {(patch, diary.name): comment for diary in diaries for patch, comment in diary.put.items()}
    told = {(patch, diary.name) for diary in diaries for patch in diary.told}
    return Tally(
        patches=len(patches),
        once=counts["right"],
        never=counts[0],
        twice=counts[2],
        lost=len(told - set(found)) + sum(found.get(key) != comment for key, comment in put.items()),
        shared=sum(len(names) > 1 for names in holders.values()),
        parked=sum(diary.parked for diary in diaries),
    )


class _Annotator(threading.Thread):
    """Takes the next patch, thinks, answers into the outbox, sends what waits there."""

    def __init__(self, name: str, token: str, work: Work) -> None:
        super().__init__(name=name, daemon=True)
        self.diary, self.failed = Diary(name), False
        self._work, self._random = work, random.Random(name)
        self._client = Client(work.url, token, limits=_LIMITS)
        self._box = Outbox(work.folder / f"{name}.sqlite", work.url, work.project, name)

    def run(self) -> None:
        self.failed = True
        while (patch := self._next()) is not None or self._box.counts().waiting:
            if patch is not None and patch.id not in self.diary.put:
                self._answer(patch)
            self._send()
        self._client.close()
        self._box.close()
        self.failed = False

    def _next(self) -> Patch | None:
        waiting = [entry.patch for entry in self._box.entries()]
        while True:
            with self._unlucky():
                found = self._client.next_patch(self._work.project, waiting)
                if found is not None:
                    self.diary.given.append(found.id)
                return found

    def _answer(self, patch: Patch) -> None:
        time.sleep(self._random.uniform(0, self._work.think))
        labels = self._random.choice(self._work.labels)
        comment = f"{self.name} {len(self.diary.put)}"
        answer = Answer(Kind.LABELLED, labels, seconds=1.0, comment=comment)
        self._box.put(patch.id, answer, self._box.next_revision(patch.id, patch.revision))
        self.diary.put[patch.id] = comment

    def _send(self) -> None:
        report = self._box.flush(self._client, now=True)
        self.diary.told += [entry.patch for entry, _ in report.sent]
        self.diary.parked += len(report.parked)
        if report.problem is not None:
            with self._unlucky():
                raise report.problem

    @contextmanager
    def _unlucky(self) -> Iterator[None]:
        """Count what a network does; anything else ends this annotator."""
        try:
            yield
        except ClientError as problem:
            if not problem.temporary:
                raise
            self.diary.troubles += 1
            time.sleep(self._random.uniform(0.05, 0.3))


def _several(pipe: Connection, people: Sequence[tuple[str, str]], work: Work) -> None:
    annotators = [_Annotator(name, token, work) for name, token in people]
    for one in annotators:
        one.start()
    for one in annotators:
        one.join()
    if any(one.failed for one in annotators):
        raise RuntimeError("an annotator gave up; the reason is printed above")
    pipe.send([one.diary for one in annotators])
    pipe.close()
