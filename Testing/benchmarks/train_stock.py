"""Stock nnU-Net beside ours: its trainer on its own preprocessing of the same images, labels and plan."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from nnactive_server.core.files import write_json
from nnactive_server.dataset import RawDataset
from nnactive_server.segmentation.plan import CONFIGURATION, Plan

DATASET = "Dataset001_benchmark"


@contextlib.contextmanager
def stock_step(
    project: RawDataset, plan: Plan, folder: Path, device: torch.device
) -> Iterator[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Two functions: the next augmented batch of nnU-Net's own loader, and a training step with it.

    Its loader works in this process, as on a machine without spare cores; compiling is off on CPUs anyway.

    Args:
        project: images and partial labels.
        plan: ours; nnU-Net preprocesses and builds its network from the same document.
        folder: receives preprocessed cases.
        device: trains there.
    """
    os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plans, target = copy.deepcopy(plan.plans), folder / "preprocessed" / DATASET
    plans["dataset_name"] = DATASET
    _preprocess(project, plan, target / plan.configuration.data_identifier)
    write_json(target / "dataset.json", plan.dataset_json)
    write_json(target / "splits_final.json", [{"train": list(project.cases), "val": list(project.cases)}])
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = nnUNetTrainer(
            {**plans, "continue_training": False}, CONFIGURATION, 0, copy.deepcopy(plan.dataset_json), device
        )
        trainer.initialize()
        trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
        trainer.network.train()
    yield lambda: next(trainer.dataloader_train), trainer.train_step


def _preprocess(project: RawDataset, plan: Plan, folder: Path) -> None:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    folder.mkdir(parents=True)
    preprocessor = DefaultPreprocessor(verbose=False)
    for case in project.cases:
        images = [str(path) for path in project.image_paths(case)]
        label = str(project.label_path(case))
        preprocessor.run_case_save(
            str(folder / case), images, label, plan.manager, plan.configuration, plan.dataset_json
        )


def split_seconds(
    batch: Callable[[], Any], step: Callable[[Any], Any], steps: int, finish: Callable[[], None]
) -> tuple[float, float]:
    """Mean seconds of a step for its data, augmentation included, and for the network."""
    step(batch())
    data = network = 0.0
    for _ in range(steps):
        start = time.perf_counter()
        made = batch()
        between = time.perf_counter()
        step(made)
        finish()
        data, network = data + between - start, network + time.perf_counter() - between
    return data / steps, network / steps
