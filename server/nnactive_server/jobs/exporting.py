"""The job `export`: model, labels and list of patches in one file, to be downloaded."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnactive_server.core.files import atomic_path, write_json
from nnactive_server.core.monitor import Monitor
from nnactive_server.jobs.layout import export_file, model_name, project_root
from nnactive_server.jobs.reporting import JobContext
from nnactive_server.loop import export_project

ModelExport = Callable[[Path, Path, Path], Path]
"""`(workdir, members, dest)`, see `segmentation.export_model`."""


def nnunet(workdir: Path, members: Path, dest: Path) -> Path:
    """The real one."""
    from nnactive_server.segmentation import export_model  # imports torch, which takes seconds

    return export_model(workdir, members, dest)


def run(context: JobContext, export_model: ModelExport = nnunet) -> dict[str, Any]:
    """Write a zip with `model/`, `labels/`, `patches.csv` and `export.json`; an earlier export goes.

    Args:
        context: of the job.
        export_model: writes the model.

    Returns:
        What `export.json` says: `project` (name), `model` (version), `label_maps` and `patches` (numbers).

    Raises:
        LoopError: there is no trained model.
        Cancelled: asked to stop.
        NNActiveError: what else the rooms below raise.
    """
    root = project_root(context.data, context.job.project)
    target = export_file(context.data, context.job.project, context.job.id)
    gathered = target.with_suffix("")
    shutil.rmtree(target.parent, ignore_errors=True)
    try:
        context.monitor.report("gather", 0, 1)
        found = export_project(root, gathered, export_model)
        about = {
            "project": context.store.projects.get(context.job.project).name,
            "model": model_name(int(found["cycle"])),
            "label_maps": found["label_maps"],
            "patches": found["patches"],
        }
        write_json(gathered / "export.json", about)
        _pack(gathered, target, context.monitor)
    finally:
        shutil.rmtree(gathered, ignore_errors=True)
    return about


def _pack(folder: Path, target: Path, monitor: Monitor) -> None:
    """Weights and compressed images do not get smaller, so they are stored as they are."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for done, path in enumerate(files):
            monitor.check()
            monitor.report("pack", done, len(files))
            archive.write(path, path.relative_to(folder))
