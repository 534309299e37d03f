from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nnactive_server.core.errors import SegmentationError
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.hardware import detect
from nnactive_server.segmentation.prediction.inference import SlidingWindow
from nnactive_server.segmentation.prediction.passes import dropout_passes, flip_passes, thinned
from nnactive_server.segmentation.training.recipe import Recipe, deep_supervision


def flips_window(engine: Engine) -> SlidingWindow:
    return SlidingWindow(engine.plan, detect(), 0.75, (0, 1, 2))


def random_image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)


def like(engine: Engine, project, **changes) -> Engine:
    """The same project, plan and cases under a changed profile."""
    return Engine(project, engine._workdir, dataclasses.replace(engine._profile, **changes))


def assert_equal(first, second) -> None:
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_flips_of_a_network_that_looks_at_single_voxels_agree(trained):
    network = nn.Conv3d(1, 3, 1)
    window, image = flips_window(trained[0]), random_image(20, 30, 17)
    plain = SlidingWindow(trained[0].plan, detect(), 0.75).logits(network, image)
    found = [compute() for compute in flip_passes(window, network, image)]
    assert len(found) == 8
    for logits in found:
        torch.testing.assert_close(logits, plain, atol=1e-5, rtol=0)


def test_each_flip_is_that_of_the_image_flipped_and_the_answer_flipped_back(trained):
    engine, _ = trained
    network = Recipe(engine.plan).network()
    deep_supervision(network, on=False)
    network.eval()
    window, image = flips_window(engine), random_image(*engine.plan.configuration.patch_size)
    plain = SlidingWindow(engine.plan, detect(), 0.75)
    found = [compute() for compute in flip_passes(window, network, image)]
    assert window.flips[0] == ()
    assert len(set(window.flips)) == len(found) == 8
    for axes, logits in zip(window.flips, found, strict=True):
        turned = np.flip(image, [axis + 1 for axis in axes]).copy()
        by_hand = plain.logits(network, turned).flip([axis + 1 for axis in axes])
        torch.testing.assert_close(logits, by_hand, atol=1e-3, rtol=0)
        assert axes == () or not torch.allclose(logits, found[0], atol=1e-3)


def test_pool_members_by_flips_are_views_of_the_member_trained_last(trained, project):
    engine, members = trained
    flips = list(like(engine, project, pool_members="flips").predict(members, "case_4"))
    assert len(flips) == 8
    np.testing.assert_array_equal(flips[0], list(engine.predict(members, "case_4"))[-1])
    for array in flips:
        np.testing.assert_allclose(array.sum(0), 1, atol=1e-5)
    assert not np.allclose(flips[0], flips[-1])


@pytest.mark.parametrize("kind", ["flips", "dropout"])
def test_evaluation_always_uses_the_ensemble(with_dropout, project, kind):
    engine, members = with_dropout
    ensemble = list(like(engine, project, pool_members="ensemble").predict(members, "case_4", test=True))
    other = like(engine, project, pool_members=kind)
    before = list(other.predict(members, "case_4", test=True))
    pool = other.predict(members, "case_4")
    next(pool)
    between = list(other.predict(members, "case_4", test=True))
    list(pool)
    assert len(ensemble) == 1
    for arrays in (before, between, list(other.predict(members, "case_4", test=True))):
        assert_equal(arrays, ensemble)


def test_dropout_passes_differ_and_come_again_exactly(with_dropout, project):
    engine, members = with_dropout
    first = list(engine.predict(members, "case_4"))
    assert len(first) == 3
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(first[a] - first[b]).max() > 1e-3
    torch.rand(5)
    assert_equal(list(engine.predict(members, "case_4")), first)
    assert_equal(list(like(engine, project).predict(members, "case_4")), first)


def test_dropout_passes_do_not_depend_on_the_order_of_cases_or_on_what_runs_in_between(with_dropout):
    engine, members = with_dropout
    alone = {case: list(engine.predict(members, case)) for case in ("case_0", "case_1")}
    mixed: dict[str, list[np.ndarray]] = {"case_1": [], "case_0": []}
    for second, first in zip(
        engine.predict(members, "case_1"), engine.predict(members, "case_0"), strict=True
    ):
        mixed["case_1"].append(second)
        mixed["case_0"].append(first)
    for case, arrays in alone.items():
        assert_equal(mixed[case], arrays)


def test_each_case_draws_channels_of_its_own(with_dropout):
    engine, members = with_dropout
    (network,), image = engine._predictor.networks(members), random_image(20, 30, 17)
    window = SlidingWindow(engine.plan, detect(), 0.75)
    one, other = (dropout_passes(window, network, image, case, 1)[0]() for case in ("a", "b"))
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("threads", [1, 3])
def test_dropout_passes_do_not_depend_on_threads(with_dropout, project, threads):
    engine, members = with_dropout
    hardware = dataclasses.replace(engine.hardware, threads=threads)
    other = Engine(project, engine._workdir, engine._profile, hardware=hardware)
    assert_equal(list(other.predict(members, "case_4")), list(engine.predict(members, "case_4")))


def test_whole_channels_are_left_out_with_the_layers_probability_and_others_make_up_for_it():
    network = nn.Sequential(nn.Dropout3d(0.4)).eval()
    ones = torch.ones(2, 5000, 1, 2, 3)
    with thinned(network, "case", 0):
        out = network(ones)
    channels = out.flatten(2)
    assert set(np.round(channels.unique().tolist(), 4)) == {0.0, np.round(1 / 0.6, 4)}
    assert (channels == channels[:1, :, :1]).all()
    assert abs((channels[0, :, 0] == 0).float().mean() - 0.4) < 0.03


def test_layers_leave_out_different_channels():
    network = nn.Sequential(nn.Dropout3d(0.5), nn.Dropout3d(0.5)).eval()
    with thinned(network, "case", 0):
        out = network(torch.ones(1, 4000, 1, 1, 1))
    assert abs((out > 0).float().mean() - 0.25) < 0.04


def test_an_error_inside_leaves_the_network_whole():
    network = nn.Sequential(nn.Dropout3d(0.5), nn.Conv3d(100, 1, 1)).eval()
    whole = network[0](torch.ones(1, 100, 1, 1, 1))
    with pytest.raises(RuntimeError, match="channels"), thinned(network, "case", 0):
        network(torch.ones(1, 99, 1, 1, 1))
    assert torch.equal(network[0](whole), whole)
    assert not any(module.training for module in network.modules())


def test_dropout_of_a_network_without_is_an_error_that_says_what_to_do(trained, project):
    engine, members = trained
    other = like(engine, project, pool_members="dropout", dropout=0.2)
    with pytest.raises(SegmentationError, match=r"no dropout layers; set dropout above 0 in a new project"):
        next(other.predict(members, "case_4"))
    with pytest.raises(SegmentationError, match="no dropout layers"):
        dropout_passes(flips_window(engine), nn.Conv3d(1, 1, 1), random_image(4, 4, 4), "x", 2)


def test_a_case_that_is_not_prepared_is_named(trained, tmp_path: Path):
    with pytest.raises(SegmentationError, match="case_9 is not preprocessed"):
        next(trained[0].predict(trained[1], "case_9"))
    with pytest.raises(SegmentationError, match="no such model"):
        next(trained[0].predict(tmp_path, "case_4"))


def test_pool_members_are_chosen_by_words():
    assert get_profile("smoke", pool_members="flips").to_json()["pool_members"] == "flips"
