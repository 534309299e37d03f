"""The pool, one case at a time: members to maps to candidates, each case's result a file.

A kill loses at most the case in work.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.mapfiles import holds_maps
from nnactive_server.core.patch import Patch
from nnactive_server.core.places import Occupancy, Places
from nnactive_server.dataset import RawDataset
from nnactive_server.loop.clock import Clock
from nnactive_server.loop.engine import SegmentationEngine
from nnactive_server.loop.folder import CycleFolder
from nnactive_server.loop.outputs import Outputs
from nnactive_server.query import CaseCandidates, CaseMaps, Request, Strategy, case_candidates, streamed

LabelSource = Callable[[str], np.ndarray]
"""Gives the label map (z, y, x) of a case to strategies that ask for one."""


class Offers:
    """Stage 1 of a query for single cases.

    Args:
        project: images.
        outputs: what the members say.
        strategy: chooses patches.
        request: the same for all cases.
        label_source: labels for strategies that need them; by default the current prediction.
    """

    def __init__(
        self,
        project: RawDataset,
        outputs: Outputs,
        strategy: Strategy,
        request: Request,
        label_source: LabelSource | None = None,
    ) -> None:
        self._project, self._outputs = project, outputs
        self._strategy, self._request, self._label_source = strategy, request, label_source
        self._embedding = strategy.embedding

    @property
    def needs_model(self) -> bool:
        """Whether the strategy asks for anything that the members say."""
        by_labels = self._strategy.needs_labels and self._label_source is None
        return bool(self._strategy.measures) or by_labels or self._embedding is not None

    def lacks(self, case: str) -> bool:
        """Whether something has to be computed before `offer`."""
        return self._lacks_maps(case) or self._lacks_features(case)

    def cannot_matter(self, case: str, annotated: Sequence[Patch]) -> bool:
        """Whether nothing of this case can be proposed: no patch fits beside its boxes.

        Its maps need not be made for the query then.
        """
        if self._embedding is not None or not annotated:
            return False
        request = self._request
        places = Places.fit(self._project.geometry(case).shape, request.patch_size, request.stride)
        return not Occupancy(places, annotated, request.overlap).free().any()

    def asked(self, cases: Sequence[str], annotated: Mapping[str, Sequence[Patch]]) -> list[str]:
        """The cases that matter, and the first one in any case: it tells which groups there are."""
        return [
            case
            for number, case in enumerate(cases)
            if not number or not self.cannot_matter(case, annotated.get(case, ()))
        ]

    def expect(self, engine: SegmentationEngine, cases: Sequence[str]) -> None:
        """Tell the engine which of these cases `complete` will have predicted, in this order."""
        if self.needs_model:
            self._outputs.expect(engine, cases)

    def complete(self, engine: SegmentationEngine, case: str) -> None:
        """Compute and store what this case lacks."""
        if self._lacks_maps(case):
            self._outputs.make_maps(engine, case)
        if self._embedding is not None and self._lacks_features(case):
            self._outputs.make_features(engine, case, self._embedding, self._request.cell)

    def offer(self, case: str, annotated: Sequence[Patch]) -> CaseCandidates:
        """The candidates of a case, from what is stored.

        Raises:
            LoopError: something is not stored, or damaged.
            QueryError: see `query.case_candidates`.
        """
        geometry = self._project.geometry(case)
        maps = self._outputs.maps(case, streamed(self._strategy.measures)) if self.needs_model else {}
        features = (
            None
            if self._embedding is None
            else self._outputs.features(case, self._embedding, self._request.cell)
        )
        inputs = CaseMaps(case, geometry.shape, maps, self._labels(case, maps), geometry.spacing, features)
        return case_candidates(inputs, self._strategy, self._request, annotated)

    def _lacks_maps(self, case: str) -> bool:
        return self.needs_model and self._outputs.lacks_maps(case)

    def _lacks_features(self, case: str) -> bool:
        kind = self._embedding
        return kind is not None and self._outputs.lacks_features(case, kind, self._request.cell)

    def _labels(self, case: str, maps: Mapping[str, np.ndarray]) -> np.ndarray | None:
        if not self._strategy.needs_labels:
            return None
        return maps["prediction"] if self._label_source is None else self._label_source(case)


class Pool:
    """Stage 1 of a cycle's query over all cases of the pool.

    Args:
        engine: predicts the cases, if the strategy needs that.
        folder: of the cycle.
        offers: stage 1 of single cases; stores into the same folder.
        clock: accounts for the prediction and "query" apart.
        stage: name of the prediction in reports and accounts.
    """

    def __init__(
        self,
        engine: SegmentationEngine,
        folder: CycleFolder,
        offers: Offers,
        clock: Clock,
        stage: str = "predict",
    ) -> None:
        self._engine, self._folder, self._offers, self._clock = engine, folder, offers, clock
        self._stage = stage

    def offers(
        self, cases: Sequence[str], annotated: Mapping[str, Sequence[Patch]]
    ) -> Iterator[CaseCandidates]:
        """The candidates of one case after the other, but of those that cannot matter; stored ones are read.

        Args:
            cases: the pool.
            annotated: boxes that nothing may overlap, by case. Candidates on disk that were made with other
                boxes are made again.

        Raises:
            Cancelled: asked to stop; the cases done so far are on disk.
        """
        stage = self._stage if self._offers.needs_model else "query"
        asked = self._offers.asked(cases, annotated)
        self._offers.expect(self._engine, asked)
        for done, case in enumerate(asked, start=1):
            self._clock.check()
            offer = self._offer(case, annotated.get(case, ()))
            self._clock.report(stage, done, len(asked), case)
            yield offer

    def tidy(self) -> None:
        """Remove what is of no more use once this cycle's query is made; see `CycleFolder`."""
        shutil.rmtree(self._folder.candidates("any").parent, ignore_errors=True)
        for number in range(self._folder.number):
            _reduce(CycleFolder(self._folder.root, number), self._folder)

    def _offer(self, case: str, annotated: Sequence[Patch]) -> CaseCandidates:
        path = self._folder.candidates(case)
        boxes = [[list(box.start), list(box.size)] for box in annotated]
        if path.exists():
            document = read_json(path, LoopError)
            found = CaseCandidates.from_json(document)
            if document.get("boxes") == boxes:
                return found
        if self._offers.lacks(case):
            with self._clock.measure(self._folder.costs, self._stage):
                self._offers.complete(self._engine, case)
        with self._clock.measure(self._folder.costs, "query"):
            offer = self._offers.offer(case, annotated)
            write_json(path, offer.to_json() | {"boxes": boxes})
        return offer


def _reduce(folder: CycleFolder, newer: CycleFolder) -> None:
    """Leave of an older cycle the maps of the cases it chose, and those that a newer one has not made."""
    chosen = {entry["case"] for entry in _chosen(folder)}
    for maps in folder.maps("any").parent.glob("*"):
        if maps.name not in chosen and holds_maps(newer.maps(maps.name)):
            shutil.rmtree(maps, ignore_errors=True)
    for rest in (folder.own.path / "features", folder.asked.path):
        shutil.rmtree(rest, ignore_errors=True)


def _chosen(folder: CycleFolder) -> Sequence[Mapping[str, str]]:
    if not folder.queries.exists():
        return ()
    entries: Sequence[Mapping[str, str]] = read_json(folder.queries, LoopError)
    return entries
