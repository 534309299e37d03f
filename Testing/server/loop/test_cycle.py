"""One cycle: order, files, restart, cancel."""

from __future__ import annotations

import json
import shutil
from itertools import combinations
from typing import ClassVar

import numpy as np
import pytest

from nnactive_server.core.errors import Cancelled, LoopError
from nnactive_server.core.mapfiles import MAPS, holds_maps, map_path, newest_maps, read_quality
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Patch
from nnactive_server.core.voxels import open_voxels
from nnactive_server.dataset import write_patches
from nnactive_server.loop import read_costs, read_maps, read_proposal
from nnactive_server.loop.cycle import joined


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_cycle_trains_and_proposes_free_places(bench):
    cycle = bench.cycle()
    proposal = cycle.run()
    assert [query.rank for query in proposal] == [1, 2, 3]
    boxes = {(q.case, q.patch) for q in proposal}
    boxes |= {("case_0", Patch((3, 4, 3), (5, 6, 6))), ("case_1", Patch((2, 3, 3), (6, 6, 6)))}
    assert not any(a[0] == b[0] and a[1].overlap(b[1]) for a, b in combinations(boxes, 2))
    assert list(cycle.folder.members.glob("*")) != []


def test_evaluation_comes_after_training_and_before_the_query(bench):
    seen = []

    def evaluate(folder):
        seen.append((folder.training.exists(), folder.queries.exists()))

    bench.cycle().run(evaluate)
    assert seen == [(True, False)]


def test_the_second_cycle_reads_the_new_labels(bench):
    bench.cycle().run()
    bench.annotate(1, {"case_2": Patch((1, 1, 1), (4, 4, 4))})
    stored = bench.project.root / "work" / "case_0.label.npy"
    before = stored.stat().st_mtime_ns
    cycle = bench.cycle(number=1)
    cycle.update_labels()
    assert stored.stat().st_mtime_ns == before
    assert stored.with_name("case_2.label.npy").exists()
    assert json.loads(cycle.folder.labels.read_text()) == {"cases": ["case_2"]}
    cycle.train()
    assert json.loads(cycle.folder.training.read_text())["losses"][0] is None  # NaN is no JSON


def test_queries_are_the_same_after_a_restart_in_the_middle_of_the_pool(bench, make_bench, recorder):
    whole = bench.cycle().run()
    other = make_bench("other")
    monitor = recorder("predict", limit=2)
    with pytest.raises(Cancelled):
        other.cycle(monitor=monitor).run()
    assert len(list((other.project.root / "cycle_000" / "candidates").glob("*.json"))) == 2
    before = list(other.engine.predicted)
    again = other.cycle().run()
    assert list(again) == list(whole)
    assert sorted(other.engine.predicted) == sorted(other.project.cases)
    assert len(before) == 2


def test_candidates_made_before_a_stop_are_used(bench, recorder):
    monitor = recorder("predict", limit=2)
    with pytest.raises(Cancelled):
        bench.cycle(monitor=monitor).run()
    done = list(bench.engine.predicted)
    for case in done:
        shutil.rmtree(bench.cycle().folder.maps(case))
    bench.cycle().run()
    assert sorted(bench.engine.predicted) == sorted(bench.project.cases)
    assert len(done) == 2


def test_nothing_is_done_twice(bench):
    first = bench.cycle().run()
    stamps = {p: p.stat().st_mtime_ns for p in bench.project.root.rglob("*") if p.is_file()}
    predicted = list(bench.engine.predicted)
    assert list(bench.cycle().run()) == list(first)
    assert bench.engine.predicted == predicted
    assert {p: p.stat().st_mtime_ns for p in bench.project.root.rglob("*") if p.is_file()} == stamps


def test_all_maps_stay_until_a_later_cycle_is_queried(bench):
    first = bench.cycle("coreset", query_size=2)
    chosen = {query.case for query in first.run()}
    assert names(first.folder.path / "maps") == set(bench.project.cases)
    assert names(first.folder.path / "features") == {f"{case}-bottleneck.npz" for case in bench.project.cases}
    assert not (first.folder.path / "candidates").exists()
    bench.annotate(1, {"case_2": Patch((1, 1, 1), (4, 4, 4))})
    second = bench.cycle("coreset", number=1, query_size=2)
    second.run()
    assert names(first.folder.path / "maps") == chosen < names(second.folder.path / "maps")
    assert not (first.folder.path / "features").exists()
    assert names(second.folder.path / "features")


def test_kept_maps_are_what_people_look_at(bench):
    cycle = bench.cycle(query_size=2)
    case = cycle.run()[0].case
    prediction, entropy = read_maps(cycle.folder.maps(case))
    assert prediction.shape == entropy.shape == bench.project.geometry(case).shape
    assert prediction.dtype == np.uint8
    assert entropy.dtype == np.float32
    assert entropy.min() >= 0
    assert 0.1 < entropy.max() <= np.log(3) + 1e-3


def test_a_cycle_ranks_by_the_rounded_maps_it_stores(bench):
    cycle = bench.cycle("bald", query_size=1)
    best = cycle.run()[0]
    maps = cycle.folder.maps(best.case)
    stored = {name: open_voxels(map_path(maps, name)) for name in MAPS}
    assert stored["mutual_information"].dtype == stored["mean_probability"].dtype == np.float16
    inside = stored["mutual_information"].read(best.patch.slices).astype(np.float64)
    assert best.score == pytest.approx(inside.mean(), rel=1e-12)


def test_maps_left_by_a_kill_are_used(bench):
    cycle = bench.cycle()
    first = cycle.run()
    before = list(bench.engine.predicted)
    cycle.folder.queries.unlink()
    map_path(cycle.folder.maps("case_3"), "mean_probability").unlink()
    assert list(bench.cycle().run()) == list(first)
    assert bench.engine.predicted == [*before, "case_3"]


def test_distances_are_in_mm_of_the_image(bench):
    proposal = bench.cycle("random", query_size=500, patch=(2, 2, 2)).run()
    box = Patch((3, 4, 3), (5, 6, 6))
    spacing = bench.project.geometry("case_0").spacing
    assert spacing[0] != spacing[1]
    mine = [query for query in proposal if query.case == "case_0"]
    for query in mine:
        gaps = [
            max(0, a - be, b - ae) * mm
            for a, ae, b, be, mm in zip(
                query.start, query.patch.stop, box.start, box.stop, spacing, strict=True
            )
        ]
        assert query.why.nearest_mm == pytest.approx(np.linalg.norm(gaps))
    assert len({query.why.nearest_mm for query in mine}) > 1


def test_random_needs_no_prediction(bench):
    cycle = bench.cycle("random")
    assert len(cycle.run()) == 3
    assert bench.engine.predicted == []
    assert not (cycle.folder.path / "maps").exists()


def test_random_foreground_takes_the_prediction_when_nobody_knows_the_labels(bench):
    bench.cycle("random-fg-66").run()
    assert sorted(bench.engine.predicted) == sorted(bench.project.cases)


def test_random_foreground_takes_the_labels_it_is_given(bench):
    asked = []

    def labels(case):
        asked.append(case)
        return bench.truth(case)

    bench.cycle("random-fg-66", label_source=labels).run()
    assert bench.engine.predicted == []
    assert sorted(asked) == sorted(bench.project.cases)


def test_only_the_pool_is_queried(bench):
    proposal = bench.cycle(pool=["case_3", "case_4"]).run()
    assert {query.case for query in proposal} <= {"case_3", "case_4"}
    assert set(bench.engine.predicted) == {"case_3", "case_4"}


def test_warm_start_changes_what_is_learned(bench, make_bench):
    other = make_bench("cold")
    for each, warm in ((bench, True), (other, False)):
        each.cycle(warm_start=warm).run()
        each.annotate(1, {"case_2": Patch((1, 1, 1), (6, 6, 6))})
        second = each.cycle(number=1, warm_start=warm)
        second.update_labels()
        second.train()
    models = [np.load(b.project.root / "cycle_001" / "members" / "member_0.npy") for b in (bench, other)]
    assert not np.allclose(*models)


def test_training_without_the_loop_file_is_refused(bench):
    with pytest.raises(LoopError, match=r"loop_001\.json"):
        bench.cycle(number=1).run()


def test_another_seed_is_refused_by_name(bench):
    bench.cycle().update_labels()
    with pytest.raises(LoopError, match=r"request\.seed was 5, now 6"):
        bench.cycle(seed=6)


def test_a_skipped_patch_is_not_proposed_again(bench):
    first = bench.cycle(query_size=6).run()
    bench.annotate(1, {})
    bench.cycle(number=1, query_size=6).run()
    entry = {
        "patches": [
            {"file": f"{q.case}.nii.gz", "coords": q.start, "size": q.size, "status": "skipped"}
            for q in first
        ]
    }
    (bench.project.root / "loop_001.json").write_text(json.dumps(entry))
    for name in ("queries.json",):
        (bench.project.root / "cycle_001" / name).unlink()
    again = bench.cycle(number=1, query_size=6).run()
    assert not any(a.case == b.case and a.patch.overlap(b.patch) for a in first for b in again)


def test_a_proposal_survives_its_file(bench):
    cycle = bench.cycle(query_size=4)
    proposal = cycle.run()
    read = read_proposal(cycle.folder)
    assert list(read) == list(proposal)
    assert [q.why for q in read] == [q.why for q in proposal]
    document = json.loads(cycle.folder.queries.read_text())
    corner = bench.project.geometry(document[0]["case"]).index_to_world(document[0]["start"])
    assert document[0]["world_corner"] == pytest.approx(corner)


def test_a_proposal_of_an_earlier_version_is_read(bench):
    cycle = bench.cycle()
    cycle.run()
    entries = json.loads(cycle.folder.queries.read_text())
    for entry in entries:
        entry["why"] = {"mean": 0.25, "mutual_information": 0.125}
    cycle.folder.queries.write_text(json.dumps(entries))
    why = read_proposal(cycle.folder)[0].why
    assert (why.mean, why.measures, why.percentile) == (0.25, {"mutual_information": 0.125}, None)


def test_shortages_are_told(bench):
    cycle = bench.cycle("random", query_size=500)
    proposal = cycle.run()
    assert 0 < len(proposal) < 500
    assert read_proposal(cycle.folder).shortages == proposal.shortages != ()


def test_a_damaged_proposal_is_named(bench):
    cycle = bench.cycle()
    cycle.run()
    cycle.folder.queries.write_text('[{"case": "case_0"}]')
    with pytest.raises(LoopError, match=r"queries\.json"):
        read_proposal(cycle.folder)


def test_only_the_cases_that_changed_are_read_again(bench):
    bench.cycle().run()
    bench.annotate(1, {"case_2": Patch((1, 1, 1), (4, 4, 4))})
    labels = {case: bench.project.root / "work" / f"{case}.label.npy" for case in bench.project.cases}
    before = labels["case_0"].stat().st_mtime_ns
    write_patches(bench.project, "case_1", {Patch((0, 0, 0), (2, 2, 2)): np.full((2, 2, 2), 2, np.uint8)})
    cycle = bench.cycle(number=1, changed=["case_2", "case_1"])
    cycle.update_labels()
    assert labels["case_0"].stat().st_mtime_ns == before
    assert (np.load(labels["case_1"])[:2, :2, :2] == 2).all()
    assert json.loads(cycle.folder.labels.read_text()) == {"cases": ["case_1", "case_2"]}


def test_nothing_is_read_again_when_nothing_changed(bench):
    bench.cycle().run()
    bench.annotate(1, {"case_2": Patch((1, 1, 1), (4, 4, 4))})
    bench.cycle(number=1, changed=[]).update_labels()
    assert not (bench.project.root / "work" / "case_2.label.npy").exists()


def test_a_case_that_lost_its_label_map_is_not_trained_on(bench):
    bench.cycle().run()
    bench.annotate(1, {"case_2": Patch((1, 1, 1), (4, 4, 4))})
    bench.project.label_path("case_1").unlink()
    trained = []

    class Watched(type(bench.engine)):
        def train(self, out, *, cases, **more):
            trained.extend(cases)
            return super().train(out, cases=cases, **more)

    bench.engine.__class__ = Watched
    cycle = bench.cycle(number=1, changed=["case_1", "case_2"])
    cycle.run()
    assert json.loads(cycle.folder.labels.read_text()) == {"cases": ["case_2"]}
    assert trained == ["case_0", "case_2"]
    assert (bench.project.root / "work" / "case_1.label.npy").exists()  # the engine's, and not used


def overlapping(proposal, boxes):
    return [q for q in proposal if any(q.patch.overlap(box) for box in boxes.get(q.case, ()))]


@pytest.mark.parametrize("strategy", ["clasp-pe", "random"])
def test_boxes_placed_meanwhile_are_left_free(bench, make_bench, strategy):
    own = bench.cycle(strategy).run()
    other = make_bench("other")
    besides = {query.case: [query.patch] for query in own}
    proposal = other.cycle(strategy).run(besides=besides)
    assert len(proposal) == 3
    assert overlapping(own, besides)
    assert not overlapping(proposal, besides)


def test_boxes_that_are_known_already_change_nothing(bench, make_bench):
    own = bench.cycle(query_size=6).run()
    besides = {"case_0": [Patch((3, 4, 3), (5, 6, 6))], "case_1": [], "gone": [Patch((0, 0, 0), (1, 1, 1))]}
    assert list(make_bench("other").cycle(query_size=6).run(besides=besides)) == list(own)


def test_a_box_counts_once_but_those_of_loop_files_as_often_as_they_are_named():
    one, two = Patch((0, 0, 0), (1, 2, 3)), Patch((4, 5, 6), (1, 1, 1))
    shown = {"a": [one, one], "b": [two]}
    assert joined(shown, {}) == shown
    more = {"a": [two, one, two], "c": [one]}
    assert joined(shown, more) == {"a": [one, one, two], "b": [two], "c": [one]}


def test_candidates_made_before_a_box_was_placed_are_made_again(bench, make_bench, recorder):
    own = bench.cycle().run()
    besides = {query.case: [query.patch] for query in own}
    expected = make_bench("other").cycle().run(besides=besides)
    stopped = make_bench("stopped")
    with pytest.raises(Cancelled):
        stopped.cycle(monitor=recorder("predict", limit=4)).run()
    again = stopped.cycle().run(besides=besides)
    assert list(again) == list(expected)
    assert sorted(stopped.engine.predicted) == sorted(stopped.project.cases)  # nothing is predicted twice


def test_a_query_that_is_made_stays_whatever_is_placed(bench):
    own = bench.cycle().run()
    assert list(bench.cycle().query({query.case: [query.patch] for query in own})) == list(own)


def test_maps_are_completed_for_strategies_that_need_none(bench):
    cycle = bench.cycle("random")
    proposal = cycle.run()
    cases = bench.project.cases
    assert newest_maps(bench.project.root, cases[0]) is None
    quality = cycle.complete_maps(cases)
    assert sorted(bench.engine.predicted) == sorted(cases)
    for case in cases:
        assert newest_maps(bench.project.root, case) == (0, cycle.folder.maps(case))
        assert 0 < quality[case] <= 1
        assert quality[case] == read_quality(cycle.folder.maps(case))
    assert read_costs(cycle.folder.costs)["seconds"]["predict"] > 0
    assert bench.cycle("random").complete_maps(cases) == quality
    assert len(bench.engine.predicted) == len(cases)
    assert list(bench.cycle("random").run()) == list(proposal)


def test_a_query_that_predicted_leaves_nothing_to_complete(bench):
    cycle = bench.cycle()
    cycle.run()
    before = list(bench.engine.predicted)
    quality = cycle.complete_maps(["case_4", "case_1"])
    assert list(quality) == ["case_4", "case_1"]
    assert bench.engine.predicted == before


def test_completing_maps_goes_on_after_a_stop(bench, recorder):
    bench.cycle("random").run()
    monitor = recorder("predict", limit=2)
    with pytest.raises(Cancelled):
        bench.cycle("random", monitor=monitor).complete_maps(bench.project.cases)
    assert len(bench.engine.predicted) == 2
    monitor = recorder()
    bench.cycle("random", monitor=monitor).complete_maps(bench.project.cases)
    assert sorted(bench.engine.predicted) == sorted(bench.project.cases)
    assert monitor.stages == ["predict"] * 3


@pytest.mark.parametrize("query_first", [True, False])
@pytest.mark.parametrize("strategy", ["random", "clasp-pe"])
def test_every_case_always_has_maps_once_there_was_a_cycle(bench, strategy, query_first):
    root, cases = bench.project.root, bench.project.cases
    first = bench.cycle(query_size=1)
    chosen = {query.case for query in first.run()}
    bench.annotate(1, {"case_2": Patch((1, 1, 1), (4, 4, 4))})

    class Looking(Monitor):
        cycles: ClassVar[list[set[int]]] = []

        def report(self, *_):
            self.cycles.append({newest_maps(root, case)[0] for case in cases})

    second = bench.cycle(strategy, number=1, monitor=Looking())
    second.update_labels()
    second.train()
    steps = [second.query, lambda: second.complete_maps(cases)]
    for step in steps if query_first else reversed(steps):
        step()
    assert Looking.cycles[0] == {0}
    assert {newest_maps(root, case)[0] for case in cases} == {1}
    assert {case for case in cases if holds_maps(first.folder.maps(case))} == chosen


def test_cases_the_later_cycle_knows_nothing_of_keep_their_maps(bench):
    first = bench.cycle("bald", query_size=1)
    chosen = {query.case for query in first.run()}
    bench.annotate(1, {"case_2": Patch((1, 1, 1), (4, 4, 4))})
    pool = [case for case in bench.project.cases if case not in chosen][:2]
    bench.cycle("bald", number=1, pool=pool).run()
    for case in bench.project.cases:
        assert newest_maps(bench.project.root, case)[0] == (1 if case in pool else 0)
