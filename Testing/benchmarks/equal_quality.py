"""Do the fast paths learn as well as stock nnU-Net? The same images, labels, plan and number of steps.

    python Testing/benchmarks/equal_quality.py OUT [--seeds 3] [--steps 2000] [--workers 2]

One network a run, nnU-Net's optimiser (SGD, momentum 0.99, polynomial decay) and full augmentation, network
and crops of `fast-cpu` but two of them a step, nnU-Net's least, 100 annotated patches of 20x20x20 voxels in
the pool:

    stock     nnU-Net's own trainer, loader and preprocessing
    batches   our steps, compiled convolutions and all, on batches from nnU-Net's own loader
    host      ours: our crops, nnU-Net's transforms on the processor, compiled convolutions
    device    ours: cases kept on the device and augmented there in batches (without a GPU, on CPU tensors)
    patience  as host, cut short after a twentieth of the steps without a lower loss (early stopping)

All are judged by the same code on the test images. Runs that are done are skipped; some 5 min a run and core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from cores import run_each
from run import HIPPOCAMPUS, linked
from table import head, line, machine_line
from train_stock import stock_step

from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.rng import Key
from nnactive_server.dataset import LoopPatch, RawDataset, split_cases, start_budget
from nnactive_server.evaluation.dice import dice_per_class, mean_dice
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.hardware import detect
from nnactive_server.segmentation.training import member_run
from nnactive_server.segmentation.training.batches import Batch
from nnactive_server.segmentation.training.members import TRAINING
from nnactive_server.segmentation.training.weights import member_path, steps_path
from nnactive_server.study.truth import Clinician

STOCK, STOCK_BATCHES = "stock", "batches"
ARMS = {
    STOCK: {},
    STOCK_BATCHES: {},
    "host": {},
    "device": {},
    "patience": {"patience": 1 / 20},
}
"""Early stopping as a share of the steps."""
PATCHES, PATCH, TEST_SHARE = 100, (20, 20, 20), 0.25


class Setting:
    """What all arms share: project, plan and preprocessed images in a folder, made once."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps
        self.truth = RawDataset.open(HIPPOCAMPUS)
        self.clinician = Clinician(self.truth)
        self.pool, self.test = split_cases(self.truth.cases, TEST_SHARE)
        self.project = self._project()
        self.annotated = [case for case in self.pool if self.project.has_label(case)]
        self.profile = replace(
            get_profile("fast-cpu", members=1, optimiser="sgd", learning_rate=1e-2, augmentation="full"),
            **{"first_iterations": steps, "batch_size": 2, "warm_up": 0, "averaging": 0.0},
            weight_decay=3e-5,
        )

    def engine(self, arm: str) -> Engine:
        hardware = replace(detect(), resident=arm == "device")
        profile = replace(self.profile, patience=round(self.steps * ARMS[arm].get("patience", 0)))
        engine = Engine(self.project, self.folder / "work", profile, hardware=hardware)
        if not (self.folder / "ready").exists():
            engine.prepare(self.pool)  # the plan must not see the test images
            engine.prepare(self.truth.cases)
            engine.update_labels(self.annotated)
            (self.folder / "ready").touch()
        return engine

    def _project(self) -> RawDataset:
        root = self.folder / "project"
        if (root / "loop_000.json").exists():
            return RawDataset.open(root)
        project = linked(self.truth, root, self.truth.cases)
        shapes = {case: project.geometry(case).shape for case in self.pool}
        label = self.clinician.label
        chosen = start_budget(shapes, label, project.labels, PATCH, PATCHES, 1)
        self.clinician.annotate(project, 0, [LoopPatch(entry.case, entry.patch) for entry in chosen])
        return project


def train_stock(setting: Setting, engine: Engine, out: Path, seed: int) -> None:
    """nnU-Net's trainer; the learning rate falls over our number of steps as it would over its epochs."""
    with _stock(setting, engine, out, seed) as (batch, step):
        trainer = step.__self__
        for number in range(setting.steps):
            for group in trainer.optimizer.param_groups:
                group["lr"] = trainer.initial_lr * (1 - number / setting.steps) ** 0.9
            step(batch())
    torch.save(trainer.network.state_dict(), member_path(out, 0))
    write_json(steps_path(out, 0), {"steps": setting.steps})
    told = {"splits": [{"held_out": []}], "profile": {"ensemble": "folds"}, "warm_start": False}
    write_json(out / TRAINING, told)


def train_on_stock_batches(setting: Setting, engine: Engine, out: Path, seed: int) -> None:
    """Our training, but for the batches: those of nnU-Net's loader."""

    class Batches:
        def __init__(self, batch: Callable[[], Any]) -> None:
            self._batch = batch

        def draw(self, *_: Key) -> Batch:
            made = self._batch()
            return made["data"], made["target"]

    with (
        _stock(setting, engine, out, seed) as (batch, _),
        patch.object(member_run, "make_batches", lambda *_: Batches(batch)),
    ):
        engine.train(out, cases=setting.annotated, seed=seed, cycle=0)


def _stock(setting: Setting, engine: Engine, out: Path, seed: int) -> Any:
    """nnU-Net's own batches and steps, see `stock_step`, on the annotated cases."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what nnU-Net draws from
    labelled = _Only(setting.project, setting.annotated)
    return stock_step(labelled, engine.plan, out / "stock", engine.hardware.device)


class _Only:
    """A data set of some of its cases."""

    def __init__(self, whole: RawDataset, cases: list[str]) -> None:
        self.cases = tuple(cases)
        self.image_paths, self.label_path = whole.image_paths, whole.label_path


def one(setting: Setting, arm: str, seed: int) -> None:
    out = setting.folder / arm / f"seed-{seed}"
    if (out / "result.json").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    engine = setting.engine(arm)
    if not (out / "seconds.json").exists():
        start = time.perf_counter()
        if arm == STOCK:
            train_stock(setting, engine, out, seed)
        elif arm == STOCK_BATCHES:
            train_on_stock_batches(setting, engine, out, seed)
        else:
            engine.train(out, cases=setting.annotated, seed=seed, cycle=0)
        write_json(out / "seconds.json", {"seconds": round(time.perf_counter() - start, 1)})
    told = read_json(out / "seconds.json") | read_json(steps_path(out, 0))
    labels = setting.truth.labels
    rows = [
        dice_per_class(engine.predict_member(out, case, 0).argmax(0), setting.clinician.label(case), labels)
        for case in setting.test
    ]
    write_json(out / "result.json", {"dice": mean_dice(rows)} | told)


def every(folder: Path, seeds: int, steps: int, workers: int) -> None:
    """All runs, some at the same time with a core each."""
    Setting(folder, steps).engine(STOCK)
    todo = [(arm, seed) for seed in range(1, seeds + 1) for arm in ARMS]
    command = [sys.executable, __file__, str(folder), "--steps", str(steps), "--one"]
    run_each([[*command, arm, str(seed)] for arm, seed in todo], workers)


def report(folder: Path, seeds: int, steps: int) -> None:
    print(machine_line())
    print(f"{steps} steps, {PATCHES} patches of 20x20x20, {seeds} seeds; mean Dice of the test images:\n")
    print(
        head(
            "arm",
            *(f"seed {seed}" for seed in range(1, seeds + 1)),
            "mean",
            "spread",
            "steps",
            "seconds a run",
        )
    )
    for arm in ARMS:
        results = [read_json(folder / arm / f"seed-{s}" / "result.json") for s in range(1, seeds + 1)]
        dice = [result["dice"] for result in results]
        spread = statistics.stdev(dice) if seeds > 1 else float("nan")
        seconds = statistics.mean(result["seconds"] for result in results)
        done = statistics.mean(result["steps"] for result in results)
        cells = [*(f"{value:.3f}" for value in (*dice, statistics.mean(dice), spread)), f"{done:.0f}"]
        print(line(arm, *cells, f"{seconds:.0f}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2, help="runs at the same time, a core each")
    parser.add_argument("--one", nargs=2, metavar=("ARM", "SEED"), help="one run, as the others are started")
    arguments = parser.parse_args()
    folder = arguments.out.resolve()
    if arguments.one:
        arm, seed = arguments.one
        one(Setting(folder, arguments.steps), arm, int(seed))
        return
    every(folder, arguments.seeds, arguments.steps, arguments.workers)
    report(folder, arguments.seeds, arguments.steps)


if __name__ == "__main__":
    main()
