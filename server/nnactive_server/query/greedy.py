"""Best first, without overlap, inside one image."""

from __future__ import annotations

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.core.places import Occupancy


def pick_best(scores: np.ndarray, occupancy: Occupancy, count: int) -> list[tuple[Patch, float]]:
    """Take up to `count` free patches, highest score first.

    Equal scores go by the smallest start corner (z, then y, then x). Instead of sorting millions of
    candidates, the best one is taken and everything it blocks is struck out; the maximum of each z
    position is kept, so that only the positions just struck are looked at again.

    Args:
        scores: finite scores (z, y, x) of every place; not changed.
        occupancy: the places and what is taken; holds the chosen patches too afterwards.
        count: how many to take at most.

    Raises:
        QueryError: scores of another shape, or not finite.
    """
    places = occupancy.places
    if scores.shape != places.shape or not np.isfinite(scores).all():
        raise QueryError(f"scores of shape {scores.shape} must be finite and have shape {places.shape}")
    left = np.array(scores, dtype=np.float64, order="C")
    for box in occupancy.boxes:
        _strike(left, occupancy, box)
    best = left.reshape(len(left), -1).max(axis=1)
    picked: list[tuple[Patch, float]] = []
    while len(picked) < count:
        z = int(best.argmax())
        score = float(best[z])
        if score == -np.inf:
            break
        y, x = divmod(int(left[z].argmax()), left.shape[2])
        patch = places.patch((z, y, x))
        picked.append((patch, score))
        occupancy.take(patch)
        struck = _strike(left, occupancy, patch)
        slabs = left[struck]
        best[struck] = slabs.reshape(len(slabs), -1).max(axis=1)
    return picked


def _strike(scores: np.ndarray, occupancy: Occupancy, box: Patch) -> slice:
    """Take out the places a box blocks; returns the z positions that changed."""
    near, blocked = occupancy.blocked(box)
    scores[near][blocked] = -np.inf
    return near[0]
