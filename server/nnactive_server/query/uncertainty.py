"""Voxel uncertainty of an ensemble, folded in one member after the other.

With `p[m, c]` the softmax of member m and `pbar` its mean over the members, natural logarithms and
`0 log 0 = 0` (Gal, Islam & Ghahramani 2017 for the decomposition):

    predictive entropy   PE = -sum_c pbar_c log pbar_c              total uncertainty
    expected entropy     EE = -(1/M) sum_m sum_c p_mc log p_mc      aleatoric share
    mutual information   MI = PE - EE, clamped at 0                 epistemic share (BALD)
    class signal         pbar_c * PE for each foreground class c

Only `sum_m p` and `sum_m sum_c p log p` are kept, so memory is O(classes), never O(members * classes).
Arrays that live on a GPU as torch tensors are folded there, see `tensors.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.query.device import is_tensor
from nnactive_server.query.fold import MEASURES, VOXEL_MEASURES, Fold, NumpyFold

__all__ = ["MEASURES", "VOXEL_MEASURES", "uncertainty_maps"]


def uncertainty_maps(
    members: Iterable[Any],
    measures: Iterable[str] = ("predictive_entropy", "mutual_information", "class_signal"),
    *,
    case: str = "",
) -> dict[str, Any]:
    """Fold the members' softmax arrays into uncertainty maps.

    Args:
        members: arrays (C, z, y, x), class 0 is background; a generator keeps one in memory at a time.
        measures: names out of `MEASURES`.
        case: named in error messages.

    Returns:
        One map per measure, in nats: (z, y, x) for the entropies and the mutual information,
        (C-1, z, y, x) for `class_signal`, (C, z, y, x) for `mean_probability`, and (z, y, x) uint8
        for `prediction` (the class of the highest mean probability, the lowest class on a tie).
        Maps are float64 when the first member is, otherwise float32. Members that are torch tensors give
        tensors on their device.

    Raises:
        QueryError: unknown measure; no members; members of different shapes; values that are not
            finite, negative, or do not sum to one over the classes (tolerance 0.01).
    """
    prefix = f"case {case}: " if case else ""
    measures = tuple(measures)
    fold: Fold = NumpyFold(measures, prefix)
    for member in members:
        if not fold.count and is_tensor(member):
            from nnactive_server.query.tensors import TensorFold

            fold = TensorFold(measures, prefix)
        if is_tensor(member) != fold.of_tensors:
            raise QueryError(
                f"{prefix}member {fold.count} is a {type(member).__name__}, unlike those before it; "
                "give all members as arrays or all as tensors"
            )
        fold.add(member if fold.of_tensors else np.asarray(member))
        del member  # or it would stay in memory until the next one is there
    if not fold.count:
        raise QueryError(f"{prefix}no ensemble members; give at least one softmax array")
    return fold.maps()
