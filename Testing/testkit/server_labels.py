"""The partial label maps that a server trains on, written from its store as a training would."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnactive_server.core.monitor import Monitor
from nnactive_server.jobs.layout import project_root
from nnactive_server.jobs.materialise import materialise
from nnactive_server.jobs.projects_on_disk import open_project
from nnactive_server.loop import CycleFolder
from nnactive_server.store import Store


def partial_labels(data: Path, project: str, cycle: int) -> tuple[dict[str, np.ndarray], int]:
    """What the training `cycle` begins with, or began with: label maps (z, y, x) by case id; the ignore id.

    No training goes on, and none comes after: what is written is what that cycle trains on.
    """
    with Store(data) as store:
        found = store.projects.get(project)
        cases = {case.name: case.id for case in store.cases.list(project)}

        def opened():
            return open_project(data, found, store.cases, store.blobs)

        folder = CycleFolder(project_root(data, project), cycle)
        materialise(store, project, folder, opened, Monitor())
        source = opened()
    labels = {cases[name]: source.read_label(name).array for name in source.cases if source.has_label(name)}
    return labels, source.labels.ignore
