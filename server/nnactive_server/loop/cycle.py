"""One cycle: read new annotations, train, let the caller evaluate, predict the pool, query."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import write_json
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import LoopPatch, RawDataset, read_loops
from nnactive_server.loop.clock import Clock
from nnactive_server.loop.engine import SegmentationEngine
from nnactive_server.loop.folder import CycleFolder, EarlyFolder, claim
from nnactive_server.loop.outputs import Outputs
from nnactive_server.loop.pool import LabelSource, Offers, Pool
from nnactive_server.loop.proposal import read_proposal, write_besides, write_proposal
from nnactive_server.query import Proposal, Request, Strategy, merge_candidates

Loops = Sequence[Sequence[LoopPatch]]
Boxes = Mapping[str, Sequence[Patch]]
"""By case."""
EARLY = "early"
"""Stage of a proposal that is made while the training still goes on."""


class Cycle:
    """Cycle `request.step` of a project, which is trained on the loop files 0 to `request.step`.

    Each stage writes its result and is skipped when that is there, so a cycle that was stopped
    anywhere is continued by running it again.

    Args:
        project: images, partial labels and loop files.
        engine: trains and predicts.
        strategy: chooses patches.
        request: of this cycle's query; its seed is also the training's.
        pool: cases to query from; all by default.
        warm_start: go on from the members of the cycle before.
        label_source: labels for strategies that need them; by default the current prediction.
        changed: cases whose label maps may differ from what the engine has read, also those that have lost
            theirs; by default the cases of this cycle's loop file.
        clock: receives progress and time.

    Raises:
        LoopError: this cycle was begun with other settings.
    """

    def __init__(
        self,
        project: RawDataset,
        engine: SegmentationEngine,
        strategy: Strategy,
        request: Request,
        *,
        pool: Sequence[str] | None = None,
        warm_start: bool = False,
        label_source: LabelSource | None = None,
        changed: Sequence[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.folder = CycleFolder(project.root, request.step)
        self._project, self._engine = project, engine
        self._strategy, self._request = strategy, request
        self._clock = clock or Clock()
        self._cases = tuple(pool if pool is not None else project.cases)
        self._warm_start, self._changed = warm_start, changed
        self._label_source = label_source
        self._outputs = self._outputs_of(self.folder)
        self._pool = Pool(engine, self.folder, self._offers(self._outputs), self._clock)
        settings = {"strategy": repr(strategy), "request": asdict(request), "warm_start": warm_start}
        claim(self.folder.settings, settings, {"request": {"overlap": 0.0}})

    def run(
        self,
        evaluate: Callable[[CycleFolder], None] | None = None,
        query: bool = True,
        besides: Boxes | None = None,
    ) -> Proposal | None:
        """All stages in order; `evaluate` is called between training and query, on every run.

        Args:
            evaluate: may use the trained members in the folder it gets.
            query: False ends the cycle after the evaluation.
            besides: see `query`.

        Returns:
            The proposal, or None without a query.

        Raises:
            LoopError: the loop file of this cycle is missing.
            Cancelled: asked to stop; running the cycle again continues it.
        """
        self.update_labels()
        self.train()
        if evaluate is not None:
            evaluate(self.folder)
        return self.query(besides) if query else None

    def update_labels(self) -> None:
        """Let the engine prepare the pool and read the label maps that are new.

        What it keeps of a label map that is gone stays unused: only cases that have one are trained on.
        """
        if self.folder.labels.exists():
            return
        with self._clock.measure(self.folder.costs, "label_update"):
            loops = self._loops()
            new = self._labelled(loops[-1:]) if self._changed is None else self._with_label(self._changed)
            self._engine.prepare(sorted({*self._cases, *self._labelled(loops), *new}))
            self._engine.update_labels(new)
        write_json(self.folder.labels, {"cases": new})

    def train(self) -> None:
        """Train this cycle's members on all annotated cases."""
        if self.folder.training.exists():
            return
        self._clock.check()
        with self._clock.measure(self.folder.costs, "train"):
            report = self._engine.train(self.folder.members, **self._training())
        losses = [loss if math.isfinite(loss) else None for loss in report.losses]
        write_json(self.folder.training, {"iterations": list(report.iterations), "losses": losses})

    def query_early(self, besides: Boxes | None = None) -> Proposal | None:
        """Train only the first part, and propose patches by what the members say then.

        Whoever waits can begin with these; `train` goes on from there and `query` proposes anew. The
        members end the same with and without this. A strategy that asks no members needs no training.

        Args:
            besides: see `query`.

        Returns:
            The proposal; None when the training is over, so that there is nothing to gain.

        Raises:
            Cancelled: asked to stop; calling it again continues.
        """
        if self.folder.training.exists():
            return None
        early = self.folder.early
        if not early.queries.exists():
            offers = self._offers(self._outputs_of(early))
            if offers.needs_model:
                self._train_early(early)
            with self._clock.measure(early.costs, EARLY):
                pool = Pool(self._engine, early, offers, self._clock, EARLY)
                taken = joined(annotated_boxes(self._loops()), besides or {})
                made = merge_candidates(pool.offers(self._cases, taken), self._strategy, self._request)
                write_proposal(early, made, self._project.geometry)
        return read_proposal(early)

    def query(self, besides: Boxes | None = None) -> Proposal:
        """Propose the next patches; strategies that need no model skip the prediction of the pool.

        Args:
            besides: further boxes by case that are taken, such as patches people placed since the training
                began; a query that is made already stays as it is.
        """
        if not self.folder.queries.exists():
            with self._clock.measure(self.folder.costs, "query"):
                write_besides(self.folder, besides or {})
                taken = joined(annotated_boxes(self._loops()), besides or {})
                made = merge_candidates(self._pool.offers(self._cases, taken), self._strategy, self._request)
                write_proposal(self.folder, made, self._project.geometry)
        proposal = read_proposal(self.folder)
        shutil.rmtree(self.folder.early.path, ignore_errors=True)
        self._pool.tidy()
        return proposal

    def complete_maps(self, cases: Sequence[str]) -> dict[str, float | None]:
        """Predict the cases that lack maps, because the query needed none, and store them.

        The maps of the cycle before stay until both the query and the maps of this one are there, in
        whichever order they are made.

        Args:
            cases: of the pool.

        Returns:
            Predicted quality of each case, see `core.mapfiles.read_quality`.

        Raises:
            LoopError: stored maps are damaged.
            Cancelled: asked to stop; the cases done so far are on disk.
        """
        lacking = [case for case in cases if self._outputs.lacks_maps(case)]
        self._engine.expect(self.folder.members, lacking)
        for done, case in enumerate(lacking, start=1):
            self._clock.check()
            with self._clock.measure(self.folder.costs, "predict"):
                self._outputs.make_maps(self._engine, case)
            self._clock.report("predict", done, len(lacking), case)
        if self.folder.queries.exists():
            self._pool.tidy()
        return {case: self._outputs.quality(case) for case in cases}

    def _train_early(self, early: EarlyFolder) -> None:
        if not early.training.exists():
            with self._clock.measure(early.costs, "train"):
                self._engine.begin(self.folder.members, early.members, **self._training())
            write_json(early.training, {})

    def _training(self) -> dict[str, Any]:
        """What the engine is asked to train."""
        before = CycleFolder(self._project.root, self.folder.number - 1)
        return {
            "cases": self._labelled(self._loops()),
            "seed": self._request.seed,
            "cycle": self.folder.number,
            "warm_start": before.members if self._warm_start and self.folder.number else None,
        }

    def _outputs_of(self, folder: CycleFolder) -> Outputs:
        return Outputs(folder.members, [folder.own], self._project.labels)

    def _offers(self, outputs: Outputs) -> Offers:
        return Offers(self._project, outputs, self._strategy, self._request, self._label_source)

    def _loops(self) -> Loops:
        return loops_before(self._project.root, self.folder.number)

    def _labelled(self, loops: Sequence[Sequence[LoopPatch]]) -> list[str]:
        """Cases of these loop files that have a label map: one whose patches were all skipped has none."""
        return self._with_label({patch.case for loop in loops for patch in loop})

    def _with_label(self, cases: Iterable[str]) -> list[str]:
        return sorted(case for case in cases if self._project.has_label(case))


def loops_before(root: Path, number: int) -> Loops:
    """The loop files 0 to `number`, on which this cycle is trained.

    Raises:
        LoopError: not there yet.
    """
    loops = read_loops(root)
    if len(loops) <= number:
        raise LoopError(
            f"{root}: cycle {number} needs loop_{number:03d}.json; "
            "annotate the patches proposed before and write it"
        )
    return loops[: number + 1]


def annotated_boxes(loops: Loops) -> dict[str, list[Patch]]:
    """Boxes shown so far by case, skipped ones included: nobody wants to see them again."""
    boxes: dict[str, list[Patch]] = {}
    for patch in chain.from_iterable(loops):
        boxes.setdefault(patch.case, []).append(patch.patch)
    return boxes


def joined(boxes: Boxes, more: Boxes) -> dict[str, list[Patch]]:
    """All boxes by case; one that is in both counts once, or its voxels would be taken twice."""
    cases = dict.fromkeys((*boxes, *more))
    return {case: [*boxes.get(case, ()), *_new(more.get(case, ()), boxes.get(case, ()))] for case in cases}


def _new(more: Sequence[Patch], known: Sequence[Patch]) -> list[Patch]:
    return [box for box in dict.fromkeys(more) if box not in known]
