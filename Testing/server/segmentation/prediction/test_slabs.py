"""Prediction in slabs gives what prediction of the whole case gives."""

from __future__ import annotations

import dataclasses
import os
import shutil
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from nnactive_server.core.errors import Cancelled, NoSpace, SegmentationError
from nnactive_server.core.files import link_or_copy, write_json
from nnactive_server.core.monitor import Monitor
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.hardware import PREDICTION_BYTES, detect
from nnactive_server.segmentation.plan import CONFIGURATION, Plan
from nnactive_server.segmentation.prediction import slabs
from nnactive_server.segmentation.prediction.inference import SlidingWindow
from nnactive_server.segmentation.training.members import TRAINING
from nnactive_server.segmentation.training.recipe import Recipe, deep_supervision
from nnactive_server.segmentation.training.weights import member_path

ROUNDING = 5e-4
GRIDS = {
    "same voxels": {},
    "other voxels": {"last_spacing": (1.3, 0.9, 0.8)},
    "anisotropic, turned, cropped": {
        "shape": (24, 14, 26),
        "spacing": (1.0, 2.5, 1.0),
        "border": 3,
        "last_spacing": (1.3, 2.2, 0.8),
    },
    "finer than the plan, last axis thick": {
        "shape": (30, 22, 12),
        "spacing": (1.0, 1.0, 3.0),
        "border": 2,
        "last_spacing": (0.7, 0.6, 3.0),
    },
}


def engine_for(project, work: Path, *, memory: int = PREDICTION_BYTES, monitor=None, **changes) -> Engine:
    hardware = dataclasses.replace(detect(), prediction_bytes=memory)
    return Engine(project, work, get_profile("smoke", **changes), monitor, hardware)


def random_members(engine: Engine, folder: Path, count: int) -> Path:
    """Networks that nobody trained, with answers as decided as those of trained ones."""
    folder.mkdir()
    for member in range(count):
        torch.manual_seed(member)
        weights = Recipe(engine.plan).network().state_dict()
        for name in weights:
            if "seg_layers" in name:
                weights[name] *= 10
        torch.save(weights, member_path(folder, member))
    return told(folder, count)


def told(folder: Path, count: int) -> Path:
    """What a training of so many members writes down."""
    splits = [{"held_out": []}] * count
    document = {"splits": splits, "profile": {"ensemble": "folds"}, "warm_start": False}
    write_json(folder / TRAINING, document)
    return folder


def first_members(folder: Path, target: Path, count: int) -> Path:
    """A folder with only the first ones of another."""
    for member in range(count):
        link_or_copy(member_path(folder, member), member_path(target, member))
    return told(target, count)


def joined(found) -> tuple[list[np.ndarray], int]:
    """All members' whole arrays, and the number of slabs they came in."""
    whole: list[np.ndarray] = []
    seen = np.zeros(0)
    count = 0
    for slab in found:
        for member, part in enumerate(slab.members):
            if len(whole) == member:
                whole.append(np.full((len(part), *slab.shape), np.nan, np.float32))
            whole[member][(slice(None), *slab.box)] = part
        seen = seen if len(seen) else np.zeros(slab.shape, int)
        seen[slab.box] += 1
        count += 1
    assert (seen == 1).all()
    return whole, count


@pytest.fixture(scope="module", params=GRIDS, ids=str)
def prepared(request, make_project, tmp_path_factory):
    project = make_project(cases=3, annotated=2, **GRIDS[request.param])
    work = tmp_path_factory.mktemp("work")
    engine = engine_for(project, work)
    engine.prepare(project.cases)
    return project, work, random_members(engine, work / "members", 3)


@pytest.fixture(scope="module")
def plain(project, tmp_path_factory):
    """An engine that predicts this project whole, and the folder of two members."""
    work = tmp_path_factory.mktemp("work")
    engine = engine_for(project, work)
    engine.prepare(project.cases)
    return engine, random_members(engine, work / "members", 2)


@pytest.mark.parametrize(
    ("members", "memory", "test"), [(1, 1, False), (2, 100_000, True), (3, 250_000, False)]
)
def test_slabs_put_together_are_the_whole_prediction(prepared, tmp_path, members, memory, test):
    project, work, folder = prepared
    folder = first_members(folder, tmp_path / "members", members)
    whole = list(engine_for(project, work).predict(folder, "case_2", test=test))
    found, count = joined(engine_for(project, work, memory=memory).slabs(folder, "case_2", test=test))
    assert count > 1
    assert len(found) == len(whole) == members
    for ours, expected in zip(found, whole, strict=True):
        assert ours.dtype == np.float32
        assert ours.shape == expected.shape == (3, *project.geometry("case_2").shape)
        np.testing.assert_allclose(ours, expected, atol=ROUNDING)
        np.testing.assert_allclose(ours.sum(0), 1, atol=1e-5)
    assert whole[0].max(0).mean() > 0.6  # decided enough that a wrong plane would show


def test_flips_pass_through_slabs(plain, project):
    engine, folder = plain
    changes = {"pool_members": "flips", "memory": 1}
    whole = list(engine_for(project, engine._workdir, pool_members="flips").predict(folder, "case_4"))
    found, _ = joined(engine_for(project, engine._workdir, **changes).slabs(folder, "case_4"))
    assert len(found) == len(whole) == 8
    for ours, expected in zip(found, whole, strict=True):
        np.testing.assert_allclose(ours, expected, atol=ROUNDING)


def test_one_member_alone_is_that_of_the_ensemble(prepared):
    project, work, folder = prepared
    engine = engine_for(project, work, members=3, memory=1)
    everything, _ = joined(engine.slabs(folder, "case_2", test=True))
    (alone,), _ = joined(engine.slabs(folder, "case_2", member=2))
    np.testing.assert_array_equal(alone, everything[2])
    with pytest.raises(SegmentationError, match="no member 3"):
        next(engine.slabs(folder, "case_2", member=3))


def test_dropout_passes_through_slabs_draw_the_same_channels(project, tmp_path):
    changes = {"members": 1, "dropout": 0.3, "pool_members": "dropout", "dropout_passes": 3}
    engine = engine_for(project, tmp_path, **changes)
    engine.prepare(project.cases)
    members = random_members(engine, tmp_path / "members", 1)
    found, count = joined(engine_for(project, tmp_path, memory=1, **changes).slabs(members, "case_4"))
    whole = list(engine.predict(members, "case_4"))
    assert count > 1
    assert len(found) == len(whole) == 3
    for ours, expected in zip(found, whole, strict=True):
        np.testing.assert_allclose(ours, expected, atol=ROUNDING)
    assert np.abs(found[0] - found[1]).max() > 10 * ROUNDING


def test_a_case_that_fits_comes_whole_bit_for_bit(plain):
    engine, members = plain
    (slab,) = list(engine.slabs(members, "case_4"))
    assert slab.is_whole
    for ours, expected in zip(slab.members, engine.predict(members, "case_4"), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_estimated_bytes_decide(plain):
    engine, _ = plain
    grids = slabs.Grids.of(engine._store.properties("case_4"), engine.plan)
    assert grids.whole_bytes == slabs.COPIES * 4 * 3 * 18 * 24 * 20
    for memory, too_small in ((grids.whole_bytes, False), (grids.whole_bytes - 1, True)):
        hardware = dataclasses.replace(engine.hardware, prediction_bytes=memory)
        assert slabs.needs_slabs(grids, engine.plan, hardware) == too_small


def test_a_plan_that_resamples_in_another_way_is_predicted_whole(plain):
    engine, _ = plain
    grids = slabs.Grids.of(engine._store.properties("case_4"), engine.plan)
    hardware = dataclasses.replace(engine.hardware, prediction_bytes=1)
    other = Plan(deepcopy(engine.plan.plans), engine.plan.dataset_json)
    assert slabs.needs_slabs(grids, other, hardware)
    kept = other.plans["configurations"][CONFIGURATION]["resampling_fn_probabilities_kwargs"]
    kept["force_separate_z"] = None
    assert not slabs.needs_slabs(grids, Plan(other.plans, other.dataset_json), hardware)


def test_slabs_are_as_thick_as_memory_allows_and_never_thicker_than_a_chunk():
    grids = slabs.Grids(16, (500, 512, 512), (500, 512, 512), ((0, 500), (0, 512), (0, 512)), (0, 1, 2))
    plane = slabs.SLAB_COPIES * 4 * 16 * 512 * 512
    assert [grids.planes(n) for n in (0, plane, 3 * plane + 1, 10**12)] == [1, 1, 3, slabs.MAX_PLANES]
    assert grids.planes(PREDICTION_BYTES) * plane <= PREDICTION_BYTES < grids.whole_bytes


@settings(deadline=None, max_examples=60)
@given(length=st.integers(1, 40), wanted=st.integers(1, 90), seed=st.integers(0, 99))
def test_places_on_an_axis_are_those_of_torch(length, wanted, seed):
    line = torch.from_numpy(np.random.default_rng(seed).normal(0, 10, length).astype(np.float32))
    expected = functional.interpolate(line[None, None], wanted, mode="linear", align_corners=False)[0, 0]
    ours = [line[a] * (1 - part) + line[b] * part for a, b, part in slabs.sources(length, wanted)]
    np.testing.assert_allclose(ours, expected, atol=2e-5)


@settings(deadline=None, max_examples=15)
@given(
    shape=st.tuples(st.integers(3, 50), st.integers(3, 24), st.integers(3, 24)),
    step=st.sampled_from([0.3, 0.5, 0.75, 1.0]),
)
def test_logits_plane_by_plane_are_the_whole_logits(plain, shape, step):
    engine, _ = plain
    torch.manual_seed(1)
    network = Recipe(engine.plan).network()
    deep_supervision(network, on=False)
    network.eval()
    window = SlidingWindow(engine.plan, detect(), step)
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    planes = list(window.planes(network, image))
    torch.testing.assert_close(torch.stack(planes, 1), window.logits(network, image), atol=1e-4, rtol=1e-4)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 999), scale=st.sampled_from([0.1, 5.0, 60.0, 1e5]))
def test_stored_logits_keep_the_softmax(seed, scale):
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (5, 4, 6)).astype(np.float32))
    grids = slabs.Grids(5, (2, 4, 6), (2, 4, 6), ((0, 2), (0, 4), (0, 6)), (0, 1, 2))
    with slabs.tempfile.TemporaryFile() as stream:
        file = slabs.LogitFile(stream, grids)
        file.append(logits * 0)
        file.append(logits + 16)
        off = (logits.max() - logits.min()) / 2**18
        np.testing.assert_allclose(file.plane(1).softmax(0), logits.softmax(0), atol=off + 5e-6)
        assert not file.plane(0).any()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_stay_so(wrong):
    grids = slabs.Grids(3, (1, 2, 2), (1, 2, 2), ((0, 1), (0, 2), (0, 2)), (0, 1, 2))
    logits = torch.zeros(3, 2, 2)
    logits[1, 0, 0] = wrong
    with slabs.tempfile.TemporaryFile() as stream:
        file = slabs.LogitFile(stream, grids)
        file.append(logits)
        assert file.plane(0).isnan().any()


class Stopping(Monitor):
    """Cancels when it is asked for the n-th time."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def check(self) -> None:
        self.left -= 1
        if self.left <= 0:
            self.cancel()
        super().check()


def nameless(folder: Path) -> list[int]:
    """Descriptors of files that this process has open in a folder, and that have no name any more."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:  # the one that this listing was read through
            continue
        if target.startswith(f"{folder}/") and target.endswith("(deleted)"):
            found.append(int(link.name))
    return found


@pytest.mark.parametrize("checks", [1, 20])
def test_stopping_while_logits_are_computed_leaves_nothing(plain, project, checks):
    engine, members = plain
    before = sorted(engine._workdir.rglob("*"))
    other = engine_for(project, engine._workdir, memory=1, monitor=Stopping(checks))
    with pytest.raises(Cancelled):
        next(other.slabs(members, "case_4"))
    assert sorted(engine._workdir.rglob("*")) == before
    assert not nameless(engine._workdir)


def test_stopping_works_between_slabs(plain, project):
    engine, members = plain
    monitor = Monitor()
    other = engine_for(project, engine._workdir, memory=1, monitor=monitor)
    parts = other.slabs(members, "case_4")
    list(next(parts).members)
    list(next(parts).members)
    monitor.cancel()
    with pytest.raises(Cancelled):
        next(parts)


def test_temporary_files_have_no_name_and_end_with_the_generator(plain, project):
    engine, members = plain
    before = sorted(engine._workdir.rglob("*"))
    parts = engine_for(project, engine._workdir, memory=1).slabs(members, "case_4")
    next(parts)
    assert sorted(engine._workdir.rglob("*")) == before
    assert [os.fstat(number).st_size for number in nameless(engine._workdir)] == [2 * 3 * 18 * 24 * 20] * 2
    parts.close()
    assert not nameless(engine._workdir)


def test_too_little_disk_is_told_with_figures_before_anything_is_computed(plain, project, monkeypatch):
    engine, members = plain
    other = engine_for(project, engine._workdir, memory=1)
    usage = shutil.disk_usage(engine._workdir)
    monkeypatch.setattr(slabs.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(NoSpace, match=rf"{engine._workdir}.*0\.0 GB of temporary.*make room"):
        next(other.slabs(members, "case_4"))


def test_a_missing_member_is_named_on_this_path_too(project, plain, tmp_path):
    other = engine_for(project, plain[0]._workdir, memory=1)
    with pytest.raises(SegmentationError, match="train this cycle first"):
        next(other.slabs(tmp_path, "case_4"))
