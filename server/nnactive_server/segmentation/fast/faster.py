"""The door to the faster layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn

from nnactive_server.segmentation.hardware import Hardware


def make_faster(network: nn.Module, hardware: Hardware) -> int:
    """Let a network's layers use the faster loops, where there are any: on a CPU, in float32 or bfloat16.

    Weights, their names and what the network computes stay as they are, up to rounding.

    Args:
        network: changed in place.
        hardware: where and in which number format it is used.

    Returns:
        How many layers were changed.
    """
    if hardware.device.type != "cpu" or hardware.autocast not in (None, torch.bfloat16):
        return 0
    from nnactive_server.segmentation.fast import convolution, mixed, normalisation, transposed
    from nnactive_server.segmentation.fast.compiled import usable

    kinds: tuple[tuple[type[nn.Module], Callable[[nn.Module], bool]], ...] = (
        (convolution.FastConvolution, convolution.fits),
        (transposed.FastTransposed, transposed.fits),
        (normalisation.FastNorm, normalisation.fits),
    )
    if hardware.autocast is not None:
        # oneDNN is fast in 16 bits but for one thing.
        kinds = ((mixed.MixedConvolution, mixed.fits),)
    fitting = {module: kind for module in network.modules() for kind, fits in kinds if fits(module)}
    if not fitting or not usable():
        return 0
    for module, kind in fitting.items():
        # The network's own lists hold each layer twice, so it is changed and not replaced.
        module.__class__ = kind
    _join_neighbours(network)
    return len(fitting)


def _join_neighbours(network: nn.Module) -> None:
    """Let norms do the activation behind them, and convolutions leave out a bias that a norm takes away."""
    from nnactive_server.segmentation.fast.convolution import FastConvolution
    from nnactive_server.segmentation.fast.normalisation import FastNorm

    for block in network.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for layer, following in itertools.pairwise(block):
            if isinstance(layer, FastConvolution) and isinstance(following, FastNorm):
                layer.before_norm = True
            if isinstance(layer, FastNorm) and type(following) is nn.LeakyReLU:
                layer.take_over(following)
