from __future__ import annotations

import pytest
import torch

from nnactive_server.segmentation.training.batches import seeded
from nnactive_server.segmentation.training.recipe import Recipe, deep_supervision


@pytest.mark.parametrize("augmentation", ["full", "light"])
def test_augmentation_never_turns_what_lies_outside_into_background(trained, augmentation):
    recipe = Recipe(trained[0].plan, augmentation)
    transforms = recipe.transforms()
    outer = recipe.geometry[2]
    for number in range(40):
        with seeded("padding", number):
            out = transforms(
                image=torch.randn(1, *outer), segmentation=torch.ones((1, *outer), dtype=torch.int16)
            )
        for level in out["segmentation"]:
            assert set(level.unique().tolist()) <= {1, recipe.plan.labels.ignore}


def test_voxels_nobody_annotated_have_no_influence_on_the_loss(trained):
    recipe = Recipe(trained[0].plan)
    network = recipe.network()
    images = torch.randn(2, 1, *recipe.crop)
    outputs = [level.detach().requires_grad_() for level in network(images)]
    targets = [torch.full((2, 1, *level.shape[2:]), 3, dtype=torch.int16) for level in outputs]
    for level in targets:
        level[:, :, : level.shape[2] // 2] = 1
    recipe.loss()(outputs, targets).backward()
    gradient = outputs[0].grad
    half = gradient.shape[2] // 2
    assert gradient[:, :, half:].abs().max() == 0
    assert gradient[:, :, :half].abs().max() > 0


def test_a_crop_without_annotation_gives_no_gradient_and_no_nan(trained):
    recipe = Recipe(trained[0].plan)
    outputs = [level.detach().requires_grad_() for level in recipe.network()(torch.randn(2, 1, *recipe.crop))]
    targets = [torch.full((2, 1, *level.shape[2:]), 3, dtype=torch.int16) for level in outputs]
    loss = recipe.loss()(outputs, targets)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(level.grad is None or level.grad.abs().max() == 0 for level in outputs)


def test_deep_supervision_can_be_switched_off_for_prediction(trained):
    network = Recipe(trained[0].plan).network()
    images = torch.randn(2, 1, 16, 16, 16)
    assert len(network(images)) > 1
    deep_supervision(network, on=False)
    assert network(images).shape == (2, 3, 16, 16, 16)
