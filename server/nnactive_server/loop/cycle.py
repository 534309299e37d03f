"""One cycle: read new annotations, train, let the caller evaluate, predict the pool, query."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import write_json
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import LoopPatch, RawDataset, read_loops
from nnactive_server.loop.clock import Clock
from nnactive_server.loop.engine import SegmentationEngine
from nnactive_server.loop.folder import CycleFolder, claim
from nnactive_server.loop.pool import LabelSource, Pool
from nnactive_server.loop.proposal import read_proposal, write_proposal
from nnactive_server.query import Proposal, Request, Strategy, merge_candidates


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
        self._cases = tuple(pool if pool is not None else project.cases)
        self._warm_start = warm_start
        self._clock = clock or Clock()
        self._pool = Pool(project, engine, self.folder, strategy, request, label_source, self._clock)
        settings = {"strategy": repr(strategy), "request": asdict(request), "warm_start": warm_start}
        claim(self.folder.settings, settings)

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
            offers = self._pool.offers(self._cases, self._annotated())
            with self._clock.measure(self.folder.costs, "query"):
                made = merge_candidates(offers, self._strategy, self._request)
                write_proposal(self.folder, made, self._project.geometry)
        proposal = read_proposal(self.folder)
        self._pool.tidy({query.case for query in proposal})
        return proposal

    def _loops(self) -> tuple[tuple[LoopPatch, ...], ...]:
        loops = read_loops(self._project.root)
        if len(loops) <= self.folder.number:
            raise LoopError(
                f"{self._project.root}: cycle {self.folder.number} needs loop_{self.folder.number:03d}.json; "
                "annotate the patches proposed before and write it"
            )
        return loops[: self.folder.number + 1]

    def _labelled(self, loops: Sequence[Sequence[LoopPatch]]) -> list[str]:
        """Cases of these loop files that have a label map: one whose patches were all skipped has none."""
        named = {patch.case for loop in loops for patch in loop}
        return sorted(case for case in named if self._project.has_label(case))

    def _annotated(self) -> dict[str, list[Patch]]:
        """Boxes shown so far, skipped ones included: nobody wants to see them again."""
        boxes: dict[str, list[Patch]] = {}
        for loop in self._loops():
            for patch in loop:
                boxes.setdefault(patch.case, []).append(patch.patch)
        return boxes
