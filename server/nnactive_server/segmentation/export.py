"""The trained ensemble as a folder that stock nnU-Net predicts with."""

from __future__ import annotations

from pathlib import Path

import torch

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.files import atomic_path
from nnactive_server.segmentation.plan import CONFIGURATION, Plan
from nnactive_server.segmentation.training.weights import load_weights

CHECKPOINT = "checkpoint_final.pth"


def export_model(workdir: Path, members: Path, dest: Path) -> Path:
    """Write `dataset.json`, `plans.json` and one `fold_M/checkpoint_final.pth` per member.

    Stock nnU-Net reads it with `nnUNetv2_predict_from_modelfolder -m DEST -f 0 1 …`. The checkpoints name
    nnU-Net's own trainer, so that no class has to be found by name.

    Args:
        workdir: an engine's folder, for the plan.
        members: folder that `Engine.train` filled.
        dest: new or empty folder.

    Returns:
        `dest`.

    Raises:
        SegmentationError: no trained member, or `dest` is not empty.
    """
    found = sorted(members.glob("member_*.pt"), key=lambda path: int(path.stem.split("_")[1]))
    if not found:
        raise SegmentationError(f"{members}: no trained member; let a cycle finish training first")
    if dest.exists() and any(dest.iterdir()):
        raise SegmentationError(f"{dest}: not empty; give a new folder")
    from nnactive_server.segmentation.training.recipe import Recipe  # slow to import, see engine

    plan = Plan.load(workdir)
    mirror_axes = Recipe(plan).mirror_axes
    for member, path in enumerate(found):
        checkpoint = {
            "network_weights": load_weights(path, torch.device("cpu")),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": CONFIGURATION},
            "inference_allowed_mirroring_axes": mirror_axes,
        }
        with atomic_path(dest / f"fold_{member}" / CHECKPOINT) as temporary:
            torch.save(checkpoint, temporary)
    plan.save(dest)
    return dest
