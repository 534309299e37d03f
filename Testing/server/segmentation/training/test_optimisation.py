"""The running mean of a network's weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnactive_server.segmentation.training.optimisation import RunningMean


class Twice(nn.Module):
    """Lists a layer under two names, as nnU-Net lists its encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.again = self.first
        self.second = nn.Linear(2, 1)


def fill(network, value):
    for weight in network.parameters():
        weight.data.fill_(value)


def test_the_mean_forgets_its_start_and_then_keeps_the_decay():
    network = Twice()
    fill(network, 0.0)
    mean = RunningMean(network, 0.5)
    expected = 0.0
    for step in range(30):
        fill(network, float(step))
        mean.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    for value in mean.state_dict().values():
        assert value.flatten().tolist() == pytest.approx([expected] * value.numel())


def test_a_layer_with_two_names_is_kept_once_and_given_under_both():
    network = Twice()
    mean = RunningMean(network, 0.9)
    state = mean.state_dict()
    assert list(state) == list(network.state_dict())
    assert state["first.weight"] is state["again.weight"]
    assert state["first.weight"] is not state["second.weight"]


def test_without_decay_it_is_the_weights():
    network = Twice()
    mean = RunningMean(network, 0.0)
    fill(network, 3.0)
    mean.update(7)
    assert all((value == 3.0).all() for value in mean.state_dict().values())


def test_it_goes_on_from_what_was_stored_and_begins_again_at_the_weights():
    network = Twice()
    mean, other = RunningMean(network, 0.9), RunningMean(Twice(), 0.9)
    fill(network, 5.0)
    mean.update(3)
    other.load_state_dict(mean.state_dict())
    assert all(torch.equal(value, mean.state_dict()[name]) for name, value in other.state_dict().items())
    mean.restart()
    assert all((value == 5.0).all() for value in mean.state_dict().values())
