from __future__ import annotations

import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.hardware import detect
from nnactive_server.segmentation.prediction.inference import SlidingWindow
from nnactive_server.segmentation.training.recipe import Recipe, deep_supervision


def test_members_come_one_by_one_as_softmax_on_the_cases_own_grid(trained, project):
    engine, members = trained
    found = engine.predict(members, "case_4")
    assert isinstance(found, types.GeneratorType)
    arrays = list(found)
    assert len(arrays) == 2
    for array in arrays:
        assert array.shape == (3, *project.geometry("case_4").shape)
        np.testing.assert_allclose(array.sum(0), 1, atol=1e-5)
    assert not np.allclose(arrays[0], arrays[1])


def test_resampled_cropped_and_turned_images_come_back_to_their_grid(make_project, tmp_path):
    project = make_project(
        cases=3,
        annotated=2,
        shape=(24, 14, 26),
        spacing=(1.0, 2.5, 1.0),
        border=3,
        last_spacing=(1.3, 2.5, 0.8),
    )
    engine = Engine(project, tmp_path, get_profile("smoke", iterations=40, members=1, learning_rate=5e-3))
    engine.prepare(project.cases)
    engine.update_labels(project.cases[:2])
    engine.train(tmp_path / "m", cases=project.cases[:2], seed=1, cycle=0)
    (softmax,) = engine.predict(tmp_path / "m", "case_2")
    assert softmax.shape == (3, 24, 14, 26)
    assert (softmax[0, :3] == 1).all()
    image = project.read_image("case_2").array[0]
    found = softmax.argmax(0)
    assert image[found == 2].mean() > image[(found == 0) & (image > 0)].mean() + 80


def test_predicting_does_not_change_with_the_batch_the_tiles_travel_in(trained):
    """A lone tile is doubled on CPUs; its result must be that of the tile itself."""
    engine, _ = trained
    network = Recipe(engine.plan).network()
    deep_supervision(network, on=False)
    network.eval()
    window = SlidingWindow(engine.plan, replace(detect(), autocast=None), 0.75)
    tile = np.random.default_rng(0).normal(size=(1, *engine.plan.configuration.patch_size)).astype(np.float32)
    with torch.inference_mode():
        alone = network(torch.from_numpy(tile)[None])[0]
    np.testing.assert_allclose(window.logits(network, tile), alone, atol=1e-4)


def test_mirroring_averages_over_all_flips(trained):
    engine, _ = trained
    network = Recipe(engine.plan).network()
    deep_supervision(network, on=False)
    network.eval()
    window = SlidingWindow(engine.plan, detect(), 0.75, (0, 1, 2))
    image = (
        np.random.default_rng(0).normal(size=(1, *engine.plan.configuration.patch_size)).astype(np.float32)
    )
    straight = window.logits(network, image)
    turned = window.logits(network, image[:, ::-1, :, ::-1].copy())
    np.testing.assert_allclose(straight, turned.flip((1, 3)), atol=1e-3)


@pytest.mark.parametrize("shape", [(5, 40, 9), (16, 16, 16), (17, 31, 33)])
def test_images_of_any_size_are_covered(trained, shape):
    engine, _ = trained
    network = Recipe(engine.plan).network()
    deep_supervision(network, on=False)
    logits = SlidingWindow(engine.plan, detect(), 1.0).logits(network, np.zeros((1, *shape), np.float32))
    assert tuple(logits.shape) == (3, *shape)
    assert bool(torch.isfinite(logits).all())
