"""Training and prediction when memory is short."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nnactive_server.core.errors import OutOfMemory
from nnactive_server.core.features import Embedding
from nnactive_server.loop.sparing import over_slabs
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.hardware import detect
from nnactive_server.segmentation.prediction.inference import SlidingWindow
from nnactive_server.segmentation.training import member_run

CPU = replace(detect(), device=torch.device("cpu"), autocast=None, channels_last=False)


def short(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.fixture
def ready(project, tmp_path):
    def make(resident):
        profile = replace(get_profile("smoke"), members=1, checkpoint_seconds=0.0)
        work = tmp_path / f"work{resident}"
        engine = Engine(project, work, profile, hardware=replace(CPU, resident=resident))
        annotated = [name for name in project.cases if project.has_label(name)]
        engine.prepare(project.cases)
        engine.update_labels(annotated)
        return lambda out: engine.train(out, cases=annotated, seed=1, cycle=0)

    return make


def fail_at(monkeypatch, *calls):
    """Let these calls of the loss, counted from 1, run out of memory."""
    counted, real = [0], member_run.MemberRun._step

    def step(run, number):
        counted[0] += 1
        if counted[0] in calls:
            short()
        return real(run, number)

    monkeypatch.setattr(member_run.MemberRun, "_step", step)


def test_training_goes_on_with_its_images_off_the_device_and_ends_as_if_nothing_had_been(
    ready, tmp_path, monkeypatch
):
    train = ready(True)
    train(tmp_path / "whole")
    fail_at(monkeypatch, 4)
    train(tmp_path / "short")
    one, two = (torch.load(tmp_path / n / "member_0.pt", weights_only=True) for n in ("whole", "short"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize(("resident", "calls"), [(True, (4, 5)), (False, (4,))])
def test_training_that_cannot_fit_ends_with_advice_and_keeps_what_it_did(
    ready, tmp_path, monkeypatch, resident, calls
):
    train = ready(resident)
    fail_at(monkeypatch, *calls)
    with pytest.raises(
        OutOfMemory, match="while training member 1 of 1: choose a profile with smaller crops"
    ):
        train(tmp_path / "members")
    assert (tmp_path / "members" / "checkpoint_0.pt").exists()
    train(tmp_path / "members")
    assert (tmp_path / "members" / "member_0.pt").exists()


def whole(slabs) -> np.ndarray:
    """All members' softmax (members, C, z, y, x)."""
    parts = [np.stack(list(slab.members)) for slab in slabs]
    return np.concatenate(parts, axis=2)


def test_prediction_that_runs_out_of_memory_is_done_again_with_less(project, trained, monkeypatch):
    engine, folder = trained
    case = project.cases[0]
    expected = np.stack(list(engine.predict(folder, case)))
    real = SlidingWindow._flipped

    def flipped(window, *words):
        return real(window, *words) if window._hardware.frugal else short()

    monkeypatch.setattr(SlidingWindow, "_flipped", flipped)
    found = over_slabs(case, lambda *, sparing: engine.slabs(folder, case, sparing=sparing), whole)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_sparing_means_thin_slabs_and_single_tiles(project, trained):
    engine, folder = trained
    tight = Engine(project, engine._workdir, engine._profile, None, replace(CPU, prediction_bytes=2_000_000))
    case = project.cases[0]
    thick, thin = (list(tight.slabs(folder, case, sparing=sparing)) for sparing in (False, True))
    assert len(thin) > len(thick)
    assert tight._sparing._predictor.query_window._tiles._workers == 1
    assert tight._sparing.hardware.prediction_bytes == 250_000


def test_sparing_features_are_the_same(project, trained):
    engine, folder = trained
    asked = (folder, project.cases[0], Embedding.BOTTLENECK, (4, 4, 4))
    first, second = (engine.embed(*asked, sparing=sparing) for sparing in (False, True))
    np.testing.assert_allclose(first.values, second.values, rtol=1e-5, atol=1e-5)
