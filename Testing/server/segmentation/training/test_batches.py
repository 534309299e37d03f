"""Batches made on the device, and the cases that lie there, all on a processor's tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nnactive_server.core.rng import generator
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.hardware import detect
from nnactive_server.segmentation.preprocessing import ANNOTATED, TrainingCase
from nnactive_server.segmentation.training.batches import DeviceBatches, HostBatches, make_batches
from nnactive_server.segmentation.training.resident import ResidentCases
from nnactive_server.segmentation.training.sampling import CropSampler

CPU = torch.device("cpu")
HARDWARE = replace(detect(), device=CPU, autocast=None, channels_last=False, resident=True)
IGNORE = 3
PLENTY = 2**30


def case(shape=(20, 24, 22), patch=((8, 9, 7), (6, 5, 8)), seed=0, name="one"):
    """A case with one annotated box; its image tells every voxel apart."""
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape) + seed
    label = np.full(shape, IGNORE, np.uint8)
    box = tuple(slice(s, s + n) for s, n in zip(*patch, strict=True))
    label[box] = generator(seed, "labels").integers(0, 3, patch[1])
    where = {c: np.argwhere(label == c) for c in (1, 2)} | {ANNOTATED: np.argwhere(label != IGNORE)}
    return TrainingCase(name, image, label, where, int((label != IGNORE).sum()))


def beyond(array, start, size, fill):
    out = np.full(size, fill, array.dtype)
    for index in np.ndindex(*size):
        at = tuple(s + i for s, i in zip(start, index, strict=True))
        if all(0 <= a < n for a, n in zip(at, array.shape, strict=True)):
            out[index] = array[at]
    return out


@pytest.mark.parametrize("budget", [0, PLENTY])
@pytest.mark.parametrize("start", [(5, 6, 4), (8, 9, 7), (11, 12, 13)])
def test_a_box_near_what_is_annotated_is_that_of_the_whole_case(start, budget):
    held = ResidentCases([case()], (7, 7, 7), IGNORE, CPU, budget)
    image, label = held.box(0, start, (5, 6, 4))
    assert torch.equal(image[0], torch.from_numpy(beyond(case().image[0], start, (5, 6, 4), 0)))
    assert torch.equal(label[0], torch.from_numpy(beyond(case().label, start, (5, 6, 4), IGNORE)).short())


@pytest.mark.parametrize("start", [(-3, -4, -2), (17, 20, 18), (-30, 0, 0)])
def test_beyond_the_image_there_is_nothing_and_nobody_knows(start):
    held = ResidentCases([case()], (40, 40, 40), IGNORE, CPU, PLENTY)
    image, label = held.box(0, start, (6, 7, 8))
    assert torch.equal(image[0], torch.from_numpy(beyond(case().image[0], start, (6, 7, 8), 0)))
    assert torch.equal(label[0], torch.from_numpy(beyond(case().label, start, (6, 7, 8), IGNORE)).short())


def test_only_what_training_can_reach_is_kept_and_the_budget_holds():
    cases = [case(seed=n, name=str(n)) for n in range(3)]
    one = ResidentCases(cases[:1], (2, 2, 2), IGNORE, CPU, PLENTY)._held[0]
    assert one.image.shape[1:] == (10, 9, 12)
    assert ResidentCases(cases, (2, 2, 2), IGNORE, CPU, 2 * one.bytes).resident == 2
    assert ResidentCases(cases, (2, 2, 2), IGNORE, CPU, 0).resident == 0


@pytest.fixture(scope="module", params=["full", "light"])
def prepared(request, project, tmp_path_factory):
    profile = replace(get_profile("smoke"), augmentation=request.param)
    engine = Engine(project, tmp_path_factory.mktemp("work"), profile, hardware=HARDWARE)
    engine.prepare(project.cases)
    annotated = [name for name in project.cases if project.has_label(name)]
    engine.update_labels(annotated)
    recipe = engine._predictor.recipe
    cases = [engine._store.training_case(name) for name in annotated]
    ignore = engine.plan.labels.ignore
    sampler = CropSampler(cases, recipe.crop, recipe.geometry[2], ignore, 0.33, True)
    return recipe, sampler


def test_batches_have_the_shapes_and_types_of_nnunets(prepared):
    recipe, sampler = prepared
    host = HostBatches(recipe, sampler, HARDWARE).draw(1, 2)
    device = DeviceBatches(recipe, sampler, HARDWARE, PLENTY).draw(1, 2)
    assert device[0].shape == host[0].shape
    assert device[0].dtype == host[0].dtype == torch.float32
    assert [level.shape for level in device[1]] == [level.shape for level in host[1]]
    assert {level.dtype for level in device[1]} == {level.dtype for level in host[1]}


def test_the_same_key_gives_the_same_batch_wherever_the_cases_lie(prepared):
    recipe, sampler = prepared
    here, there = (DeviceBatches(recipe, sampler, HARDWARE, budget) for budget in (PLENTY, 0))
    assert (here.cases.resident, there.cases.resident) == (len(sampler.cases), 0)
    for step in range(8):
        one, two, other = here.draw(1, step), there.draw(1, step), here.draw(2, step)
        assert torch.equal(one[0], two[0])
        assert all(torch.equal(a, b) for a, b in zip(one[1], two[1], strict=True))
        assert not torch.equal(one[0], other[0])


def test_what_training_can_reach_is_never_cut_off(prepared):
    recipe, sampler = prepared
    ours, whole = (DeviceBatches(recipe, sampler, HARDWARE, PLENTY) for _ in range(2))
    whole.cases = ResidentCases(sampler.cases, (999, 999, 999), IGNORE, CPU, PLENTY)
    for step in range(100):
        one, two = ours.draw(3, step), whole.draw(3, step)
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1][0], two[1][0])


def test_what_a_batch_holds_is_distributed_as_nnunets(prepared):
    """Mean, spread and sharpness of the crops, and how much of each label they show, over 300 batches."""
    recipe, sampler = prepared
    both = [HostBatches(recipe, sampler, HARDWARE), DeviceBatches(recipe, sampler, HARDWARE, PLENTY)]
    found = [np.array([_signs(*batches.draw(5, step)) for step in range(300)]) for batches in both]
    middle, spread = found[0].mean(0), found[0].std(0)
    assert np.all(np.abs(found[1].mean(0) - middle) < 0.3 * spread + 1e-3)
    assert np.all(np.abs(found[1].std(0) - spread) < 0.3 * spread + 1e-3)


def _signs(images, targets):
    labels = [float((targets[0] == value).float().mean()) for value in (0, 1, 2, IGNORE)]
    return [float(images.mean()), float(images.std()), float(images.diff(dim=2).abs().mean()), *labels]


def test_the_hardware_decides_which_kind_it_is(prepared):
    recipe, sampler = prepared
    assert isinstance(make_batches(recipe, sampler, HARDWARE), DeviceBatches)
    assert isinstance(make_batches(recipe, sampler, replace(HARDWARE, resident=False)), HostBatches)


def test_training_with_resident_cases_learns_and_goes_on_where_it_was_stopped(project, tmp_path):
    from nnactive_server.core.errors import Cancelled
    from nnactive_server.core.monitor import Monitor

    class StopsOnce(Monitor):
        def report(self, stage, done, *_):
            if stage == "train" and done >= 4:
                self.cancel()

    profile = replace(get_profile("smoke"), members=1, iterations=30)
    annotated = [name for name in project.cases if project.has_label(name)]

    def engine(work, monitor=None):
        made = Engine(project, work, profile, monitor, HARDWARE)
        made.prepare(project.cases)
        made.update_labels(annotated)
        return made

    whole = engine(tmp_path / "a")
    report = whole.train(tmp_path / "a" / "members", cases=annotated, seed=1, cycle=0)
    assert np.isfinite(report.losses[0])
    stopped = engine(tmp_path / "b", StopsOnce())
    with pytest.raises(Cancelled):
        stopped.train(tmp_path / "b" / "members", cases=annotated, seed=1, cycle=0)
    engine(tmp_path / "b").train(tmp_path / "b" / "members", cases=annotated, seed=1, cycle=0)
    weights = [torch.load(tmp_path / name / "members" / "member_0.pt", weights_only=True) for name in "ab"]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
