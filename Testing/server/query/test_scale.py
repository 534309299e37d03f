"""Large pools and many classes: what is held at one time."""

from __future__ import annotations

import tracemalloc
import weakref

import numpy as np
import pytest

from nnactive_server.core.patch import Patch
from nnactive_server.query import CaseMaps, get_strategy, propose, streamed, uncertainty_maps

BY_CLASS = ["cla-pe", "clap-pe", "clasp-pe"]
LARGE = (48, 64, 64)


def members_of(shape, classes, count, seed=0, dtype=np.float32):
    """Made one by one when read."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        member = rng.random((classes, *shape), dtype=np.float32).astype(dtype)
        member **= 8
        member /= member.sum(axis=0)
        yield member


def peak_of(work) -> int:
    """Most bytes held beyond what was there before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BY_CLASS)
def test_class_signals_made_when_asked_give_the_query_of_the_array(name):
    strategy = get_strategy(name)
    assert "class_signal" not in streamed(strategy.measures)
    pools: list[dict] = [{}, {}]
    for i, shape in enumerate([(7, 9, 8), (3, 12, 9), (1, 5, 6)]):
        members = list(members_of(shape, 6, 3, i, np.float64))
        for pool, measures in zip(pools, (strategy.measures, streamed(strategy.measures)), strict=True):
            pool[f"c{i}"] = uncertainty_maps(members, measures)
    boxes = {"c0": [Patch((0, 0, 0), (3, 3, 3))]}
    one, two = (propose(pool, strategy, 25, 1, 4, boxes, 3, patch_size=(2, 3, 2)) for pool in pools)
    assert one == two
    assert one.shortages == two.shortages
    assert len({q.group for q in one}) == 6


@pytest.mark.parametrize("name", BY_CLASS)
def test_with_42_classes_one_signal_is_in_memory_at_a_time(name, monkeypatch):
    made: list[weakref.ref] = []
    real = CaseMaps.class_signal

    def watched(self, value):
        assert all(ref() is None for ref in made)
        signal = real(self, value)
        made.append(weakref.ref(signal))
        return signal

    monkeypatch.setattr(CaseMaps, "class_signal", watched)
    maps = uncertainty_maps(members_of((6, 8, 8), 43, 2), streamed(get_strategy(name).measures))
    assert len(propose({"a": maps}, name, 64, 1, 4, {}, 3, patch_size=(2, 2, 2))) >= 20
    assert len(made) == 42


def test_choosing_among_42_classes_needs_no_more_room_than_among_four(monkeypatch):
    monkeypatch.setattr("nnactive_server.query.blocks.available_cores", lambda: 1)
    one_map = 8 * np.prod(LARGE)
    peaks = []
    for classes in (5, 43):
        pool = {
            "a": uncertainty_maps(members_of(LARGE, classes, 1), ("mean_probability", "predictive_entropy"))
        }
        peaks.append(
            peak_of(lambda maps=pool: propose(maps, "clasp-pe", 64, 1, 4, {}, 3, patch_size=(8, 16, 16)))
        )
    assert peaks[1] < 7 * one_map
    assert peaks[1] < peaks[0] + one_map


def test_memory_of_folding_does_not_grow_with_the_members(monkeypatch):
    monkeypatch.setattr("nnactive_server.query.blocks.available_cores", lambda: 1)
    one_map, classes = 4 * np.prod(LARGE), 6
    measures = ("mutual_information", *streamed(("class_signal",)))
    peaks = [
        peak_of(lambda count=count: uncertainty_maps(members_of(LARGE, classes, count), measures))
        for count in (2, 8)
    ]
    assert abs(peaks[1] - peaks[0]) < one_map
    # The sums, one member, the next one while it is made (which takes two), and a few maps.
    assert peaks[1] < (4 * classes + 8) * one_map


def test_a_pool_of_maps_is_read_case_by_case():
    alive: list[weakref.ref] = []

    def stream():
        for i in range(40):
            maps = uncertainty_maps(
                members_of((4, 6, 6), 4, 1, i), ("mean_probability", "predictive_entropy")
            )
            alive.append(weakref.ref(maps["mean_probability"]))
            case = CaseMaps.from_maps(f"c{i}", maps)
            del maps
            yield case
            del case
            assert sum(ref() is not None for ref in alive) <= 1

    assert len(propose(stream(), "clasp-pe", 12, 0, 4, {}, 1, patch_size=(2, 2, 2))) == 12
    assert len(alive) == 40
