"""How weights are updated: the profile's optimiser and its learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from nnactive_server.segmentation.profiles import Optimiser, Profile


def learning_rate(profile: Profile, step: int, steps: int) -> float:
    """Learning rate of a step: linear warm-up, then polynomial (SGD) or cosine (AdamW) decay to 0."""
    share = step / steps
    if profile.optimiser is Optimiser.SGD:
        decay = math.pow(1 - share, 0.9)
    else:
        decay = 0.5 * (1 + math.cos(math.pi * share))
    rise = min(1.0, (step + 1) / profile.warm_up) if profile.warm_up else 1.0
    return profile.learning_rate * decay * rise


def make_optimiser(network: nn.Module, profile: Profile) -> torch.optim.Optimizer:
    """The optimiser of a profile for a network's weights."""
    if profile.optimiser is Optimiser.SGD:
        return torch.optim.SGD(
            network.parameters(),
            lr=profile.learning_rate,
            momentum=0.99,
            nesterov=True,
            weight_decay=profile.weight_decay,
        )
    return torch.optim.AdamW(
        network.parameters(), lr=profile.learning_rate, weight_decay=profile.weight_decay
    )
