"""Patches that are proposed while the training still goes on."""

from __future__ import annotations

import numpy as np
import pytest

from nnactive_server.core.errors import Cancelled
from nnactive_server.core.patch import Patch
from nnactive_server.loop import read_costs


def boxes(proposal):
    return [(query.case, query.patch) for query in proposal]


def test_the_first_members_propose_and_the_cycle_ends_as_without(bench, make_bench):
    cycle = bench.cycle()
    cycle.update_labels()
    early = cycle.query_early()
    assert len(early) == 3
    assert len(list(cycle.folder.early.members.glob("member_*"))) == 2
    assert not cycle.folder.training.exists()
    final = cycle.run()
    assert [query.score for query in early] != [query.score for query in final]
    other = make_bench("other")
    assert boxes(other.cycle().run()) == boxes(final)
    for member in range(3):
        name = f"member_{member}.npy"
        first, second = (np.load(b.cycle().folder.members / name) for b in (bench, other))
        np.testing.assert_array_equal(first, second)


def test_what_belongs_to_the_early_proposal_is_gone_after_the_final_one(bench):
    cycle = bench.cycle()
    cycle.update_labels()
    cycle.query_early()
    assert cycle.folder.early.path.is_dir()
    cycle.run()
    assert not cycle.folder.early.path.exists()
    assert cycle.query_early() is None


def test_boxes_placed_meanwhile_stay_free_in_both_proposals(bench):
    cycle = bench.cycle()
    cycle.update_labels()
    taken = {"case_2": [Patch((2, 3, 2), (6, 7, 7))]}
    early = cycle.query_early(taken)
    taken["case_3"] = [query.patch for query in early if query.case == "case_3"]
    cycle.train()
    for proposal in (early, cycle.query(taken)):
        found = [query for query in proposal if query.case == "case_2"]
        assert not any(query.patch.overlap(taken["case_2"][0]) for query in found)


def test_an_early_proposal_that_was_stopped_goes_on_to_the_same_patches(bench, make_bench, recorder):
    whole = bench.cycle()
    whole.update_labels()
    expected = whole.query_early()
    other = make_bench("other")
    stopped = other.cycle(monitor=recorder("early", limit=2))
    stopped.update_labels()
    with pytest.raises(Cancelled):
        stopped.query_early()
    again = other.cycle().query_early()
    assert boxes(again) == boxes(expected)
    assert len(other.engine.predicted) == len(other.project.cases)  # no case twice
    assert boxes(other.cycle().query_early()) == boxes(expected)
    assert len(other.engine.predicted) == len(other.project.cases)


def test_a_strategy_that_asks_no_members_proposes_at_once(bench):
    cycle = bench.cycle("random")
    cycle.update_labels()
    early = cycle.query_early()
    assert not cycle.folder.members.exists()
    assert bench.engine.predicted == []
    assert boxes(early) == boxes(cycle.run())


def test_its_time_is_in_the_account_of_the_cycle(bench):
    cycle = bench.cycle()
    cycle.update_labels()
    cycle.query_early()
    assert {"early", "train"} <= set(read_costs(cycle.folder.costs)["seconds"])
