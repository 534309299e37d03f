"""Predictions that do not fit in memory, at first or at all."""

from __future__ import annotations

import numpy as np
import pytest

from nnactive_server.core.errors import OutOfMemory
from nnactive_server.core.mapfiles import MAPS, holds_maps, map_path
from nnactive_server.core.voxels import open_voxels
from nnactive_server.loop.crossval import cross_validate
from testkit.numpy_engine import NumpyEngine


class Short(NumpyEngine):
    """Runs out of memory in the middle of a case, unless it may spare."""

    at_all = False

    def slabs(self, members, case, *, sparing=False, **words):
        for number, slab in enumerate(super().slabs(members, case, sparing=sparing, **words)):
            if number and (not sparing or self.at_all):
                raise MemoryError
            yield slab

    def embed(self, *words, sparing=False):
        if not sparing:
            raise MemoryError
        return super().embed(*words, sparing=sparing)


@pytest.fixture
def shorten(bench):
    """Makes the bench's engine run short from now on."""

    def change(at_all=False):
        bench.engine.__class__ = Short
        bench.engine.slab_planes, bench.engine.at_all = 4, at_all

    return change


def maps(cycle):
    return {name: open_voxels(map_path(cycle.folder.maps("case_2"), name)).array() for name in MAPS}


def test_a_case_is_predicted_again_with_less_memory_and_gives_the_same_maps(
    bench, make_bench, shorten, caplog
):
    cycle = bench.cycle()
    cycle.update_labels()
    cycle.train()
    shorten()
    cycle.query()
    other = make_bench("other")
    other.cycle().run()
    for name, values in maps(other.cycle()).items():
        np.testing.assert_array_equal(maps(cycle)[name], values)
    assert "out of memory while predicting case_2; trying again, now with less memory" in caplog.text


def test_a_case_that_cannot_be_predicted_at_all_is_named_and_leaves_no_maps(bench, shorten):
    cycle = bench.cycle()
    cycle.update_labels()
    cycle.train()
    shorten(at_all=True)
    with pytest.raises(OutOfMemory, match="while predicting case_0: stop other work on this machine"):
        cycle.query()
    assert not holds_maps(cycle.folder.maps("case_0"))
    bench.engine.at_all = False
    assert len(cycle.query()) == 3


def test_features_and_evaluation_are_done_again_too(bench, shorten):
    cycle = bench.cycle("coreset")
    cycle.update_labels()
    cycle.train()
    shorten()
    assert len(cycle.query()) == 3
    assert cross_validate(cycle.folder, bench.project, bench.engine)["folds"]
    assert set(bench.engine.sparing) == {True, False}
