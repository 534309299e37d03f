"""Best first, without overlap, inside one image."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.query.scores import Places


def pick_best(
    scores: np.ndarray, places: Places, occupied: Iterable[Patch], count: int
) -> list[tuple[Patch, float]]:
    """Up to `count` patches, highest score first, that overlap neither `occupied` nor each other.

    Equal scores go by the smallest start corner (z, then y, then x). Instead of sorting millions of
    candidates, the best one is taken and everything that overlaps it is struck out; the maximum of each
    z position is kept, so that only the positions just struck are looked at again.

    Args:
        scores: finite scores (z, y, x) of every place; not changed.
        places: where the patches lie.
        occupied: boxes nothing may overlap.
        count: how many to take at most.

    Raises:
        QueryError: scores of another shape, or not finite.
    """
    if scores.shape != places.shape or not np.isfinite(scores).all():
        raise QueryError(f"scores of shape {scores.shape} must be finite and have shape {places.shape}")
    left = np.array(scores, dtype=np.float64, order="C")
    for box in occupied:
        left[places.overlapping(box)] = -np.inf
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
        struck = places.overlapping(patch)
        left[struck] = -np.inf
        slabs = left[struck[0]]
        best[struck[0]] = slabs.reshape(len(slabs), -1).max(axis=1)
    return picked
