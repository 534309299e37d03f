"""Images, label maps and loop files on disk; importers and guidelines.

Imports numpy, scipy, SimpleITK, pydicom and the core, never torch or nnU-Net. Importers load pydicom, so
they are imported when they are first asked for.
"""

from typing import TYPE_CHECKING, Any

from nnactive_server.dataset.budget import start_budget, uniform_patches
from nnactive_server.dataset.loops import LoopPatch, loop_path, read_loop, read_loops, write_loop
from nnactive_server.dataset.partial import (
    annotated_mask,
    empty_label,
    label_dtype,
    rebuild_label,
    write_patches,
)
from nnactive_server.dataset.raw import RawDataset
from nnactive_server.dataset.split import split_cases
from nnactive_server.dataset.suggest import Suggestion, suggest, suggest_for
from nnactive_server.dataset.volumes import Volume, read_geometry, read_image, read_label, write_volume

if TYPE_CHECKING:
    from nnactive_server.dataset.importers import ImportReport, import_dataset

__all__ = [
    "ImportReport",
    "LoopPatch",
    "RawDataset",
    "Suggestion",
    "Volume",
    "annotated_mask",
    "empty_label",
    "import_dataset",
    "label_dtype",
    "loop_path",
    "read_geometry",
    "read_image",
    "read_label",
    "read_loop",
    "read_loops",
    "rebuild_label",
    "split_cases",
    "start_budget",
    "suggest",
    "suggest_for",
    "uniform_patches",
    "write_loop",
    "write_patches",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    if name not in ("ImportReport", "import_dataset"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nnactive_server.dataset import importers

    return getattr(importers, name)
