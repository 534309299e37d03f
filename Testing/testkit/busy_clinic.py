"""A server's store in the middle of the work: three trainings done, a fourth running, people annotating."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Patch
from nnactive_server.store import (
    Answer,
    JobState,
    Kind,
    NewPatch,
    Origin,
    PatchState,
    Progress,
    Project,
    Reason,
    Role,
    Store,
)

CLASSES = (("liver", "#3c9d4f"), ("metastasis", "#e0483e"), ("hepatic vein", "#3f77d8"))
CURVE = ((12, (0.61, 0.22, 0.35)), (32, (0.78, 0.47, 0.52)), (52, (0.86, 0.58, 0.64)))
"""Patches, and Dice of each class, of the trainings that are done."""
CASES = 6
BATCH = 20
START = 12
_GRID = Geometry((64, 64, 64), (2.5, 0.8, 0.8), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
_PEOPLE = ("Dr. Okafor", "Dr. Lindqvist", "M. Tanaka")


def settings(classes: Sequence[tuple[str, str | None]] = CLASSES) -> dict[str, Any]:
    """Settings of a project as the API stores them."""
    return {
        "labels": [{"name": name, "colour": colour, "terminology": None} for name, colour in classes],
        "channels": ["CT"],
        "patch_size": [8, 8, 8],
        "query_size": BATCH,
        "strategy": "clasp-pe",
        "strategy_parameters": {},
        "profile": "fast-cpu",
        "profile_overrides": {},
        "seed": 12345,
        "planned_cycles": 5,
    }


def result(cycle: int, patches: int, dice: Sequence[float | None], names: Sequence[str]) -> dict[str, Any]:
    """What the job of a training leaves."""
    known = [value for value in dice if value is not None]
    return {
        "cycle": cycle,
        "model": f"cycle-{cycle:03d}",
        "patches": patches,
        "annotated_voxels": 512 * patches,
        "foreground_voxels": 90 * patches,
        "minutes": 1.5 * patches,
        "classes": {name: patches // (place + 1) for place, name in enumerate(names)},
        "dice_per_class": dict(zip(names, dice, strict=True)) if known else None,
        "mean_dice": sum(known) / len(known) if known else None,
        "fold_spread": {name: 0.03 + 0.03 * place for place, name in enumerate(names)} if known else None,
        "folds": [],
        "independent": cycle < 2,
        "before_training": None,
        "seconds": {"answers": 3.0, "train": 1500.0, "evaluate": 200.0, "predict": 300.0, "query": 120.0},
        "quality": {},
        "proposed": BATCH,
        "missing": 0,
        "shortages": [],
    }


def run_job(store: Store, project: str, kind: str, params: dict[str, Any]) -> tuple[str, int]:
    """Begin a job at once, so that no supervisor takes it; its id and attempt."""
    with store.database.write():
        store.jobs.enqueue(project, kind, params)
        job = store.jobs.claim(pid=os.getpid())
    assert job is not None
    return job.id, job.attempt


class Past:
    """A clock that is behind by some seconds."""

    def __init__(self, behind: float) -> None:
        self.behind = behind

    def __call__(self) -> float:
        return time.time() - self.behind


def train(store: Store, project: str, about: dict[str, Any], clock: Past | None = None) -> None:
    """A training that succeeded; `clock` is the store's, if its time is to pass."""
    with store.database.write():
        job, attempt = run_job(store, project, "cycle", {"cycle": about["cycle"]})
        if clock:
            clock.behind -= sum(about["seconds"].values())
        store.jobs.finish(job, attempt, JobState.SUCCEEDED, result=about)


def propose(store: Store, project: str, cycle: int, count: int, cases: Sequence[str]) -> list[str]:
    """A batch; ids of its patches."""
    boxes = [Patch((i // 64 % 8 * 8, i // 8 % 8 * 8, i % 8 * 8), (8, 8, 8)) for i in range(count)]
    batch = [NewPatch(cases[i % len(cases)], box) for i, box in enumerate(boxes)]
    origin = Origin.QUERY if cycle else Origin.START
    return [patch.id for patch in store.patches.propose(project, cycle, batch, origin)]


def add_cases(store: Store, project: str, count: int = CASES) -> list[str]:
    """Cases that share an image; their ids."""
    image = store.blobs.put(b"voxels")
    return [store.cases.add(project, f"case-{i + 1:04d}", _GRID, [image]).id for i in range(count)]


def answer(store: Store, patch: str, number: int, kind: Kind | None = None) -> None:
    """An answer; kinds and people take turns."""
    kind = kind or (Kind.LABELLED, Kind.LABELLED, Kind.CONFIRMED, Kind.EMPTY)[number % 4]
    more: dict[str, Any] = {
        Kind.LABELLED: {"labels": store.blobs.put(b"labels"), "class_voxels": {0: 400, 1: 112}},
        Kind.CONFIRMED: {"labels": store.blobs.put(b"labels"), "class_voxels": {0: 500, 2: 12}},
        Kind.SKIPPED: {"reason": Reason.CANNOT_TELL},
        Kind.REFERRED: {"referred_to": _PEOPLE[2]},
    }.get(kind, {})
    said = Answer(kind, _PEOPLE[number % 5 // 3], seconds=61.0 + 7 * (number % 11), edits=9, **more)
    store.answers.record(patch, 0, said)


def fill(data: Path) -> Project:
    """Fill the store of a server that runs; the project with all the work."""
    clock = Past(30_000)
    with Store(data, clock=clock) as store:
        project = _history(store, clock)
        clock.behind = 2700
        _trouble(store, clock)
        clock.behind = 1980
        _training_goes_on(store, project)
        clock.behind = 780
        _leases(store, project)
        clock.behind = 20
        _progress(store, project)
    return project


def _history(store: Store, clock: Past) -> Project:
    project = store.projects.create("Liver metastases", settings())
    cases = add_cases(store, project.id)
    names = [name for name, _ in CLASSES]
    patches: list[str] = []
    for cycle, (count, dice) in enumerate(CURVE):
        patches += propose(store, project.id, cycle, BATCH if cycle else START, cases)
        for number, patch in enumerate(patches[len(patches) - (BATCH if cycle else START) :]):
            answer(store, patch, number)
        train(store, project.id, result(cycle, count, dice, names), clock)
        clock.behind -= 3000
    newest = propose(store, project.id, len(CURVE), BATCH, cases)
    for number, patch in enumerate(newest[:11]):
        answer(store, patch, number, {7: Kind.SKIPPED, 9: Kind.REFERRED}.get(number))
    again = Answer(Kind.EMPTY, _PEOPLE[2], seconds=55.0)
    for patch in patches[:4]:
        store.answers.record(patch, 0, again, reading=2)
    for name, role in zip(_PEOPLE, (Role.REVIEWER, Role.ANNOTATOR, Role.ANNOTATOR), strict=True):
        store.tokens.create(name, role)
    store.tokens.revoke(store.tokens.create("old laptop", Role.ANNOTATOR)[0].id)
    return project


def _trouble(store: Store, clock: Past) -> None:
    other = store.projects.create("Kidney tumours (pilot)", settings((("kidney", None), ("tumour", None))))
    cases = add_cases(store, other.id, 2)
    for number, patch in enumerate(propose(store, other.id, 0, 6, cases)):
        answer(store, patch, number)
    with store.database.write():
        job, attempt = run_job(store, other.id, "cycle", {"cycle": 0})
        clock.behind -= 95
        error = "out of memory: choose a smaller profile or batch size, then start the training again"
        store.jobs.finish(job, attempt, JobState.FAILED, error)


def _training_goes_on(store: Store, project: Project) -> None:
    # Both at once: otherwise a supervisor could take the second one.
    with store.database.write():
        run_job(store, project.id, "cycle", {"cycle": len(CURVE)})
        store.jobs.enqueue(project.id, "import", {})


def _leases(store: Store, project: Project) -> None:
    open_ones = store.patches.list(project.id, state=PatchState.OPEN)
    for patch, person in zip(open_ones, _PEOPLE[:2], strict=False):
        store.leases.take(patch.id, person, 7200)


def _progress(store: Store, project: Project) -> None:
    (job,) = store.jobs.list(project.id, [JobState.RUNNING])
    progress = Progress("train", 3120, 5000, "member 2, loss 0.312", 1245.0)
    lines = ["answers: 61 steps", "train: 5000 steps", "member 1 of 3 is trained, loss 0.287"]
    store.jobs.beat(job.id, job.attempt, progress, lines)
