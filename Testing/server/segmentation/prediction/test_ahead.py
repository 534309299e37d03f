"""Small cases predicted together, as on a GPU; here the device is the processor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnactive_server.segmentation import Engine
from nnactive_server.segmentation.hardware import detect
from nnactive_server.segmentation.prediction import ahead
from nnactive_server.segmentation.prediction.inference import SlidingWindow

ALONE = replace(detect(), autocast=None, resident=False)
TOGETHER = replace(ALONE, resident=True)
CASES = ("case_0", "case_1", "case_2", "case_3")


@pytest.fixture
def watched(trained, monkeypatch):
    """Engines on given hardware, and how many images each computation took."""
    engine, folder = trained
    counts: list[int] = []
    plain = SlidingWindow.together

    def counted(self, network, images, flips=None):
        counts.append(len(images))
        return plain(self, network, images, flips)

    monkeypatch.setattr(SlidingWindow, "together", counted)

    def make(hardware, **changes):
        profile = replace(engine._profile, **changes)
        return Engine(engine._dataset, engine._workdir, profile, None, hardware)

    return make, folder, counts


def softmax(engine, folder, case, **words):
    (slab,) = engine.slabs(folder, case, **words)
    return np.stack([np.asarray(member) for member in slab.members])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, {}),
        ({}, {"test": True}),
        ({}, {"member": 1}),
        ({"pool_members": "flips"}, {}),
        ({"skip_flat": 0.5}, {}),
    ],
    ids=["pool", "evaluation", "one member", "flips", "flat tiles left out"],
)
def test_cases_together_are_the_cases_alone(watched, changes, words):
    make, folder, counts = watched
    engine, plain = make(TOGETHER, **changes), make(ALONE, **changes)
    engine.expect(folder, CASES, **words)
    for case in CASES:
        found = softmax(engine, folder, case, **words)
        np.testing.assert_allclose(found, softmax(plain, folder, case, **words), atol=1e-5)
    passes = len(found)
    assert counts.count(len(CASES)) == passes  # once for each pass, all cases in it
    assert counts.count(1) == passes * len(CASES)  # the plain engine's


def test_tiles_of_several_cases_travel_in_one_batch(watched):
    make, folder, _ = watched
    engine, batches = make(TOGETHER), []
    for network in engine._predictor.networks(folder):
        network.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))

    def calls(expected):
        batches.clear()
        engine.expect(folder, expected)
        for case in CASES:
            softmax(engine, folder, case)
        return len(batches), sum(batches)

    apart, tiles = calls(())
    together, same = calls(CASES)
    assert together < apart
    assert same <= tiles  # a lone tile travels twice on a CPU


def test_without_a_device_nothing_is_computed_ahead(watched):
    make, folder, counts = watched
    engine = make(ALONE)
    engine.expect(folder, CASES)
    softmax(engine, folder, CASES[0])
    assert set(counts) == {1}


def test_dropout_depends_on_the_case_and_is_computed_alone(watched, with_dropout):
    _, _, counts = watched
    engine, folder = with_dropout
    together = Engine(engine._dataset, engine._workdir, engine._profile, None, TOGETHER)
    together.expect(folder, CASES)
    softmax(together, folder, CASES[0])
    assert counts == [1] * engine._profile.dropout_passes


def test_no_more_waits_than_memory_is_meant_for_it(watched, monkeypatch):
    make, folder, counts = watched
    engine = make(TOGETHER)
    one = engine._predictor._bytes(CASES[1]) * 2
    monkeypatch.setattr(ahead, "KEPT_BYTES", one)
    engine.expect(folder, CASES)
    for case in CASES:
        softmax(engine, folder, case)
    assert set(counts) == {2}


def test_no_more_cases_are_computed_together_than_are_meant_to(watched, monkeypatch):
    make, folder, counts = watched
    engine = make(TOGETHER)
    monkeypatch.setattr(ahead, "CASES", 3)
    engine.expect(folder, CASES)
    for case in CASES:
        softmax(engine, folder, case)
    assert counts == [3, 3, 1, 1]


def test_a_case_that_needs_slabs_is_left_out_of_a_group(watched):
    make, folder, counts = watched
    engine = make(TOGETHER)
    size = engine._predictor._bytes
    engine._predictor._bytes = lambda case: None if case == CASES[2] else size(case)
    engine.expect(folder, CASES)
    for case in CASES:
        softmax(engine, folder, case)
    assert counts == [2, 2, 1, 1, 1, 1]


def test_other_questions_meanwhile_do_not_disturb(watched):
    make, folder, counts = watched
    engine, plain = make(TOGETHER), make(ALONE)
    engine.expect(folder, CASES)
    softmax(engine, folder, CASES[0])
    before = list(counts)
    np.testing.assert_allclose(
        softmax(engine, folder, CASES[1], test=True), softmax(plain, folder, CASES[1], test=True), atol=1e-5
    )
    counts[:] = before
    for case in (*CASES[1:], CASES[0], "case_4"):  # the last two out of turn
        np.testing.assert_allclose(softmax(engine, folder, case), softmax(plain, folder, case), atol=1e-5)


def test_after_memory_was_short_cases_are_predicted_alone(watched):
    make, folder, counts = watched
    engine = make(TOGETHER)
    engine.expect(folder, CASES)
    for _ in engine.slabs(folder, CASES[0], sparing=True):
        pass
    softmax(engine, folder, CASES[1])
    assert set(counts) <= {1}
