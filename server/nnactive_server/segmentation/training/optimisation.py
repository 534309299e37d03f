"""How weights are updated: the profile's optimiser, and their running mean."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from nnactive_server.segmentation.profiles import Optimiser, Profile


def make_optimiser(network: nn.Module, profile: Profile) -> torch.optim.Optimizer:
    """The optimiser of a profile for a network's weights; each update is one pass over all of them."""
    if profile.optimiser is Optimiser.SGD:
        return torch.optim.SGD(
            network.parameters(),
            lr=profile.learning_rate,
            momentum=0.99,
            nesterov=True,
            weight_decay=profile.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(
        network.parameters(), lr=profile.learning_rate, weight_decay=profile.weight_decay, fused=True
    )


class RunningMean:
    """Running mean of a network's weights; its memory grows with the steps, so that it forgets the start.

    Args:
        network: its weights must stay the same tensors; nnU-Net lists the encoder's twice, here each is once.
        decay: share of the mean that a step keeps, in the end.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        state = {name: value.detach() for name, value in network.state_dict().items()}
        first = {value.data_ptr(): name for name, value in reversed(state.items())}
        self._same = {name: first[value.data_ptr()] for name, value in state.items()}
        self._weights = [state[name] for name in dict.fromkeys(self._same.values())]
        self._mean = {name: state[name].clone() for name in dict.fromkeys(self._same.values())}

    @torch.no_grad()
    def restart(self) -> None:
        """Begin again at the weights as they are."""
        for mean, value in zip(self._mean.values(), self._weights, strict=True):
            mean.copy_(value)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step; all in one call, as there are many small ones."""
        decay = min(self._decay, (1 + step) / (10 + step))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(list(self._mean.values()), self._weights, None)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The mean under every name of the network's state; names of one weight share it."""
        return {name: self._mean[first] for name, first in self._same.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `state_dict` gave."""
        for name, mean in self._mean.items():
            mean.copy_(state[name])
