"""Short memory: a named error, and one more try with less."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from nnactive_server.core.errors import OutOfMemory
from nnactive_server.segmentation import Engine, get_profile, member_run
from nnactive_server.segmentation.hardware import detect
from nnactive_server.segmentation.memory import named, with_less

CPU = replace(detect(), device=torch.device("cpu"), autocast=None, channels_last=False)


def short(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError(),
        torch.OutOfMemoryError("anything"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_each_kind_of_shortage_is_named_with_what_was_done_and_what_to_do(problem):
    expected = pytest.raises(OutOfMemory, match="while training member 2: train fewer")
    with expected as caught, named("training member 2", "train fewer"):
        raise problem
    assert caught.value.__cause__ is problem


@pytest.mark.parametrize("problem", [RuntimeError("shapes differ"), ValueError("no"), OSError(5, "disk")])
def test_other_errors_pass(problem):
    with pytest.raises(type(problem)) as caught, named("anything", "nothing"):
        raise problem
    assert caught.value is problem


def test_a_second_try_with_less_is_told(caplog):
    def work():
        with named("counting", "count less"):
            short()

    with caplog.at_level(logging.WARNING):
        assert with_less(work, lambda: 7, "with fewer fingers") == 7
    assert caplog.messages == ["out of memory while counting; trying again, now with fewer fingers"]


def test_a_real_allocation_that_cannot_fit_is_named():
    with pytest.raises(OutOfMemory), named("asking for a petabyte", "do not"):
        torch.empty(2**50, dtype=torch.uint8)


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
