"""An active-learning experiment against hidden ground truth, which can be stopped and continued.

The run's folder is a project of its own:

    run.json            settings; a later call must bring the same ones
    split.json          pool and test cases
    truth.json          foreground voxels of the whole pool, for the annotated share
    dataset.json        classes, with the ignore id
    imagesTr/           links to the images of pool and test cases
    labelsTr/           partial label maps, of pool cases only
    loop_NNN.json       patches annotated before training N
    cycle_NNN/          one cycle: see `loop.CycleFolder`; plus evaluation.json, triage.json and views/
    work/               the engine's
    summary.json        the results so far

Test cases are in the project so that the engine can predict them, but they are neither in the pool
nor have they label maps, and the plan is made before the engine sees them. Their truth is read from
the source, for judging only.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import atomic_path, read_json, write_json
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import (
    LoopPatch,
    RawDataset,
    loop_path,
    read_loops,
    split_cases,
    start_budget,
)
from nnactive_server.dataset.raw import DESCRIPTION, IMAGES
from nnactive_server.loop import (
    RUN,
    SPLIT,
    WORK,
    Clock,
    Cycle,
    CycleFolder,
    SegmentationEngine,
    claim,
    project_lock,
)
from nnactive_server.query import Query, get_strategy
from nnactive_server.study.judge import discard_parts, judge
from nnactive_server.study.query_views import save_views
from nnactive_server.study.settings import ProfileLike, Settings
from nnactive_server.study.signs import record_pool
from nnactive_server.study.starts import publish_start, take_start
from nnactive_server.study.summary import annotation_path, evaluation_path, write_summary
from nnactive_server.study.truth import Clinician, annotated_voxels

__all__ = ["EngineFactory", "ProfileLike", "Settings", "simulate"]

EngineFactory = Callable[[RawDataset, Path, Any, Monitor], SegmentationEngine]


def simulate(
    source: RawDataset,
    out: Path,
    settings: Settings,
    *,
    monitor: Monitor | None = None,
    make_engine: EngineFactory | None = None,
    after_cycle: Callable[[CycleFolder], None] | None = None,
    start: Path | None = None,
) -> dict[str, Any]:
    """Run an experiment, or continue the one in `out`.

    A run that was stopped anywhere, even killed, continues where it was and proposes the same patches
    as one that was not.

    Args:
        source: data set with complete label maps; they are the clinician's answers and judge the test cases.
        out: the run's folder, see the module.
        settings: what to do.
        monitor: progress and cancel.
        make_engine: `(project, workdir, profile, monitor) -> engine`; nnU-Net by default.
        after_cycle: called when a cycle is complete, again by every call that finds it so.
        start: where runs that begin alike share their first cycle, see `starts`; need not exist.

    Returns:
        The content of summary.json.

    Raises:
        DatasetError: the source is not completely labelled.
        LoopError: another process works in `out`, or it holds a run with other settings.
        Cancelled: asked to stop; the same call continues.
    """
    clinician = Clinician(source)
    with project_lock(out):
        run = _Run(source, out, settings, clinician, Clock(monitor), make_engine or _nnunet)
        for number in range(settings.cycles):
            run.cycle(number, start)
            if start is not None and number == 0:
                publish_start(out, start)
            if after_cycle is not None:
                after_cycle(CycleFolder(out, number))
        return run.summarise()


def _nnunet(project: RawDataset, workdir: Path, profile: Any, monitor: Monitor) -> SegmentationEngine:
    from nnactive_server.segmentation import Engine  # imports torch, which takes seconds

    return Engine(project, workdir, profile, monitor)


class _Run:
    """One experiment while it goes on."""

    def __init__(
        self,
        source: RawDataset,
        out: Path,
        settings: Settings,
        clinician: Clinician,
        clock: Clock,
        make_engine: EngineFactory,
    ) -> None:
        self._settings, self._clinician, self._clock = settings, clinician, clock
        self._description = {
            "dataset": source.name,
            "labels": list(source.labels.classes),
            **settings.to_json(),
        }
        _require_own(out)
        claim(out / RUN, self._description, _before(settings))
        self._pool, self._test = _split(source, out, settings.test_fraction)
        self._project = _make_project(source, out)
        self._engine = make_engine(self._project, out / WORK, settings.profile, clock)
        self._strategy = get_strategy(settings.strategy, **settings.strategy_parameters)

    def cycle(self, number: int, start: Path | None) -> None:
        """Annotate what was asked for before, train, judge, query."""
        last = number == self._settings.cycles - 1
        self._clock.where = f"cycle {number + 1} of {self._settings.cycles}: "
        if number == 0:
            self._start(start)
        cycle = self._cycle(number)
        asks = not self._settings.all_labels and (self._settings.last_query or not last)
        proposal = cycle.run(self._evaluate, query=asks)
        if proposal is not None:
            record_pool(self._project, cycle.folder, self._pool, self._clinician.label, self._settings.patch)
            save_views(self._project, cycle.folder, proposal[: self._settings.views], self._clinician.label)
            self.summarise()
        if not last:
            self._answer(number + 1, [self._as_answer(query) for query in proposal or ()])

    def summarise(self) -> dict[str, Any]:
        """Write summary.json anew."""
        return write_summary(self._project.root, self._description, self._test)

    def _cycle(self, number: int) -> Cycle:
        return Cycle(
            self._project,
            self._engine,
            self._strategy,
            self._settings.request(number),
            pool=self._pool,
            warm_start=self._settings.profile.warm_start,
            label_source=self._clinician.label,
            clock=self._clock,
        )

    def _start(self, shared: Path | None) -> None:
        if not loop_path(self._project.root, 0).exists():
            self._answer(0, self._start_patches())
        if shared is not None:
            take_start(self._project.root, shared)

    def _start_patches(self) -> list[LoopPatch]:
        """The same for every strategy: only the seed decides."""
        if self._settings.all_labels:
            return [self._answered(LoopPatch(case, self._whole(case))) for case in self._pool]
        chosen = start_budget(
            {case: self._project.geometry(case).shape for case in self._pool},
            self._clinician.label,
            self._project.labels,
            self._settings.patch,
            self._settings.first_size,
            self._settings.seed,
        )
        return [self._answered(entry) for entry in chosen]

    def _whole(self, case: str) -> Patch:
        return Patch((0, 0, 0), self._project.geometry(case).shape)

    def _answer(self, number: int, patches: Sequence[LoopPatch]) -> None:
        if not loop_path(self._project.root, number).exists():
            self._clinician.annotate(self._project, number, patches)

    def _as_answer(self, query: Query) -> LoopPatch:
        return self._answered(LoopPatch(query.case, query.patch, query.score, query.group, query.rank))

    def _answered(self, entry: LoopPatch) -> LoopPatch:
        corner = self._project.geometry(entry.case).index_to_world(entry.patch.start)
        return replace(entry, world_corner=corner, annotator="simulated", status="done")

    def _evaluate(self, folder: CycleFolder) -> None:
        path = evaluation_path(folder)
        if path.exists():
            discard_parts(path)  # left by a kill right after the result was written
            return
        with self._clock.measure(folder.costs, "evaluate"):
            write_json(annotation_path(folder), self._annotation())
            self._engine.prepare(self._test)
            self._engine.expect(folder.members, self._test, test=True)
            judge(
                path,
                self._test,
                self._project.labels,
                lambda case: partial(self._engine.slabs, folder.members, case, test=True),
                self._clinician.label,
                self._settings.patch,
                self._clock,
            )
        self.summarise()

    def _annotation(self) -> dict[str, Any]:
        """What is annotated now."""
        voxels, foreground = annotated_voxels(self._project, self._pool)
        whole = self._pool_foreground()
        return {
            "patches": sum(len(loop) for loop in read_loops(self._project.root)),
            "annotated_voxels": voxels,
            "foreground_voxels": foreground,
            "foreground_fraction": foreground / whole if whole else None,
        }

    def _pool_foreground(self) -> int:
        """Voxels of any class in the truth of the pool, counted once."""
        path = self._project.root / "truth.json"
        if not path.exists():
            write_json(path, {"pool_foreground_voxels": self._clinician.foreground_voxels(self._pool)})
        return int(read_json(path, LoopError)["pool_foreground_voxels"])


def _before(settings: Settings) -> dict[str, Any]:
    """What a run.json means that was written before some setting existed: the setting's default."""
    return {**_defaults(settings), "profile": _defaults(settings.profile)}


def _defaults(value: Any) -> dict[str, Any]:
    known = fields(value) if is_dataclass(value) else ()
    return {f.name: f.default for f in known if f.default is not MISSING and f.default is not None}


def _require_own(out: Path) -> None:
    """Refuse a folder in which something else lies, such as the data set itself."""
    if not (out / RUN).exists():
        foreign = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if foreign:
            raise LoopError(
                f"{out}: holds no run but other files, e.g. {foreign[0]}; give a new or empty folder"
            )


def _split(source: RawDataset, out: Path, fraction: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Pool and test cases, by the names of the cases alone."""
    pool, test = split_cases(source.cases, fraction)
    if not test:
        raise LoopError(
            f"{source.root}: {len(source.cases)} cases leave none for testing; "
            "a simulation needs two cases or more and a test share above 0"
        )
    claim(out / SPLIT, {"pool": pool, "test": test})
    return pool, test


def _make_project(source: RawDataset, out: Path) -> RawDataset:
    """Link the images and describe the project; what is there already is kept."""
    for case in source.cases:
        for path in source.image_paths(case):
            _link(path.resolve(), out / IMAGES / path.name)
    if (out / DESCRIPTION).exists():
        return RawDataset.open(out)
    return RawDataset.create(
        out, source.labels.as_partial(), source.channels, source.file_ending, source.name
    )


def _link(source: Path, target: Path) -> None:
    """A link to `source`, or a copy where the file system has no links."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # a link whose target was moved away
    try:
        target.symlink_to(source)
    except OSError:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
