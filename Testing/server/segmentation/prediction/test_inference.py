from __future__ import annotations

import threading
import types
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from nnactive_server.core.errors import SegmentationError
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.hardware import detect
from nnactive_server.segmentation.prediction import predictor
from nnactive_server.segmentation.prediction.inference import SlidingWindow
from nnactive_server.segmentation.prediction.slabs import Grids
from nnactive_server.segmentation.prediction.tiles import one_ahead
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


def test_the_next_pass_is_computed_while_one_is_used():
    begun = [threading.Event() for _ in range(3)]

    def work(number):
        begun[number].set()
        return number

    results = one_ahead([partial(work, number) for number in range(3)])
    assert next(results) == 0
    assert begun[1].wait(10)
    assert not begun[2].is_set()
    assert list(results) == [1, 2]
    assert list(one_ahead([])) == []


def test_an_error_ahead_comes_when_its_turn_has_come():
    def fail():
        raise SegmentationError("no")

    results = one_ahead([lambda: 1, fail])
    assert next(results) == 1
    with pytest.raises(SegmentationError, match="no"):
        next(results)


@pytest.mark.parametrize(
    ("changes", "overlaps"),
    [({"threads": 2}, True), ({"threads": 1}, False), ({"frugal": True}, False), ({"share": 1.5}, False)],
    ids=["two cores", "one core", "frugal", "little memory"],
)
def test_predicting_ahead_needs_cores_and_memory_and_changes_nothing(trained, monkeypatch, changes, overlaps):
    engine, members = trained
    plain = list(engine.predict(members, "case_4"))
    share = changes.pop("share", 100)
    memory = int(share * Grids.of(engine._store.properties("case_4"), engine.plan).whole_bytes)
    hardware = replace(engine.hardware, **{"threads": 2, "prediction_bytes": memory, **changes})
    other, used = Engine(engine._dataset, engine._workdir, engine._profile, hardware=hardware), []
    monkeypatch.setattr(predictor, "one_ahead", lambda work: used.append(work) or one_ahead(work))
    np.testing.assert_allclose(list(other.predict(members, "case_4")), plain, atol=1e-5)
    assert bool(used) is overlaps
