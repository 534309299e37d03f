"""The members whose disagreement a query measures: trained networks, or several views of one network.

A pass is one such member: a function that computes the logits of one image when it is called. All kinds
come as a sequence of passes that are called one after the other, so that memory stays that of one set of
logits (C, z, y, x) however many there are; or of a part of one, see `Pass.planes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import nn

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.rng import Key, generator
from nnactive_server.segmentation.prediction.inference import Pass, SlidingWindow


def ensemble_passes(window: SlidingWindow, networks: Sequence[nn.Module], image: np.ndarray) -> list[Pass]:
    """One pass for each member, averaged over the window's flips.

    Args:
        window: how tiles are laid.
        networks: of the members, ready to predict, deep supervision off.
        image: preprocessed image (channels, z, y, x).
    """
    return [Pass(window, network, image) for network in networks]


def flip_passes(window: SlidingWindow, network: nn.Module, image: np.ndarray) -> list[Pass]:
    """One pass of one network for each of the window's flips, none first: test-time augmentation.

    Wang et al. 2019, Neurocomputing 338. Tiles are flipped, not the image, so the mean of the logits is what
    nnU-Net's mirroring predicts.
    """
    return [Pass(window, network, image, [axes]) for axes in window.flips]


def dropout_passes(
    window: SlidingWindow, network: nn.Module, image: np.ndarray, case: str, passes: int
) -> list[Pass]:
    """Passes of one network with random channels left out: Monte-Carlo dropout.

    Gal & Ghahramani 2016, ICML. A pass is one draw of a thinned network: all tiles of the image see the same
    channels left out, so a pass has no seams. The draw is keyed by case, pass and layer: it does not depend
    on the order of cases or tiles, on threads or on restarts.

    Raises:
        SegmentationError: the network has no dropout.
    """
    if not dropout_layers(network):
        raise SegmentationError(
            "pool_members = 'dropout': the network of this project has no dropout layers; "
            "set dropout above 0 in a new project (the plan is frozen), or use 'ensemble' or 'flips'"
        )

    return [
        Pass(window, network, image, setting=partial(thinned, network, case, number))
        for number in range(passes)
    ]


def dropout_layers(network: nn.Module) -> dict[str, nn.Dropout3d]:
    """The layers, by name, that leave out channels."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Dropout3d) and layer.p > 0
    }


@contextmanager
def thinned(network: nn.Module, *key: Key) -> Iterator[None]:
    """Leave out the channels this key draws in each dropout layer, as in training but always the same ones.

    The layers stay in evaluation mode, in which they pass everything on. Their own draws come from torch's
    one generator, whose order depends on what other threads do.
    """
    handles = [
        layer.register_forward_hook(_leave_out(layer.p, ("dropout", *key, name)))
        for name, layer in dropout_layers(network).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _leave_out(
    probability: float, key: tuple[Key, ...]
) -> Callable[[nn.Module, object, torch.Tensor], torch.Tensor]:
    """Forward hook for a layer whose output is (B, channels, z, y, x)."""

    def hook(_layer: nn.Module, _given: object, out: torch.Tensor) -> torch.Tensor:
        kept = generator(*key).random(out.shape[1]) >= probability
        scale = torch.from_numpy(kept / (1 - probability)).to(out)
        return out * scale[:, None, None, None]

    return hook
