"""Tiles with nothing in them may be left out of prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnactive_server.core.errors import SegmentationError
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.hardware import detect
from nnactive_server.segmentation.prediction.flat import FlatTiles
from nnactive_server.segmentation.prediction.inference import SlidingWindow
from nnactive_server.segmentation.training.recipe import Recipe, deep_supervision

BODY = 40
"""Planes from here on hold something; before them is air."""


@pytest.fixture(scope="module")
def network(trained):
    torch.manual_seed(0)
    made = Recipe(trained[0].plan).network().eval()
    deep_supervision(made, on=False)
    return made


@pytest.fixture(scope="module")
def image():
    """(1, 72, 20, 20): noise of a small amplitude, then a body."""
    rng = np.random.default_rng(0)
    values = 0.01 * rng.normal(size=(1, 72, 20, 20))
    values[:, BODY:] += rng.normal(size=(1, 72 - BODY, 20, 20)) + 2
    return values.astype(np.float32)


def seen(network, window, image):
    """Logits, and how many tiles the network was shown."""
    tiles = []
    handle = network.register_forward_pre_hook(lambda _, given: tiles.append(len(given[0])))
    try:
        return window.logits(network, image), sum(tiles)
    finally:
        handle.remove()


def test_air_is_background_without_a_look_and_the_body_is_predicted_as_before(trained, network, image):
    plan = trained[0].plan
    everywhere, all_tiles = seen(network, SlidingWindow(plan, detect(), 1.0), image)
    found, tiles = seen(network, SlidingWindow(plan, detect(), 1.0, skip_flat=0.05), image)
    depth = plan.configuration.patch_size[0]
    assert 0 < tiles < all_tiles
    air = found[:, : BODY - depth]
    assert (torch.softmax(air, 0)[0] == 1).all()
    # Beyond the first tile that holds some of the body, no tile was left out.
    np.testing.assert_allclose(found[:, BODY + depth :], everywhere[:, BODY + depth :], atol=1e-4)


def test_every_tile_is_predicted_unless_it_is_asked_for(trained, network, image):
    assert all(get_profile(name).skip_flat == 0 for name in ("paper", "deploy", "fast-cpu", "smoke"))
    flat = np.zeros_like(image)
    _, tiles = seen(network, SlidingWindow(trained[0].plan, detect(), 1.0), flat)
    assert tiles > 0


def test_an_image_without_anything_is_all_background(trained, network, image):
    window = SlidingWindow(trained[0].plan, detect(), 1.0, skip_flat=0.05)
    found, tiles = seen(network, window, np.zeros_like(image))
    assert tiles == 0
    assert (torch.softmax(found, 0)[0] == 1).all()


def test_planes_one_by_one_leave_out_the_same_tiles(trained, network, image):
    window = SlidingWindow(trained[0].plan, detect(), 0.75, skip_flat=0.05)
    planes = torch.stack(list(window.planes(network, image)), 1)
    np.testing.assert_allclose(planes, window.logits(network, image), atol=1e-4)


def test_a_tile_in_which_one_channel_shows_something_is_not_flat():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 8, 8, 8)).astype(np.float32)
    flat = FlatTiles(0.1, image)
    tile = torch.zeros(2, 4, 4, 4)
    assert flat(tile)
    tile[1, 0] = 3
    assert not flat(tile)


@given(st.floats(1e-3, 1e3), st.floats(-5, 5), st.floats(0.05, 0.9))
def test_what_is_flat_does_not_depend_on_the_scale_of_an_image(scale, offset, share):
    rng = np.random.default_rng(1)
    image = rng.normal(size=(1, 6, 7, 8)).astype(np.float32)
    tile = image[:, :4] * np.float32(share / 2)
    moved = [(values * scale + offset * scale).astype(np.float32) for values in (image, tile)]
    assert FlatTiles(share, image)(torch.from_numpy(tile))
    assert FlatTiles(share, moved[0])(torch.from_numpy(moved[1]))
    assert not FlatTiles(share, moved[0])(torch.from_numpy(moved[0]))


@pytest.mark.parametrize("window", ["query_window", "_test_window"])
def test_an_engine_leaves_them_out_when_its_profile_says_so(trained, project, network, image, window):
    engine, _ = trained
    changed = Engine(project, engine._workdir, get_profile("smoke", skip_flat=0.05))
    _, every = seen(network, getattr(engine._predictor, window), image)
    _, tiles = seen(network, getattr(changed._predictor, window), image)
    assert tiles < every


def test_a_share_beyond_its_range_is_refused():
    with pytest.raises(SegmentationError, match="skip_flat"):
        get_profile("smoke", skip_flat=1.0)
