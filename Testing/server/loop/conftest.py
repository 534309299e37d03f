"""A project whose start budget is annotated, with the numpy engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import LoopPatch, RawDataset, write_loop, write_patches
from nnactive_server.loop import Clock, Cycle
from nnactive_server.query import Request, get_strategy
from testkit import numpy_engine


class Recorder(Monitor):
    """Remembers reports; cancels after `limit` reports of `stage`."""

    def __init__(self, stage: str = "", limit: int = 0) -> None:
        super().__init__()
        self.stages: list[str] = []
        self._stage, self._limit = stage, limit

    def report(self, stage: str, *_: object) -> None:
        self.stages.append(stage)
        if self._limit and self.stages.count(self._stage) == self._limit:
            self.cancel()


@dataclass
class Bench:
    """A project, its truth, and cycles on it."""

    source: RawDataset
    project: RawDataset
    engine: Any
    monitors: list[Monitor] = field(default_factory=list)

    def truth(self, case: str) -> np.ndarray:
        return self.source.read_label(case).array

    def annotate(self, number: int, boxes: dict[str, Patch]) -> None:
        for case, patch in boxes.items():
            write_patches(self.project, case, {patch: self.truth(case)[patch.slices]})
        entries = [LoopPatch(case, patch) for case, patch in boxes.items()]
        write_loop(self.project.root, number, entries, self.project.file_ending)

    def cycle(self, strategy: str = "clasp-pe", number: int = 0, **options: Any) -> Cycle:
        monitor = options.pop("monitor", None)
        size, patch = options.pop("query_size", 3), options.pop("patch", (4, 5, 4))
        request = Request(size, patch, number, 2, options.pop("seed", 5))
        return Cycle(
            self.project, self.engine, get_strategy(strategy), request, clock=Clock(monitor), **options
        )


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> RawDataset:
    return numpy_engine.make_source(tmp_path_factory.mktemp("source"), cases=5)


@pytest.fixture
def make_bench(source: RawDataset, tmp_path: Path) -> Callable[[str], Bench]:
    """Builds a project in a folder of this name, two of five cases annotated."""

    def build(name: str = "project") -> Bench:
        root = tmp_path / name
        shutil.copytree(source.root / "imagesTr", root / "imagesTr")
        project = RawDataset.create(root, source.labels.as_partial(), source.channels)
        bench = Bench(
            source, project, numpy_engine.NumpyEngine(project, root / "work", numpy_engine.NumpyProfile())
        )
        bench.annotate(0, {"case_0": Patch((3, 4, 3), (5, 6, 6)), "case_1": Patch((2, 3, 3), (6, 6, 6))})
        return bench

    return build


@pytest.fixture
def bench(make_bench: Callable[[str], Bench]) -> Bench:
    return make_bench("project")


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder
