"""Pictures of what a query asks for, kept for the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from nnactive_server.core.mapfiles import holds_maps
from nnactive_server.dataset import RawDataset
from nnactive_server.evaluation.views import query_view
from nnactive_server.loop import CycleFolder, read_maps
from nnactive_server.query import Query


def save_views(
    project: RawDataset,
    folder: CycleFolder,
    queries: Sequence[Query],
    truth: Callable[[str], np.ndarray],
) -> None:
    """Write `views/query_RRR.npz` (RRR = rank) for these queries; those there already are kept.

    Queries whose cases were not predicted (random strategies) get none: there is no heat to show.
    """
    missing = [query for query in queries if not view_path(folder, query).exists()]
    for case, group in groupby(sorted(missing, key=lambda q: q.case), key=lambda q: q.case):
        if not holds_maps(folder.maps(case)):
            continue
        prediction, heat = read_maps(folder.maps(case))
        image, label = project.read_image(case), truth(case)
        for query in group:
            view = query_view(image.array[0], heat, prediction, label, image.geometry, query.patch)
            view.save(view_path(folder, query))


def view_path(folder: CycleFolder, query: Query) -> Path:
    """Where the view of a query lies."""
    return folder.path / "views" / f"query_{query.rank:03d}.npz"
