"""What the cycles of a project found out, as their jobs left it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nnactive_server.api.outlook import Spent, outlook_out, saving_out
from nnactive_server.api.replies import CycleOut, StatisticsOut
from nnactive_server.api.simulations import Simulations
from nnactive_server.store import JobState, Kind, Project, Store

CYCLE = "cycle"
"""Kind of the jobs that train."""
EXPORT = "export"
"""Kind of the jobs that gather model and labels for download."""
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Learning:
    """The trainings of a project that succeeded, oldest first.

    Attributes:
        results: of their jobs.
        training: another one waits or goes on.
    """

    results: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    training: bool = False

    @property
    def newest(self) -> Mapping[str, Any]:
        """The result of the newest; empty before the first."""
        return self.results[-1] if self.results else {}

    @property
    def model(self) -> str | None:
        """Version of the newest model."""
        return self.newest.get("model")

    @property
    def quality(self) -> Mapping[str, float | None]:
        """Predicted quality by case name; only cases that were predicted."""
        quality: Mapping[str, float | None] = self.newest.get("quality", {})
        return quality

    @property
    def next_training(self) -> int:
        """Number of the next training, from 0."""
        return len(self.results)

    @property
    def placing(self) -> int:
        """Cycle of a patch that is placed now: what a training has begun with is not changed."""
        return self.next_training + (1 if self.training else 0)


def learning(store: Store, project: str) -> Learning:
    """How far a project is."""
    ends = store.jobs.results(project, CYCLE)
    done = tuple(result for state, result in ends if state == JobState.SUCCEEDED and result is not None)
    return Learning(done, any(state in _UNFINISHED for state, _ in ends))


def statistics(store: Store, project: Project, simulations: Simulations | None = None) -> StatisticsOut:
    """Learning curve, balance and cost of a project, and whether active learning pays in it.

    Args:
        store: of the server.
        project: whose.
        simulations: of strategies like the project's; None when nobody gave any.
    """
    known = learning(store, project.id)
    current = [record.answer for record in store.answers.current(project.id)]
    settled = [answer for answer in current if answer.kind.settles]
    names = [label["name"] for label in project.settings["labels"]]
    balance = {
        name: sum(answer.class_voxels.get(value, 0) > 0 for answer in settled)
        for value, name in enumerate(names, 1)
    }
    seconds = [result["seconds"] for result in known.results]
    cost = {
        "patches": float(len(settled)),
        "skipped": float(sum(answer.kind == Kind.SKIPPED for answer in current)),
        "minutes": sum(answer.seconds for answer in current) / 60,
        "edits": float(sum(answer.edits for answer in current)),
        "compute_minutes": sum(sum(one.values()) for one in seconds) / 60,
        "train_minutes": sum(one.get("train", 0.0) for one in seconds) / 60,
    }
    spent = Spent(len(settled), 60 * cost["minutes"], 60 * cost["compute_minutes"])
    return StatisticsOut(
        cycles=[_cycle(result) for result in known.results],
        balance=balance,
        cost=cost,
        outlook=outlook_out(known.newest),
        saving=saving_out(simulations, project.settings, spent, len(known.results)),
    )


def _cycle(result: Mapping[str, Any]) -> CycleOut:
    return CycleOut(**{name: result[name] for name in CycleOut.model_fields})
