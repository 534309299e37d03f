"""Experiments against hidden truth: killed anywhere they end as if they had not been."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nnactive_server.core.errors import Cancelled, DatasetError, LoopError, QueryError
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.slabs import Slab
from nnactive_server.dataset import RawDataset, read_loops
from nnactive_server.evaluation.views import QueryView
from nnactive_server.loop import project_lock
from nnactive_server.study.judge import judge
from nnactive_server.study.simulate import Settings, simulate
from testkit import numpy_engine

HERE = Path(__file__).parent

POINTS = [
    ("settings", "run.json", 1, "after"),
    ("before the project", "/dataset.json", 1, "before"),
    ("first label map", "labelsTr/*.nii.gz", 1, "after"),
    ("start budget", "loop_000.json", 1, "before"),
    ("preprocessing", "work/*.image.npy", 3, "after"),
    ("label update", "work/*.label.npy", 2, "before"),
    ("between members", "cycle_001/members/member_1.npy", 1, "after"),
    ("trained", "cycle_000/training.json", 1, "before"),
    ("one test case", "cycle_000/evaluation/*.json", 1, "after"),
    ("evaluated", "cycle_001/evaluation.json", 1, "after"),
    ("summary", "summary.json", 2, "before"),
    ("maps half written", "cycle_001/maps/*/mutual_information.b2nd", 2, "after"),
    ("maps without candidates", "cycle_001/maps/*/prediction.b2nd", 2, "after"),
    ("half the pool", "cycle_000/candidates/*.json", 3, "after"),
    ("shortages", "cycle_001/shortages.json", 1, "after"),
    ("queries", "cycle_000/queries.json", 1, "after"),
    ("pool judged", "cycle_000/triage.json", 1, "before"),
    ("views", "cycle_001/views/*.npz", 2, "after"),
    ("half answered", "labelsTr/*.nii.gz", 6, "after"),
    ("answered", "loop_001.json", 1, "before"),
    ("last query", "cycle_001/queries.json", 1, "after"),
    ("candidates removed", "cycle_001/candidates", 1, "removed"),
    ("half of the older maps removed", "cycle_000/maps/case_?", 1, "removed"),
]
POINTS_OF_EMBEDDINGS = [
    ("maps without features", "cycle_000/features/*.npz", 2, "before"),
    ("features without candidates", "cycle_001/features/*.npz", 3, "after"),
    ("half embedded", "cycle_001/candidates/*.json", 3, "after"),
    ("older features removed", "cycle_000/features", 1, "removed"),
]


def settings(**changes):
    plain = {"strategy": "clasp-pe", "cycles": 3, "query_size": 4, "patch": (4, 5, 4), "seed": 7}
    plain |= {"last_query": True}
    return Settings(**plain | {"profile": numpy_engine.NumpyProfile()} | changes)


def run(source, out, monitor=None, **changes):
    return simulate(source, out, settings(**changes), monitor=monitor, make_engine=numpy_engine.NumpyEngine)


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return numpy_engine.make_source(tmp_path_factory.mktemp("truth"))


@pytest.fixture(scope="session")
def whole(source, tmp_path_factory):
    """A run that nobody disturbed, and its summary."""
    out = tmp_path_factory.mktemp("whole")
    return out, run(source, out)


def kill_runs(source, out, strategy, points):
    """For each point: a run killed there and run again; folder and what happened."""
    command = [sys.executable, HERE / "kill_and_resume.py", source.root, out, strategy, json.dumps(points)]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return out, json.loads(done.stdout)


@pytest.fixture(scope="session")
def killed(source, tmp_path_factory):
    return kill_runs(source, tmp_path_factory.mktemp("killed"), "clasp-pe", POINTS)


@pytest.fixture(scope="session")
def killed_embeddings(source, tmp_path_factory):
    return kill_runs(source, tmp_path_factory.mktemp("embedded"), "kmeans-bald", POINTS_OF_EMBEDDINGS)


def without_costs(folder):
    summary = json.loads((folder / "summary.json").read_text())
    cycles = [
        {k: v for k, v in c.items() if k not in ("seconds", "peak_memory_bytes")} for c in summary["cycles"]
    ]
    return summary | {"cycles": cycles}


@pytest.mark.parametrize("name", [point[0] for point in POINTS])
def test_a_killed_run_continues_to_the_same_patches_and_results(name, killed):
    same_as_undisturbed(name, *killed)


@pytest.mark.parametrize("name", [point[0] for point in POINTS_OF_EMBEDDINGS])
def test_a_killed_run_with_embeddings_does_too(name, killed_embeddings):
    same_as_undisturbed(name, *killed_embeddings)


def same_as_undisturbed(name, folder, outcome):
    assert outcome[name] == {"killed": True, "finished": True}
    there, here = folder / "undisturbed", folder / name
    for number in range(2):
        path = f"loop_{number:03d}.json"
        assert (here / path).read_text() == (there / path).read_text()
        path = f"cycle_{number:03d}/queries.json"
        assert (here / path).read_text() == (there / path).read_text()
    assert without_costs(here) == without_costs(there)
    assert kept(here) == kept(there)
    chosen = {query["case"] for query in json.loads((here / "cycle_000" / "queries.json").read_text())}
    assert {p.stem for p in (here / "cycle_000" / "maps").glob("case*")} == chosen
    pool = json.loads((here / "split.json").read_text())["pool"]
    assert {p.stem for p in (here / "cycle_001" / "maps").glob("case*")} == set(pool)
    assert not (here / "cycle_000" / "features").exists()


def kept(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.name.startswith(".")}


def test_a_stopped_run_continues(source, whole, tmp_path):
    class Impatient(Monitor):
        count = 0

        def report(self, *_):
            self.count += 1
            if self.count == 25:
                self.cancel()

    with pytest.raises(Cancelled):
        run(source, tmp_path, monitor=Impatient())
    run(source, tmp_path)
    assert read_loops(tmp_path) == read_loops(whole[0])


def test_labels_outside_proposed_boxes_stay_hidden(source, whole):
    project = RawDataset.open(whole[0])
    boxes = [patch for loop in read_loops(project.root) for patch in loop]
    assert len(boxes) == 12
    split = json.loads((project.root / "split.json").read_text())
    for case in project.cases:
        mine = [entry.patch for entry in boxes if entry.case == case]
        assert project.has_label(case) == bool(mine)
        if not mine:
            continue
        assert case in split["pool"]
        inside = np.zeros(project.geometry(case).shape, bool)
        for patch in mine:
            inside[patch.slices] = True
        label, truth = project.read_label(case).array, source.read_label(case).array
        assert (label[~inside] == project.labels.ignore).all()
        np.testing.assert_array_equal(label[inside], truth[inside])


def test_loop_files_hold_their_own_patches_with_place_and_origin(whole):
    project = RawDataset.open(whole[0])
    loops = read_loops(project.root)
    assert [len(loop) for loop in loops] == [4, 4, 4]
    queries = json.loads((whole[0] / "cycle_000" / "queries.json").read_text())
    first, query = loops[1][0], queries[0]
    assert (first.case, list(first.patch.start), first.rank) == (query["case"], query["start"], 1)
    assert first.score == query["score"]
    assert first.world_corner == pytest.approx(project.geometry(first.case).index_to_world(first.patch.start))
    assert first.status == "done"


def test_the_summary_holds_what_others_read(whole):
    out, summary = whole
    assert summary == json.loads((out / "summary.json").read_text())
    promised = "dataset strategy seed profile patch query_size cycles aubc final_dice test_cases versions"
    assert set(promised.split()) <= set(summary)
    assert summary["profile"] == "numpy"
    assert summary["labels"] == ["large", "small"]
    promised = "cycle patches annotated_voxels foreground_fraction mean_dice dice_per_class seconds members"
    for number, entry in enumerate(summary["cycles"]):
        assert set(promised.split()) <= set(entry)
        assert entry["cycle"] == number
        assert entry["patches"] == 4 * (number + 1)
        assert entry["annotated_voxels"] == 80 * entry["patches"]
        assert set(entry["seconds"]) == {"label_update", "train", "predict", "query", "evaluate"}
        assert entry["mean_dice"] == pytest.approx(np.mean(list(entry["dice_per_class"].values())))
        assert 0 < entry["members"]["pairwise_dice"] <= 1
        assert entry["members"]["mean_mutual_information"] > 0
    dice = [entry["mean_dice"] for entry in summary["cycles"]]
    assert dice[-1] > 0.5
    assert summary["final_dice"] == dice[-1]
    assert summary["aubc"] == pytest.approx((dice[0] / 2 + dice[1] + dice[2] / 2) / 2)


@pytest.mark.parametrize("planes", [1, 3, 4])
def test_a_class_nobody_shows_does_not_count(tmp_path, planes):
    def in_slabs(members, sparing):  # noqa: ARG001 - there is memory enough
        for start in range(0, 4, planes):
            parts = (member[:, start : start + planes] for member in members)
            yield Slab((4, 4, 4), 0, start, planes, parts)

    labels = LabelSet(("there", "absent"))
    truth = np.zeros((4, 4, 4), np.uint8)
    truth[:2] = 1
    softmax = np.stack([truth == 0, truth == 1, truth == 2]).astype(np.float32)
    rough = np.full_like(softmax, 1 / 3)
    found = judge(
        tmp_path / "evaluation.json",
        ["a", "b"],
        labels,
        lambda case: partial(in_slabs, [softmax, rough] if case == "a" else [softmax]),
        lambda _: truth,
        (2, 2, 2),
        Monitor(),
    )
    assert found["dice_per_class"] == {"there": 1.0, "absent": None}
    assert found["mean_dice"] == 1.0
    assert found["cases"]["b"]["pairwise_dice"] is None
    assert found["cases"]["a"]["mean_mutual_information"] > 0.1
    assert found["cases"]["b"]["mean_mutual_information"] == pytest.approx(0)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]


def test_the_foreground_fraction_is_counted_against_the_whole_pool(whole, source):
    pool = json.loads((whole[0] / "split.json").read_text())["pool"]
    everything = sum(int((source.read_label(case).array > 0).sum()) for case in pool)
    found = sum(
        int((source.read_label(entry.case).array[entry.patch.slices] > 0).sum())
        for loop in read_loops(whole[0])
        for entry in loop
    )
    assert whole[1]["cycles"][-1]["foreground_fraction"] == pytest.approx(found / everything)


def test_test_cases_do_not_depend_on_seed_and_are_never_annotated(source, whole, tmp_path):
    other = run(source, tmp_path, seed=8, cycles=2, strategy="random")
    assert other["test_cases"] == whole[1]["test_cases"]
    assert len(other["test_cases"]) == 2
    named = {entry.case for loop in read_loops(tmp_path) for entry in loop}
    assert not named & set(other["test_cases"])


def test_strategies_begin_with_the_same_patches(source, whole, tmp_path):
    run(source, tmp_path, strategy="bald", cycles=1)
    assert (tmp_path / "loop_000.json").read_text() == (whole[0] / "loop_000.json").read_text()


def test_random_foreground_is_drawn_from_the_truth_without_a_model(source, tmp_path):
    summary = run(source, tmp_path, strategy="random-fg-66", cycles=2, query_size=6)
    assert [entry["seconds"]["predict"] for entry in summary["cycles"]] == [0, 0]
    groups = {entry.group for entry in read_loops(tmp_path)[1]}
    assert groups & {"class-1", "class-2"}
    assert not (tmp_path / "cycle_000" / "views").exists()


def test_views_of_the_best_queries_are_kept(source, whole, tmp_path):
    ranks = {p.name for p in (whole[0] / "cycle_001" / "views").iterdir()}
    assert ranks == {f"query_{rank:03d}.npz" for rank in range(1, 5)}
    view = QueryView.load(whole[0] / "cycle_001" / "views" / "query_001.npz")
    assert view.heat_top > 0
    assert view.plane("axial").truth is not None
    run(source, tmp_path, cycles=1, views=2)
    assert len(list((tmp_path / "cycle_000" / "views").iterdir())) == 2


def test_the_last_query_can_be_left_out(source, tmp_path):
    run(source, tmp_path, cycles=2, last_query=False)
    assert (tmp_path / "cycle_000" / "queries.json").exists()
    assert not (tmp_path / "cycle_001" / "queries.json").exists()
    assert not (tmp_path / "loop_002.json").exists()


def test_another_setting_is_refused_by_name(source, whole):
    with pytest.raises(LoopError, match=r"query_size was 4, now 5") as caught:
        run(source, whole[0], query_size=5)
    assert "seed" not in str(caught.value)
    with pytest.raises(LoopError, match=r"profile\.members was 3, now 2"):
        run(source, whole[0], profile=numpy_engine.NumpyProfile(members=2))


def test_another_data_set_is_refused(whole, tmp_path):
    other = numpy_engine.make_source(tmp_path / "other", cases=9)
    with pytest.raises(LoopError, match=r"split\.json.*pool was"):
        run(other, whole[0])


def test_the_data_set_itself_is_no_place_for_a_run(tmp_path):
    source = numpy_engine.make_source(tmp_path, 3)
    before = {p for p in tmp_path.rglob("*") if not p.name.startswith(".")}
    with pytest.raises(LoopError, match=r"dataset\.json"):
        run(source, tmp_path)
    assert {p for p in tmp_path.rglob("*") if not p.name.startswith(".")} == before


def test_a_run_in_work_is_left_alone(source, tmp_path):
    with project_lock(tmp_path), pytest.raises(LoopError, match="another process"):
        run(source, tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_a_finished_run_is_only_read(source, whole):
    again = run(source, whole[0])
    assert again == whole[1]


def test_images_are_links_that_mend_when_the_data_moved(source, tmp_path):
    run(source, tmp_path / "run", cycles=1)
    links = sorted((tmp_path / "run" / "imagesTr").iterdir())
    assert all(link.is_symlink() for link in links)
    links[0].unlink()
    links[0].symlink_to(tmp_path / "gone.nii.gz")
    run(source, tmp_path / "run", cycles=1)
    assert links[0].is_file()


def test_a_run_of_an_older_version_goes_on_with_the_defaults_of_its_time(source, tmp_path):
    first = run(source, tmp_path, cycles=1)
    path = tmp_path / "run.json"
    document = json.loads(path.read_text())
    for key in ("stride", "overlap"):
        del document[key]
    del document["profile"]["warm_start"]
    path.write_text(json.dumps(document))
    settings_path = tmp_path / "cycle_000" / "settings.json"
    begun = json.loads(settings_path.read_text())
    del begun["request"]["overlap"]
    settings_path.write_text(json.dumps(begun))
    assert run(source, tmp_path, cycles=1) == first
    with pytest.raises(LoopError, match=r"stride was \[1, 1, 1\], now \[2, 2, 2\]"):
        run(source, tmp_path, cycles=1, stride=(2, 2, 2))


def test_stride_overlap_and_parameters_reach_the_query(source, tmp_path):
    changes = {"stride": (3, 4, 3), "overlap": 0.5, "strategy_parameters": {"beta": 7.0}}
    run(source, tmp_path, cycles=1, strategy="power-pe", **changes)
    begun = json.loads((tmp_path / "cycle_000" / "settings.json").read_text())
    assert begun["request"]["stride"] == [3, 4, 3]
    assert begun["request"]["overlap"] == 0.5
    assert "beta=7.0" in begun["strategy"]
    for entry in json.loads((tmp_path / "cycle_000" / "queries.json").read_text()):
        shape = source.geometry(entry["case"]).shape
        for start, size, step, length in zip(entry["start"], entry["size"], (3, 4, 3), shape, strict=True):
            assert start % step == 0 or start == length - size


def test_an_unknown_strategy_lists_the_known_ones():
    with pytest.raises(QueryError, match=r"clasp-pe.*random"):
        settings(strategy="guess")


@pytest.mark.parametrize(
    "change", [{"cycles": 0}, {"query_size": 0}, {"start_size": 0}, {"patch": (0, 4, 4)}]
)
def test_impossible_settings_are_refused_before_anything_is_written(change):
    with pytest.raises((LoopError, QueryError)):
        settings(**change)


def test_partial_or_missing_truth_is_refused(tmp_path):
    partial = numpy_engine.make_source(tmp_path / "partial", 3, LabelSet(("large", "small"), partial=True))
    with pytest.raises(DatasetError, match="ignore"):
        run(partial, tmp_path / "a")
    gaps = numpy_engine.make_source(tmp_path / "gaps", 3)
    gaps.label_path(gaps.cases[1]).unlink()
    with pytest.raises(DatasetError, match="1 cases have no label map, first case_1"):
        run(gaps, tmp_path / "b")


def test_one_case_cannot_be_split(tmp_path):
    with pytest.raises(LoopError, match="testing"):
        run(numpy_engine.make_source(tmp_path / "one", 1), tmp_path / "out")
