"""The first cycle of runs that begin alike: trained and judged once, then taken over by the others.

All strategies of a seed start from the same patches, so their first ensembles are the same, weight by weight.
One that is done is published in a folder of its own and taken from there by links, but only by runs in which
the patches and everything else that decides the training agree.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import link_or_copy, read_json, write_json
from nnactive_server.dataset import loop_path
from nnactive_server.loop import RUN, SPLIT, WORK, CycleFolder, read_costs
from nnactive_server.study.summary import annotation_path, evaluation_path

_LATER = {
    *("strategy", "strategy_parameters", "cycles", "query_size", "patches_per_image"),
    *("stride", "overlap", "last_query", "views"),
}
"""Settings of a run that play no part before its first query."""
_STAGES = ("label_update", "train", "evaluate")


def publish_start(run: Path, target: Path) -> None:
    """Offer the first cycle of a run, which is trained and judged, to others, unless somebody has.

    Args:
        run: folder of the run. Once its second cycle has begun nothing is offered: its engine may have read
            annotations that others do not have.
        target: becomes the offer, all at once.
    """
    if target.exists() or CycleFolder(run, 1).path.exists():
        return
    making = target.with_name(f"{target.name}.making-{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    for path in (run / RUN, run / SPLIT, loop_path(run, 0)):
        link_or_copy(path, making / path.name)
    _copy(run, making)
    try:
        making.rename(target)
    except OSError:  # another run was faster
        shutil.rmtree(making)


def take_start(run: Path, source: Path) -> bool:
    """Take over a first cycle, unless this run has its own or begins otherwise.

    A kill in between leaves files that are complete and belong to this run; another call goes on.

    Args:
        run: folder of the run, whose first patches are annotated.
        source: what `publish_start` made; need not exist.

    Returns:
        Whether it was taken.
    """
    if CycleFolder(run, 0).training.exists() or not source.exists() or not _alike(run, source):
        return False
    _copy(source, run)
    return True


def _alike(run: Path, source: Path) -> bool:
    for name in (SPLIT, loop_path(run, 0).name):
        if read_json(run / name, LoopError) != read_json(source / name, LoopError):
            return False
    return _deciding(run) == _deciding(source)


def _deciding(folder: Path) -> dict[str, Any]:
    document = read_json(folder / RUN, LoopError)
    return {key: value for key, value in document.items() if key not in _LATER}


def _copy(source: Path, target: Path) -> None:
    """What a first cycle consists of; the file that says it is complete comes last.

    Runs replace files as a whole, so neither sees what the other does with a file both have.
    """
    here, there = CycleFolder(source, 0), CycleFolder(target, 0)
    for folder, copy in ((source / WORK, target / WORK), (here.members, there.members)):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                link_or_copy(path, copy / path.relative_to(folder))
    costs = read_costs(here.costs)
    costs["seconds"] = {stage: costs["seconds"][stage] for stage in _STAGES if stage in costs["seconds"]}
    write_json(there.costs, costs)
    for path in (here.labels, annotation_path(here), evaluation_path(here), here.training):
        link_or_copy(path, there.path / path.name)
