"""One cycle: read new annotations, train, let the caller evaluate, predict the pool, query."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import write_json
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import LoopPatch, RawDataset, read_loops
from nnactive_server.loop.clock import Clock
from nnactive_server.loop.engine import SegmentationEngine
from nnactive_server.loop.folder import CycleFolder, claim
from nnactive_server.loop.outputs import Outputs
from nnactive_server.loop.pool import LabelSource, Offers, Pool
from nnactive_server.loop.proposal import read_proposal, write_proposal
from nnactive_server.query import Proposal, Request, Strategy, merge_candidates

Loops = Sequence[Sequence[LoopPatch]]


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
        clock: Clock | None = None,
    ) -> None:
        self.folder = CycleFolder(project.root, request.step)
        self._project, self._engine = project, engine
        self._strategy, self._request = strategy, request
        self._clock = clock or Clock()
        self._cases = tuple(pool if pool is not None else project.cases)
        self._warm_start = warm_start
        outputs = Outputs(self.folder.members, [self.folder.own])
        offers = Offers(project, outputs, strategy, request, label_source)
        self._pool = Pool(engine, self.folder, offers, self._clock)
        settings = {"strategy": repr(strategy), "request": asdict(request), "warm_start": warm_start}
        claim(self.folder.settings, settings, {"request": {"overlap": 0.0}})

    def run(
        self, evaluate: Callable[[CycleFolder], None] | None = None, query: bool = True
    ) -> Proposal | None:
        """All stages in order; `evaluate` is called between training and query, on every run.

        Args:
            evaluate: may use the trained members in the folder it gets.
            query: False ends the cycle after the evaluation.

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
        return self.query() if query else None

    def update_labels(self) -> None:
        """Let the engine prepare the pool and read the label maps this cycle's loop file names."""
        if self.folder.labels.exists():
            return
        with self._clock.measure(self.folder.costs, "label_update"):
            loops = self._loops()
            new = self._labelled(loops[-1:])
            self._engine.prepare(sorted({*self._cases, *self._labelled(loops)}))
            self._engine.update_labels(new)
        write_json(self.folder.labels, {"cases": new})

    def train(self) -> None:
        """Train this cycle's members on all annotated cases."""
        if self.folder.training.exists():
            return
        self._clock.check()
        before = CycleFolder(self._project.root, self.folder.number - 1)
        with self._clock.measure(self.folder.costs, "train"):
            report = self._engine.train(
                self.folder.members,
                cases=self._labelled(self._loops()),
                seed=self._request.seed,
                cycle=self.folder.number,
                warm_start=before.members if self._warm_start and self.folder.number else None,
            )
        losses = [loss if math.isfinite(loss) else None for loss in report.losses]
        write_json(self.folder.training, {"iterations": list(report.iterations), "losses": losses})

    def query(self) -> Proposal:
        """Propose the next patches; strategies that need no model skip the prediction of the pool."""
        if not self.folder.queries.exists():
            with self._clock.measure(self.folder.costs, "query"):
                offers = self._pool.offers(self._cases, annotated_boxes(self._loops()))
                made = merge_candidates(offers, self._strategy, self._request)
                write_proposal(self.folder, made, self._project.geometry)
        proposal = read_proposal(self.folder)
        self._pool.tidy()
        return proposal

    def _loops(self) -> Loops:
        return loops_before(self._project.root, self.folder.number)

    def _labelled(self, loops: Sequence[Sequence[LoopPatch]]) -> list[str]:
        """Cases of these loop files that have a label map: one whose patches were all skipped has none."""
        named = {patch.case for loop in loops for patch in loop}
        return sorted(case for case in named if self._project.has_label(case))


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
