"""Short memory: a named error, and one more try with less."""

from __future__ import annotations

import errno
import logging

import pytest
import torch

from nnactive_server.core.errors import OutOfMemory
from nnactive_server.core.memory import lacks_memory, named, with_less


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


@pytest.mark.parametrize("problem", [OSError(errno.ENOMEM, "fork"), OutOfMemory("while counting")])
def test_what_an_error_was_raised_from_counts(problem):
    outer = RuntimeError("a worker ended")
    outer.__cause__ = problem
    assert lacks_memory(outer)
    assert not lacks_memory(RuntimeError("a worker ended"))
