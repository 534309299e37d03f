"""The whole loop in a few minutes: phantom volumes, a simulated clinician, a report with pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Index3
from nnactive_server.dataset import RawDataset, import_dataset, suggest
from nnactive_server.dataset.raw import DESCRIPTION
from nnactive_server.study.phantom import make_phantoms
from nnactive_server.study.report import write_report
from nnactive_server.study.simulate import EngineFactory, ProfileLike, Settings, simulate

STRATEGY = "clasp-pe"
CASES = 16
CYCLES = 4
QUERY_SIZE = 12
PATCH: Index3 = (8, 12, 12)
SEED = 12345
PROFILE = "fast-cpu"
OVERRIDES: dict[str, Any] = {"members": 3, "iterations": 90, "first_iterations": 240}
"""Sized so that the demo takes about four minutes on two CPU cores."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What a demo leaves behind.

    Attributes:
        run: folder of the simulation.
        report: the HTML report.
        summary: content of summary.json.
    """

    run: Path
    report: Path
    summary: dict[str, Any]


def demo(
    data: Path | None,
    out: Path,
    *,
    monitor: Monitor | None = None,
    profile: ProfileLike | None = None,
    make_engine: EngineFactory | None = None,
) -> Demo:
    """Simulate the active-learning loop on phantoms, or on `data`, and write the report.

    A demo that was stopped is continued by the same call.

    Args:
        data: completely labelled volumes in any layout that can be imported; a data set in nnU-Net's
            raw layout is used where it lies, others are imported into `out/data`. None makes phantoms there.
        out: folder for everything.
        monitor: progress and cancel.
        profile: another one than the demo's own.
        make_engine: see `simulate`.

    Raises:
        DatasetError: `data` cannot be read, or is not completely labelled.
        LoopError: `out` holds a demo with other settings.
        Cancelled: asked to stop.
    """
    monitor = monitor or Monitor()
    if data is None:
        source, patch = _phantoms(out / "data", monitor), PATCH
    else:
        source = _own_data(data, out / "data", monitor)
        patch = suggest(source, monitor=monitor).patch_size
    settings = Settings(
        strategy=STRATEGY,
        cycles=CYCLES,
        query_size=QUERY_SIZE,
        patch=patch,
        seed=SEED,
        profile=profile or _profile(),
        last_query=True,
    )
    run = out / "run"
    summary = simulate(source, run, settings, monitor=monitor, make_engine=make_engine)
    return Demo(run, write_report(run, out / "report.html"), summary)


def _phantoms(root: Path, monitor: Monitor) -> RawDataset:
    """The demo's volumes; made once."""
    if not (root / DESCRIPTION).exists():
        monitor.report("phantoms", 0, 1, "making volumes")
        make_phantoms(root, CASES, SEED)
        monitor.report("phantoms", 1, 1, "making volumes")
    return RawDataset.open(root)


def _own_data(data: Path, target: Path, monitor: Monitor) -> RawDataset:
    """The given volumes, imported once if they are in another layout."""
    if (target / DESCRIPTION).exists():
        return RawDataset.open(target)
    try:
        return RawDataset.open(data)
    except DatasetError:
        import_dataset(data, target, monitor=monitor)  # names every problem if it cannot either
        return RawDataset.open(target)


def _profile() -> ProfileLike:
    from nnactive_server.segmentation import get_profile  # imports torch, which takes seconds

    return get_profile(PROFILE, **OVERRIDES)
