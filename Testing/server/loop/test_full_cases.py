"""Cases in which no patch fits beside the annotated boxes: the query does without them."""

from __future__ import annotations

import pytest

from nnactive_server.core.errors import Cancelled
from nnactive_server.core.patch import Patch
from nnactive_server.loop.pool import Offers
from nnactive_server.loop.requery import requery


@pytest.fixture
def full(bench):
    """The bench, with two cases that are annotated but for a rim."""
    boxes = {}
    for case in ("case_2", "case_3"):
        z, y, x = bench.project.geometry(case).shape
        boxes[case] = Patch((1, 1, 1), (z - 3, y - 3, x - 2))
    bench.annotate(0, boxes | {"case_1": Patch((2, 3, 3), (6, 6, 6))})
    return bench


def chosen(proposal):
    return [(query.case, query.patch, query.score) for query in proposal]


def test_they_are_not_predicted_and_the_proposal_is_the_same(full, make_bench, monkeypatch):
    proposal = full.cycle().run()
    assert sorted(full.engine.predicted) == ["case_0", "case_1", "case_4"]
    loop = (full.project.root / "loop_000.json").read_bytes()
    other = make_bench("other")
    other.annotate(0, {"case_1": Patch((2, 3, 3), (6, 6, 6))})
    for label in (full.project.root / "labelsTr").glob("*"):
        (other.project.root / "labelsTr" / label.name).write_bytes(label.read_bytes())
    (other.project.root / "loop_000.json").write_bytes(loop)
    monkeypatch.setattr(Offers, "cannot_matter", lambda *_: False)
    assert chosen(other.cycle().run()) == chosen(proposal)
    assert sorted(other.engine.predicted) == list(other.project.cases)


def test_asking_again_gives_the_same_without_computing_anything(full):
    proposal = full.cycle().run()
    answer = requery(full.project.root, "clasp-pe", lambda *_: pytest.fail("computed"))
    assert list(answer.proposal) == list(proposal)
    assert answer.computed == 0


def test_people_get_their_maps_nevertheless(full):
    cycle = full.cycle()
    cycle.run()
    quality = cycle.complete_maps(full.project.cases)
    assert sorted(full.engine.predicted) == list(full.project.cases)
    assert set(quality) == set(full.project.cases)


def test_the_engine_is_told_before_which_cases_it_will_predict_and_in_what_order(full, recorder):
    with pytest.raises(Cancelled):
        full.cycle(monitor=recorder("predict", limit=1)).run()
    full.engine.expected.clear()
    before = len(full.engine.predicted)
    cycle = full.cycle()
    cycle.run()
    cycle.complete_maps(full.project.cases)
    assert [case for _, case in full.engine.expected] == full.engine.predicted[before:]
    assert before == 1


def test_strategies_that_compare_with_what_is_annotated_see_all_cases(full):
    full.cycle("coreset").run()
    assert {case for case, _ in full.engine.embedded} == set(full.project.cases)


def test_when_no_case_has_room_the_shortages_are_told(bench):
    boxes = {case: Patch((0, 0, 0), bench.project.geometry(case).shape) for case in bench.project.cases}
    bench.annotate(0, boxes)
    proposal = bench.cycle().run()
    assert (len(proposal), proposal.missing) == (0, 3)
    assert proposal.shortages
    assert bench.engine.predicted == ["case_0"]
