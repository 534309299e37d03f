from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from nnactive_server.core.errors import QueryError, SegmentationError
from nnactive_server.core.features import Embedding
from nnactive_server.core.files import link_or_copy, read_json, write_json
from nnactive_server.core.patch import Patch
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.prediction.embedding import Embedder, projection
from nnactive_server.segmentation.preprocessing import CaseStore
from nnactive_server.segmentation.training.members import TRAINING
from nnactive_server.segmentation.training.recipe import Recipe, deep_supervision
from nnactive_server.segmentation.training.weights import member_path

FLOAT32 = Hardware(torch.device("cpu"), None, False, 2, "exact")
KINDS = [Embedding.BOTTLENECK, Embedding.GRADIENT]


@dataclasses.dataclass
class Case:
    """A prepared case and a random network for it."""

    engine: Engine
    image: np.ndarray
    properties: dict[str, Any]
    network: nn.Module

    def embed(self, kind, cell, step=0.75, dims=32, hardware=FLOAT32):
        embedder = Embedder(self.engine.plan, hardware, step, dims)
        return embedder.embed([self.network], self.image, self.properties, kind, cell)


def prepared(project, folder: Path, case: str, **changes: Any) -> Case:
    engine = Engine(project, folder, get_profile("smoke", **changes))
    engine.prepare(project.cases)
    torch.manual_seed(0)
    network = Recipe(engine.plan).network()
    deep_supervision(network, on=False)
    store = CaseStore(folder / "cases", engine.plan)
    return Case(engine, store.image(case), store.properties(case), network.eval())


@pytest.fixture(scope="module")
def plain(project, tmp_path_factory) -> Case:
    """A case without border or resampling."""
    return prepared(project, tmp_path_factory.mktemp("plain"), "case_4")


@pytest.fixture(scope="module")
def turned(make_project, tmp_path_factory) -> Case:
    """A case whose axes are turned, with a border of zeros, resampled, with padding to fill a tile."""
    project = make_project(
        cases=3,
        annotated=2,
        shape=(24, 14, 26),
        spacing=(1.0, 2.5, 1.0),
        border=3,
        last_spacing=(1.3, 2.5, 0.8),
    )
    return prepared(project, tmp_path_factory.mktemp("turned"), "case_2")


def tile_features(network: nn.Module, tile: np.ndarray, kind: Embedding) -> np.ndarray:
    """Features (D, z, y, x) of each voxel of a tile (channels, z, y, x): the plain way."""
    with torch.no_grad():
        skips = network.encoder(torch.from_numpy(tile)[None].expand(2, -1, -1, -1, -1).contiguous())
        if kind is Embedding.BOTTLENECK:
            found = skips[-1][0]
            for axis in range(3):
                repeats = tile.shape[axis + 1] // found.shape[axis + 1]
                found = found.repeat_interleave(repeats, axis + 1)
            return found.numpy()
        below = skips[-1]
        for stage, skip in enumerate(skips[-2::-1]):
            below = network.decoder.transpconvs[stage](below)
            below = network.decoder.stages[stage](torch.cat((below, skip), 1))
        probability = torch.softmax(network.decoder.seg_layers[-1](below)[0], 0)
        label = functional.one_hot(probability.argmax(0), len(probability)).permute(3, 0, 1, 2)
        outer = (probability - label)[:, None] * below[0][None]
        return outer.flatten(0, 1).numpy()


def brute_force(case: Case, kind: Embedding, cell, step: float) -> np.ndarray:
    """Every voxel's mean over its tiles, then every cell's mean over the voxels it shares: by loops."""
    tile = case.engine.plan.configuration.patch_size
    size = case.image.shape[1:]
    room = [max(t - n, 0) for t, n in zip(tile, size, strict=True)]
    padded = np.pad(case.image, [(0, 0), *((r // 2, r - r // 2) for r in room)])
    starts = []
    for t, n in zip(tile, padded.shape[1:], strict=True):
        last = int(np.ceil((n - t) / (t * step)))
        starts.append([int(np.round((n - t) / max(last, 1) * i)) for i in range(last + 1)])
    total: Any = 0
    count = np.zeros(padded.shape[1:])
    for corner in itertools.product(*starts):
        box = tuple(slice(s, s + t) for s, t in zip(corner, tile, strict=True))
        whole = np.zeros((1, *padded.shape[1:]))
        features = tile_features(case.network, np.ascontiguousarray(padded[(slice(None), *box)]), kind)
        whole = np.zeros((len(features), *padded.shape[1:]))
        whole[(slice(None), *box)] = features
        total = total + whole
        count[box] += 1
    inside = tuple(slice(r // 2, r // 2 + n) for r, n in zip(room, size, strict=True))
    return on_case_grid(case, (total / count)[(slice(None), *inside)], cell)


def on_case_grid(case: Case, features: np.ndarray, cell) -> np.ndarray:
    forward = case.engine.plan.manager.transpose_forward
    shape = case.properties["shape_before_cropping"]
    cell = [cell[axis] for axis in forward]
    counts = [-(-n // c) for n, c in zip(shape, cell, strict=True)]
    lengths = []
    for axis in range(3):
        low, high = case.properties["bbox_used_for_cropping"][axis]
        voxels = features.shape[axis + 1]
        found = np.zeros((counts[axis], voxels))
        for i, v in itertools.product(range(counts[axis]), range(voxels)):
            first = low + (high - low) * v / voxels
            end = low + (high - low) * (v + 1) / voxels
            found[i, v] = max(0.0, min(end, (i + 1) * cell[axis]) - max(first, i * cell[axis]))
        lengths.append(found)
    sums = np.einsum("dzyx,az,by,cx->dabc", features, *lengths, optimize=True)
    weight = np.einsum("az,by,cx->abc", *lengths)
    means = np.where(weight > 1e-6, sums / np.maximum(weight, 1e-6), 0)
    return means.transpose(0, *(list(forward).index(axis) + 1 for axis in range(3)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("cell", "step"), [((4, 4, 4), 0.75), ((3, 5, 7), 0.5), ((1, 2, 50), 1.0)])
def test_cells_are_means_over_their_voxels(plain, kind, cell, step):
    assert plain.image.shape[1:] == (18, 24, 20)
    found = plain.embed(kind, cell, step)
    np.testing.assert_allclose(found.values, brute_force(plain, kind, cell, step), atol=2e-5)
    assert (found.cell, found.shape) == (cell, (18, 24, 20))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", [(4, 4, 4), (5, 2, 7), (1, 1, 1)])
def test_cells_of_a_turned_cropped_and_resampled_case_are_on_its_own_grid(turned, kind, cell):
    manager = turned.engine.plan.manager
    assert manager.transpose_forward != [0, 1, 2]
    cropped = turned.properties["shape_after_cropping_and_before_resampling"]
    assert list(turned.image.shape[1:]) != cropped
    assert (np.array(turned.image.shape[1:]) < turned.engine.plan.configuration.patch_size).any()
    found = turned.embed(kind, cell)
    assert found.shape == (24, 14, 26)
    np.testing.assert_allclose(found.values, brute_force(turned, kind, cell, 0.75), atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_outside_the_image_proper_are_zero(turned, kind):
    values = turned.embed(kind, (3, 1, 2)).values
    outside = np.ones(values.shape[1:], bool)
    outside[1:7, 3:11, 1:12] = False
    assert (values[:, outside] == 0).all()
    assert (values[:, ~outside] != 0).any(axis=0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_projection_makes_features_few(turned, kind):
    whole, few = turned.embed(kind, (4, 4, 4)).values, turned.embed(kind, (4, 4, 4), dims=5).values
    assert len(few) == 5 < len(whole)
    by_hand = np.einsum("dw,wzyx->dzyx", projection(kind, len(whole), 5), whole)
    np.testing.assert_allclose(few, by_hand, atol=1e-4)


def test_gradients_are_those_of_the_mean_cross_entropy_over_a_box(make_project, tmp_path):
    project = make_project(cases=2, annotated=1, shape=(16, 16, 16))
    case = prepared(project, tmp_path, "case_1")
    assert tuple(case.engine.plan.configuration.patch_size) == case.image.shape[1:]
    grid = case.embed(Embedding.GRADIENT, (4, 4, 4))
    boxes = [Patch((4, 8, 0), (8, 4, 12)), Patch((0, 0, 0), (16, 16, 16)), Patch((12, 0, 4), (4, 4, 4))]
    for box, found in zip(boxes, grid.box_means(boxes), strict=True):
        case.network.zero_grad()
        logits = case.network(torch.from_numpy(np.array(case.image))[None])
        loss = functional.cross_entropy(logits, logits.argmax(1), reduction="none")
        loss[(0, *box.slices)].mean().backward()
        gradient = case.network.decoder.seg_layers[-1].weight.grad.flatten().numpy()
        assert np.abs(gradient).max() > 1e-3
        np.testing.assert_allclose(found, gradient, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_call_gives_the_same_numbers_for_any_number_of_threads(turned, plain, kind):
    for case in (turned, plain):
        first = case.embed(kind, (3, 4, 5), step=0.5)
        for threads in (1, 2, 5):
            hardware = dataclasses.replace(FLOAT32, threads=threads)
            again = case.embed(kind, (3, 4, 5), step=0.5, hardware=hardware)
            np.testing.assert_array_equal(again.values, first.values)


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_stacked_one_after_the_other(trained, project, tmp_path, kind):
    engine, members = trained
    found = engine.embed(members, "case_4", kind, (4, 4, 4)).values
    told = read_json(members / TRAINING, SegmentationError)
    write_json(tmp_path / TRAINING, told | {"splits": told["splits"][:1]})
    link_or_copy(member_path(members, 0), member_path(tmp_path, 0))
    alone = Engine(project, engine._workdir, engine._profile)
    first = alone.embed(tmp_path, "case_4", kind, (4, 4, 4)).values
    assert len(found) == 2 * len(first)
    np.testing.assert_array_equal(found[: len(first)], first)
    assert not np.allclose(found[len(first) :], first)


def test_embedding_leaves_prediction_as_it_was(trained):
    engine, members = trained
    before = list(engine.predict(members, "case_4"))
    for kind in KINDS:
        engine.embed(members, "case_4", kind, (4, 4, 4))
    for a, b in zip(before, engine.predict(members, "case_4"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_error_in_the_network_leaves_its_last_layer_as_it_was(plain):
    with pytest.raises(RuntimeError, match="channels"):
        dataclasses.replace(plain, image=np.repeat(plain.image, 2, 0)).embed(Embedding.GRADIENT, (4, 4, 4))
    assert plain.network(torch.zeros(1, 1, 16, 16, 16)).shape[1] == 3


def test_the_projection_is_the_same_for_all_and_roughly_keeps_distances():
    first = projection(Embedding.GRADIENT, 400, 32)
    np.testing.assert_array_equal(first, projection(Embedding.GRADIENT, 400, 32))
    assert not np.allclose(first, projection(Embedding.BOTTLENECK, 400, 32))
    points = np.random.default_rng(0).normal(size=(40, 400))
    pairs = [points[a] - points[b] for a, b in itertools.combinations(range(40), 2)]
    ratios = [np.linalg.norm(first @ pair) / np.linalg.norm(pair) for pair in pairs]
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)
    assert 0.5 < min(ratios) < max(ratios) < 1.5


@pytest.mark.parametrize("cell", [(0, 4, 4), (4, 4), (4, 4, 2.5)])
def test_a_cell_that_is_none_is_refused(trained, cell):
    with pytest.raises(QueryError, match="feature cell"):
        trained[0].embed(trained[1], "case_4", Embedding.BOTTLENECK, cell)


def test_what_is_missing_is_named(trained, tmp_path):
    with pytest.raises(SegmentationError, match="case_9 is not preprocessed"):
        trained[0].embed(trained[1], "case_9", Embedding.GRADIENT, (4, 4, 4))
    with pytest.raises(SegmentationError, match="no such model"):
        trained[0].embed(tmp_path, "case_4", Embedding.GRADIENT, (4, 4, 4))
