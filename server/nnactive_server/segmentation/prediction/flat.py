"""Tiles with nothing in them, such as the air round a body, which may be left out of prediction."""

from __future__ import annotations

import numpy as np
import torch

CERTAIN = 20.0
"""Logit of the background where nothing was predicted: its probability is 1 in float32."""


class FlatTiles:
    """Tells tiles that hardly vary from those that show something.

    A tile is flat when in every channel its standard deviation is at most a share of the whole image's. Air
    in a normalised CT is one value, as nnU-Net clips it; in an MR it is noise of small amplitude.

    Args:
        share: in (0, 1).
        image: preprocessed image (channels, z, y, x), may be memory-mapped; read plane by plane.
    """

    def __init__(self, share: float, image: np.ndarray) -> None:
        self._limits = [share * _deviation(channel) for channel in image]

    def __call__(self, tile: torch.Tensor) -> bool:
        """Whether nothing is in a tile (channels, z, y, x)."""
        found = tile.flatten(1).std(1, correction=0).tolist()
        return all(value <= limit for value, limit in zip(found, self._limits, strict=True))


def background_where(total: torch.Tensor, weight: torch.Tensor) -> None:
    """Where no tile was predicted the answer is background; changed in place.

    Args:
        total: weighted sum of logits (C, ...).
        weight: sum of the weights (...).
    """
    nowhere = weight == 0
    total[0][nowhere] = CERTAIN
    weight[nowhere] = 1


def _deviation(channel: np.ndarray) -> float:
    """Standard deviation of (z, y, x) in double precision."""
    sums = np.array([(plane.sum(), np.square(plane).sum()) for plane in map(np.float64, channel)]).sum(0)
    mean, square = sums / channel.size
    return float(np.sqrt(max(0.0, square - mean**2)))
