"""A constructed study: two budgets, four strategies, four seeds; one experiment unfinished, one not begun."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnactive_server.core.files import write_json
from nnactive_server.study.analysis import Analysis, StudyResults, analyze, read_study
from nnactive_server.study.simulate import Settings, simulate
from testkit import numpy_engine
from testkit.study_folder import add_full, add_run

SEEDS = (1, 2, 3, 4)
TOPS = {"random": 0.80, "random-fg-66": 0.85, "power-pe": 0.86, "clasp-pe": 0.89}
PLAN = {
    "datasets": ["/data/of/somebody/Organs"],
    "units": [
        {
            "dataset": "Organs",
            "regime": regime,
            "profile": {"label": "fast-cpu"},
            "strategy": {"label": "clasp-pe"},
            "seed": seed,
        }
        for regime, seed in (("low", 1), ("low", 5), ("", 7))
    ],
}
"""As `study run` writes it: one experiment that is done, one that is not begun, one on all labels."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, numbers = tmp_path_factory.mktemp("study") / "organs-study", np.random.default_rng(5)
    for regime, size in (("low", 10), ("high", 40)):
        for seed in SEEDS:
            start = 0.6 + numbers.normal(0, 0.01)
            for number, (strategy, top) in enumerate(TOPS.items()):
                shares = 0.001 * size * (1 + np.arange(5) * (0.5 + 0.5 * number))
                rise = 1 - np.exp(-(size * 0.9) * (shares - shares[0]))
                dice = start + (top - start) * rise + np.r_[0, numbers.normal(0, 0.003, 4)]
                add_run(
                    root, strategy, seed, dice, place=("Organs", regime, "fast-cpu"), shares=shares,
                    classes={"liver": dice + 0.02, "lesion $x$": dice - 0.02}, query_size=size,
                    seconds=60 + 30 * (not strategy.startswith("random")),
                )  # fmt: skip
    add_run(root, "bald", 1, [0.6, 0.7], planned=5, place=("Organs", "low", "fast-cpu"))
    (root / "runs/Organs/low/fast-cpu/badge/seed-1").mkdir(parents=True)
    add_full(root, 0.90, seed=1)
    add_full(root, 0.92, seed=2)
    write_json(root / "study.json", PLAN)
    return root


@pytest.fixture(scope="session")
def results(folder: Path) -> StudyResults:
    return read_study(folder)


@pytest.fixture(scope="session")
def written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Analysis]:
    """What `study analyze` writes."""
    out = tmp_path_factory.mktemp("analysis")
    return out, analyze(folder, out)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one experiment that really ran, with an engine that learns in no time."""
    root = tmp_path_factory.mktemp("simulated")
    folder = root / "study/runs/Balls/low/numpy/clasp-pe/seed-7"
    settings = Settings("clasp-pe", 2, 4, (4, 5, 4), 7, numpy_engine.NumpyProfile())
    source = numpy_engine.make_source(root / "truth", cases=12)
    simulate(source, folder, settings, make_engine=numpy_engine.NumpyEngine)
    return root / "study"
