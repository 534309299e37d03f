"""Whole studies with the numpy engine: killed, stopped, repeated, changed; each experiment a real process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnactive_server.core.errors import Cancelled, DatasetError, LoopError
from nnactive_server.core.monitor import Monitor
from nnactive_server.study import running
from nnactive_server.study.analysis import read_study
from nnactive_server.study.plan import read_plan
from nnactive_server.study.running import StudyRun
from testkit import numpy_engine, numpy_study
from testkit.numpy_unit import COMMAND

PLAN = """\
datasets:
  balls: {path: balls, patch: [4, 5, 4], regimes: {low: 3}}
strategies: [random, clasp-pe]
seeds: SEEDS
profiles: [smoke]
cycles: 3
"""
REFUSED = (sys.executable, "-c", "import sys; sys.exit(3)")
"""Starts no experiment."""


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    numpy_engine.make_source(root / "balls", cases=12)

    def write(seeds="[1]", change=("", "")):
        path = root / f"plan{abs(hash((seeds, change)))}.yaml"
        path.write_text(PLAN.replace("SEEDS", seeds).replace(*change))
        return path

    return write


@pytest.fixture(scope="session")
def whole(written, tmp_path_factory):
    """A study that nobody disturbed, two experiments at a time, and what was said before and after."""
    out = tmp_path_factory.mktemp("whole")
    study = StudyRun(read_plan(written("[1, 2]")), out, workers=2, command=COMMAND)
    return out, study.forecast(), study.run()


def experiments(folder):
    return sorted(path.parent for path in folder.glob("*/**/summary.json"))


def results(folder):
    """A summary without what depends on the machine's speed."""
    summary = json.loads((folder / "summary.json").read_text())
    cycles = [
        {k: v for k, v in c.items() if k not in ("seconds", "peak_memory_bytes")} for c in summary["cycles"]
    ]
    return summary | {"cycles": cycles}


def test_every_experiment_is_done(whole):
    out, forecast, done = whole
    assert (forecast.experiments, forecast.done, forecast.trainings, forecast.workers) == (6, 0, 18, 2)
    assert [unit.state for unit in done.units] == ["done"] * 6
    assert not done.problems
    assert all(unit.final_dice > 0.3 and unit.seconds > 0 for unit in done.units)
    plan = json.loads((out / "study.json").read_text())
    assert plan["profiles"]["smoke"]["members"] == 2
    assert {"machine", "versions", "begun"} <= plan.keys()


def test_the_analysis_reads_it(whole):
    found = read_study(whole[0])
    assert len(found.units) == 4
    assert not found.left_out
    assert len(found.full["balls", "smoke"]) == 2
    assert all(len(unit.rows) == 3 for unit in found.units)
    assert all({"aurc", "augrc", "spearman"} < row.triage["pairwise_dice"].keys() for row in found.rows)


def test_all_strategies_of_a_seed_start_from_the_same_patches_and_model(whole):
    def first(strategy, seed):
        folder = whole[0] / "runs" / "balls" / "low" / "smoke" / strategy / f"seed-{seed}"
        return (folder / "loop_000.json").read_text(), results(folder)["cycles"][0]["mean_dice"]

    assert first("random", 1) == first("clasp-pe", 1)
    assert first("random", 2) == first("clasp-pe", 2)
    assert first("random", 1) != first("random", 2)


def test_the_reference_sees_all_labels(whole):
    for seed in (1, 2):
        summary = results(whole[0] / "full" / "balls" / "smoke" / f"seed-{seed}")
        assert [entry["foreground_fraction"] for entry in summary["cycles"]] == [1.0] * 3
        assert [entry["patches"] for entry in summary["cycles"]] == [9] * 3


def test_what_is_bulky_goes_and_the_rest_stays_within_what_was_told(whole):
    out, forecast, _ = whole
    left = [path for folder in experiments(out) for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in left if {"members", "maps", "work", "imagesTr"} & set(path.parts[-3:])]
    assert sum(path.stat().st_size for path in left) < forecast.left_bytes < forecast.peak_bytes
    views = whole[0].glob("runs/*/*/*/clasp-pe/seed-1/cycle_*/views/*.npz")
    assert len(list(views)) == 2 * 3


def test_what_is_done_is_not_done_again(whole, written):
    study = StudyRun(read_plan(written("[1, 2]")), whole[0], command=REFUSED)
    assert study.forecast().trainings == 0
    assert study.run() == whole[2]


def test_a_plan_may_grow_and_a_process_that_fails_is_told(whole, written, tmp_path):
    for path in whole[0].glob("*"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "units").unlink()
    subprocess.run(["cp", "-r", str(whole[0] / "units"), str(tmp_path)], check=True)
    (tmp_path / "study.json").unlink()
    plan = read_plan(written("[1, 2]", ("clasp-pe", "clasp-pe, bald")))
    done = StudyRun(plan, tmp_path, command=REFUSED).run()
    assert [unit.name.split("/")[4] for unit in done.units if unit.state == "failed"] == ["bald", "bald"]
    assert len(done.problems) == 2
    assert "exit code 3" in done.problems[0]


def test_experiments_with_other_settings_are_refused_before_anything_begins(whole, written):
    plan = read_plan(written("[1, 2]", ("cycles: 3", "cycles: 4")))
    with pytest.raises(LoopError, match="cycles was 3, now 4"):
        StudyRun(plan, whole[0], command=REFUSED).run()


@pytest.mark.slow
def test_a_killed_study_goes_on_to_the_same_results(whole, written, tmp_path):
    process = subprocess.Popen([sys.executable, numpy_study.__file__, written(), tmp_path])
    trained = tmp_path / "runs/balls/low/smoke/clasp-pe/seed-1/cycle_000/training.json"
    until = time.monotonic() + 120
    while not trained.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(experiments(tmp_path)) >= 2
    done = StudyRun(read_plan(written()), tmp_path, workers=1, command=COMMAND).run()
    assert [unit.state for unit in done.units] == ["done"] * 3
    for folder in experiments(tmp_path):
        assert results(folder) == results(whole[0] / folder.relative_to(tmp_path))


def test_a_stopped_study_leaves_no_process_and_goes_on(written, tmp_path):
    class Impatient(Monitor):
        def report(self, stage, done, total, detail=""):
            del stage, done
            assert total == 30
            if "cycle" in detail:
                self.cancel()

    # Many cycles: however late the report of the first ones comes, the experiment is not over.
    study = StudyRun(read_plan(written(change=("cycles: 3", "cycles: 10"))), tmp_path, command=COMMAND)
    with pytest.raises(Cancelled):
        study.run(Impatient())
    first = study.result().units[0]
    assert first.state == "waiting"
    log = tmp_path / "units" / first.name / "log.txt"
    assert "Traceback" not in log.read_text()


def test_a_data_set_without_all_labels_is_refused_at_once(tmp_path):
    source = numpy_engine.make_source(tmp_path / "balls", cases=3)
    source.label_path("case_1").unlink()
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.replace("SEEDS", "[1]"))
    with pytest.raises(DatasetError, match="case_1"):
        StudyRun(read_plan(plan), tmp_path / "out", command=REFUSED).run()


def test_a_disk_without_room_is_told_before_anything_begins(written, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "free_bytes", lambda _: 1000)
    with pytest.raises(LoopError, match=r"1\.0 kB are free, and the study needs about"):
        StudyRun(read_plan(written()), tmp_path, command=REFUSED).run()
    assert not (tmp_path / "units").exists()


def test_only_one_process_runs_a_study(written, tmp_path):
    from nnactive_server.loop import project_lock

    with project_lock(tmp_path), pytest.raises(LoopError, match="another process"):
        StudyRun(read_plan(written()), tmp_path, command=REFUSED).run()


def test_paths_of_the_plan_are_taken_from_its_own_folder(written, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert read_plan(written()).data[0].path == Path(written()).parent / "balls"
