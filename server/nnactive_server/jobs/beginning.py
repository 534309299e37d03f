"""How a cycle begins: what it was begun with stays, until another job begins it anew."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, remove_leftovers, write_json
from nnactive_server.core.patch import index3
from nnactive_server.dataset.raw import LABELS
from nnactive_server.loop import RUN, WORK, CycleFolder
from nnactive_server.query import Request, Strategy, get_strategy
from nnactive_server.segmentation.profiles import Profile, get_profile
from nnactive_server.store import Job, JobState, Origin, Project, Store

_DISCARDED = ".discarded-"


@dataclass(frozen=True)
class Plan:
    """A cycle's settings, as they were when it began.

    Attributes:
        number: of the cycle, from 0.
        settings: of the project, plain values.
    """

    number: int
    settings: Mapping[str, Any]

    @property
    def profile(self) -> Profile:
        """How the members are trained and predict; raises SegmentationError."""
        return get_profile(self.settings["profile"], **self.settings["profile_overrides"])

    @property
    def strategy(self) -> Strategy:
        """Chooses patches; raises QueryError."""
        return get_strategy(self.settings["strategy"], **self.settings["strategy_parameters"])

    @property
    def request(self) -> Request:
        """What the query after the training asks for; raises QueryError."""
        return Request(
            self.settings["query_size"],
            index3(self.settings["patch_size"], "patch_size"),
            step=self.number,
            total_steps=max(1, self.settings["planned_cycles"] - 1),
            seed=self.settings["seed"],
        )


def begin(store: Store, project: Project, job: Job, root: Path) -> Plan:
    """Begin a cycle, or go on with it. The caller holds the project's lock.

    A job that is resumed goes on with the settings it began with. Another job for the same cycle, after one
    that failed or was cancelled, begins anew with the present settings and answers, unless the first one had
    proposed its patches already: then only its end is missing.

    Args:
        store: of the server.
        project: as it is now.
        job: its params name the cycle.
        root: the project's folder.

    Raises:
        LoopError: another cycle is due.
        QueryError, SegmentationError: settings that no training accepts.
    """
    number = _due(store, job)
    folder = CycleFolder(root, number)
    path = folder.path / "job.json"
    _tidy(root)
    if folder.path.exists() and not _goes_on(store, job, path, number):
        _discard(root, folder)
    if not path.exists():
        write_json(path, {"job": job.id, "settings": project.settings})
    plan = Plan(number, read_json(path, LoopError)["settings"])
    # Asked now, so that wrong settings do not show after hours.
    _ = plan.request, plan.strategy
    write_json(root / RUN, {"project": project.name, **plan.settings, "profile": plan.profile.to_json()})
    return plan


def _due(store: Store, job: Job) -> int:
    """The number of the job's cycle, if it is its turn."""
    number = int(job.params["cycle"])
    jobs = store.jobs.list(job.project, (JobState.SUCCEEDED,))
    due = sum(other.kind == job.kind for other in jobs)
    if number != due:
        raise LoopError(f"cycle {number}: cycle {due} is the next one to be trained; start that one")
    return number


def _goes_on(store: Store, job: Job, path: Path, number: int) -> bool:
    if path.exists() and read_json(path, LoopError)["job"] == job.id:
        return True
    proposed = store.patches.list(job.project, cycle=number + 1)
    return path.exists() and any(patch.origin != Origin.PLACED and not patch.early for patch in proposed)


def _discard(root: Path, folder: CycleFolder) -> None:
    """Remove what an earlier job left of a cycle; of the first also the plan, which its settings shaped."""
    if folder.number == 0 and (root / WORK).exists():
        (root / WORK).rename(root / f"{_DISCARDED}{secrets.token_hex(4)}")
    folder.path.rename(root / f"{_DISCARDED}{secrets.token_hex(4)}")
    _tidy(root)


def _tidy(root: Path) -> None:
    """Remove what is discarded, and what killed processes left half written."""
    for rest in root.glob(f"{_DISCARDED}*"):
        shutil.rmtree(rest, ignore_errors=True)
    for folder in (LABELS, WORK, "cycle_*"):
        for found in root.glob(folder):
            remove_leftovers(found)
