"""Study folders made of chosen numbers: what `study run` would have written, without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_server.core.files import write_json


def add_run(
    study: Path,
    strategy: str,
    seed: int,
    dice: Sequence[float],
    *,
    place: tuple[str, str, str] = ("Organs", "low", "fast-cpu"),
    shares: Sequence[float] | None = None,
    classes: Mapping[str, Sequence[float]] | None = None,
    query_size: int = 10,
    seconds: float = 60.0,
    planned: int | None = None,
    **more: Any,
) -> Path:
    """One experiment: its folder with a summary.json."""
    folder = study.joinpath("runs", *place, strategy, f"seed-{seed}")
    shares = shares if shares is not None else 0.02 * np.arange(1, len(dice) + 1)
    cycles = [
        {
            "cycle": i,
            "patches": query_size * (i + 1),
            "annotated_voxels": 1000 * query_size * (i + 1),
            "foreground_voxels": round(1e6 * share),
            "foreground_fraction": float(share),
            "mean_dice": None if np.isnan(value) else float(value),
            "dice_per_class": {name: float(values[i]) for name, values in (classes or {}).items()},
            "seconds": {"train": seconds, "query": 1.0, "evaluate": 5.0},
        }
        for i, (value, share) in enumerate(zip(dice, shares, strict=True))
    ]
    write_json(
        folder / "summary.json",
        {
            "dataset": place[0],
            "strategy": strategy,
            "seed": seed,
            "profile": place[2],
            "patch": [8, 8, 8],
            "query_size": query_size,
            "planned_cycles": planned or len(cycles),
            "cycles": cycles,
            "final_dice": cycles[-1]["mean_dice"] if cycles else None,
            "versions": {"nnactive": "0"},
            **more,
        },
    )
    return folder


def add_full(
    study: Path, dice: float, seed: int = 1, dataset: str = "Organs", profile: str = "fast-cpu"
) -> None:
    """Training on all labels."""
    write_json(study / "full" / dataset / profile / f"seed-{seed}" / "summary.json", {"final_dice": dice})


def spread_to(mean: float, spread: float, count: int, numbers: np.random.Generator) -> np.ndarray:
    """`count` values with exactly this mean and standard deviation (n - 1), in random positions."""
    raw = numbers.normal(size=count)
    raw = (raw - raw.mean()) / raw.std(ddof=1)
    values: np.ndarray = mean + spread * raw
    return values


def curve_with(aubc: float, final: float, cycles: int = 5) -> np.ndarray:
    """A learning curve of this AUBC and Final Dice: flat up to the last cycle but one, then the final value.

    Trapezoid: (d0/2 + d1 + ... + d_last/2) / (n - 1), solved for a constant before the last cycle.
    """
    before = (aubc * (cycles - 1) - final / 2) / (cycles - 1.5)
    return np.array([before] * (cycles - 1) + [final])
