"""The pool, one case at a time: members to maps to candidates, each case's result a file.

A kill loses at most the case in work.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import atomic_path, read_json, write_json
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import RawDataset
from nnactive_server.loop.clock import Clock
from nnactive_server.loop.engine import SegmentationEngine
from nnactive_server.loop.folder import CycleFolder
from nnactive_server.query import (
    CaseCandidates,
    CaseMaps,
    Request,
    Strategy,
    case_candidates,
    uncertainty_maps,
)

LabelSource = Callable[[str], np.ndarray]
"""Gives the label map (z, y, x) of a case to strategies that ask for one."""

KEPT_MAPS = ("predictive_entropy", "prediction")
"""What is kept of a case, for people to look at."""

EXPLAINED_BY = ("mutual_information",)
"""Made for the explanation of a patch, whatever the strategy ranks by."""


class Pool:
    """Stage 1 of a query over all cases of the pool.

    Args:
        project: images and partial labels.
        engine: predicts the cases, if the strategy needs that.
        folder: of the cycle.
        strategy: chooses patches.
        request: the same for all cases.
        label_source: labels for strategies that need them; by default the current prediction.
        clock: accounts for "predict" and "query" apart.
    """

    def __init__(
        self,
        project: RawDataset,
        engine: SegmentationEngine,
        folder: CycleFolder,
        strategy: Strategy,
        request: Request,
        label_source: LabelSource | None,
        clock: Clock,
    ) -> None:
        self._project, self._engine, self._folder = project, engine, folder
        self._strategy, self._request = strategy, request
        self._label_source, self._clock = label_source, clock

    @property
    def needs_model(self) -> bool:
        """Whether cases have to be predicted."""
        by_labels = self._strategy.needs_labels and self._label_source is None
        return bool(self._strategy.measures) or by_labels

    def offers(self, cases: Sequence[str], annotated: Mapping[str, Sequence[Patch]]) -> list[CaseCandidates]:
        """The candidates of every case; those already on disk are read.

        Args:
            cases: the pool.
            annotated: boxes that nothing may overlap, by case.

        Raises:
            Cancelled: asked to stop; the cases done so far are on disk.
        """
        found = []
        for done, case in enumerate(cases, start=1):
            self._clock.check()
            found.append(self._offer(case, annotated.get(case, ())))
            stage = "predict" if self.needs_model else "query"
            self._clock.report(stage, done, len(cases), case)
        return found

    def tidy(self, chosen: Iterable[str]) -> None:
        """Remove the candidates of all cases, and the maps of cases that were not chosen."""
        keep = {self._folder.maps(case) for case in chosen}
        for path in self._folder.maps("any").parent.glob("*"):
            if path not in keep:
                path.unlink()
        shutil.rmtree(self._folder.candidates("any").parent, ignore_errors=True)

    def _offer(self, case: str, annotated: Sequence[Patch]) -> CaseCandidates:
        path = self._folder.candidates(case)
        if path.exists():
            return CaseCandidates.from_json(read_json(path, LoopError))
        maps = self._predict(case) if self.needs_model else {}
        with self._clock.measure(self._folder.costs, "query"):
            inputs = CaseMaps(case, self._project.geometry(case).shape, maps, self._labels(case, maps))
            offer = case_candidates(inputs, self._strategy, self._request, annotated)
            if maps:
                _save_maps(self._folder.maps(case), maps)
            # Written last: a case with candidates is done, maps included.
            write_json(path, offer.to_json())
        return offer

    def _predict(self, case: str) -> dict[str, np.ndarray]:
        measures = dict.fromkeys((*self._strategy.measures, *KEPT_MAPS, *EXPLAINED_BY))
        with self._clock.measure(self._folder.costs, "predict"):
            return uncertainty_maps(self._engine.predict(self._folder.members, case), measures, case=case)

    def _labels(self, case: str, maps: Mapping[str, np.ndarray]) -> np.ndarray | None:
        if not self._strategy.needs_labels:
            return None
        return maps["prediction"] if self._label_source is None else self._label_source(case)


def read_maps(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Prediction (uint8) and predictive entropy (float32, nats) of a case, both (z, y, x)."""
    with np.load(path, allow_pickle=False) as stored:
        return stored["prediction"], stored["predictive_entropy"].astype(np.float32)


def _save_maps(path: Path, maps: Mapping[str, np.ndarray]) -> None:
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            prediction=maps["prediction"],
            predictive_entropy=maps["predictive_entropy"].astype(np.float16),
        )
