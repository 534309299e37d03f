"""The job `cycle`: train on all answers, judge the model, propose the next patches.

    store: answers ─► label maps, loop files ─► members ─► cross-validation ─► maps, query ─► store: patches

Every step is a file in the cycle's folder or a row of the store, so a job that was stopped anywhere goes on
there and ends with the same patches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import RawDataset, read_loops
from nnactive_server.jobs.beginning import Plan, begin
from nnactive_server.jobs.layout import model_name, project_root
from nnactive_server.jobs.materialise import materialise
from nnactive_server.jobs.outlook import outlook
from nnactive_server.jobs.projects_on_disk import open_project
from nnactive_server.jobs.reporting import JobContext, JobMonitor
from nnactive_server.loop import (
    WORK,
    Clock,
    Cycle,
    CycleFolder,
    SegmentationEngine,
    project_lock,
    read_costs,
)
from nnactive_server.loop.crossval import cross_validate
from nnactive_server.loop.cycle import EARLY
from nnactive_server.query import Proposal, Query, describe, group_class
from nnactive_server.segmentation.profiles import Profile
from nnactive_server.store import JobState, NewPatch

EngineFactory = Callable[[RawDataset, Path, Profile, Monitor], SegmentationEngine]
"""`(project, workdir, profile, monitor) -> engine`."""
_STAGES = ("train", EARLY, "evaluate", "predict", "query")
"""Whose seconds in the cycle before are expected again, in order; the early proposal only if asked for."""

_logger = logging.getLogger(__name__)


def nnunet(project: RawDataset, workdir: Path, profile: Profile, monitor: Monitor) -> SegmentationEngine:
    """The real engine."""
    from nnactive_server.segmentation import Engine  # imports torch, which takes seconds

    return Engine(project, workdir, profile, monitor)


def run(context: JobContext, make_engine: EngineFactory = nnunet) -> dict[str, Any]:
    """Do the cycle `params["cycle"]` of a project, or go on with it; with `params["early"]` also a first
    proposal from the beginning of the training, which the final one replaces.

    Args:
        context: of the job.
        make_engine: trains and predicts.

    Returns:
        The job's result, plain values: `cycle`, `model`, `patches`, `annotated_voxels`, `foreground_voxels`,
        `minutes`, `classes`, `before_training` as in `materialise`; `folds`, `dice_per_class`, `mean_dice`,
        `fold_spread`, `independent` as in `cross_validate`; `seconds` by stage; `quality` by case name;
        `proposed`, `missing` (numbers of patches) and `shortages` of the query; `outlook` as in `outlook`.

    Raises:
        LoopError: nothing is annotated, another cycle is due, or another process works on the project.
        StoreError: the store or one of its files cannot be used.
        Cancelled: asked to stop; the same job goes on when it is resumed.
        NNActiveError: what else the rooms below raise.
    """
    root = project_root(context.data, context.job.project)
    with project_lock(root):
        return _Run(context, root).finish(make_engine)


class _Run:
    """One attempt."""

    def __init__(self, context: JobContext, root: Path) -> None:
        self._store, self._job, self._data = context.store, context.job, context.data
        self._project = self._store.projects.get(self._job.project)
        self._plan: Plan = begin(self._store, self._project, self._job, root)
        self._folder = CycleFolder(root, self._plan.number)
        self._clock = Clock(context.monitor)
        stages = [stage for stage in _STAGES if stage != EARLY or self._job.params.get("early")]
        _expect(context.monitor, CycleFolder(root, self._plan.number - 1), stages)

    def finish(self, make_engine: EngineFactory) -> dict[str, Any]:
        """Everything that is not done yet."""
        learned = self._materialise()
        project = self._open()
        engine = make_engine(project, project.root / WORK, self._plan.profile, self._clock)
        cycle = Cycle(
            project,
            engine,
            self._plan.strategy,
            self._plan.request,
            pool=sorted(learned["cases"]),
            warm_start=self._plan.profile.warm_start,
            changed=learned["changed"],
            clock=self._clock,
        )
        cycle.update_labels()
        self._propose_early(project, cycle)
        cycle.train()
        judged = cross_validate(self._folder, project, engine, self._clock)
        proposal = cycle.query(besides=self._placed_since())
        quality = cycle.complete_maps(sorted(learned["cases"]))
        asked = self._propose(project, proposal)
        return self._result(learned, judged, proposal, quality, asked)

    def _open(self) -> RawDataset:
        return open_project(self._data, self._project, self._store.cases, self._store.blobs)

    def _materialise(self) -> dict[str, Any]:
        with self._clock.measure(self._folder.costs, "answers"):
            learned = materialise(self._store, self._project.id, self._folder, self._open, self._clock)
        _logger.info(
            "cycle %d: %d answered patches, %d annotated voxels, %d of them foreground",
            *(
                self._plan.number,
                learned["patches"],
                learned["annotated_voxels"],
                learned["foreground_voxels"],
            ),
        )
        return learned

    def _placed_since(self) -> dict[str, list[Patch]]:
        """Boxes by case name that no loop file tells of: they were placed when the cycle had begun."""
        told = {(patch.case, patch.patch) for loop in read_loops(self._folder.root) for patch in loop}
        patches = self._store.patches.list(self._project.id)
        # Read after the patches: it must know the cases of them all.
        names = {case.id: case.name for case in self._store.cases.list(self._project.id)}
        boxes: dict[str, list[Patch]] = {}
        for patch in patches:
            gives_way = patch.early and patch.untouched
            if (names[patch.case], patch.box) not in told and not gives_way:
                boxes.setdefault(names[patch.case], []).append(patch.box)
        return boxes

    def _propose_early(self, project: RawDataset, cycle: Cycle) -> None:
        """What the members say after the first part of the training, if that was asked for."""
        if self._job.params.get("early"):
            proposal = cycle.query_early(besides=self._placed_since())
            if proposal is not None:
                self._propose(project, proposal, early=True)

    def _propose(self, project: RawDataset, proposal: Proposal, early: bool = False) -> int:
        """Store the batch, the same again when that was done before; how many patches there are now."""
        ids = {case.name: case.id for case in self._store.cases.list(self._project.id)}
        batch = [
            NewPatch(ids[query.case], query.patch, query.score, query.group, explanation(query, project))
            for query in proposal
        ]
        made = self._store.patches.propose(self._project.id, self._plan.number + 1, batch, early=early)
        how = " early" if early else ""
        _logger.info("cycle %d: %d patches proposed%s", self._plan.number, len(made), how)
        return len(made)

    def _result(
        self,
        learned: Mapping[str, Any],
        judged: Mapping[str, Any],
        proposal: Proposal,
        quality: Mapping[str, float | None],
        asked: int,
    ) -> dict[str, Any]:
        told = ("patches", "annotated_voxels", "foreground_voxels", "minutes", "classes", "before_training")
        result = {
            "cycle": self._plan.number,
            "model": model_name(self._plan.number),
            **{name: learned[name] for name in told},
            **judged,
            "seconds": read_costs(self._folder.costs)["seconds"],
            "quality": dict(quality),
            "proposed": asked,
            "missing": proposal.missing,
            "shortages": [asdict(shortage) for shortage in proposal.shortages],
        }
        return {**result, "outlook": outlook([*self._before(), result])}

    def _before(self) -> list[Mapping[str, Any]]:
        """Results of the trainings before this one, oldest first."""
        ends = self._store.jobs.results(self._project.id, self._job.kind)
        return [result for state, result in ends if state == JobState.SUCCEEDED and result is not None]


def explanation(query: Query, project: RawDataset) -> dict[str, Any]:
    """What speaks for a patch, as it is stored: values, a sentence, and the class it was chosen for."""
    value = group_class(query.group)
    about = {"class": project.labels.name(value)} if value else {}
    return {**query.why.to_json(), "sentence": describe(query, project.labels.classes), **about}


def _expect(monitor: Monitor, before: CycleFolder, stages: Sequence[str]) -> None:
    """Let a job's monitor estimate from the cycle before."""
    if isinstance(monitor, JobMonitor):
        seconds = read_costs(before.costs)["seconds"]
        monitor.expected = {stage: seconds[stage] for stage in stages if stage in seconds}
