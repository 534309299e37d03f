"""Locks, claims and the time account."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from nnactive_server.core.errors import Cancelled, LoopError
from nnactive_server.core.monitor import Monitor
from nnactive_server.loop import Clock, claim, pool_cases, project_lock, read_costs

HOLD = """
import sys, time
from pathlib import Path
from nnactive_server.loop.folder import project_lock
with project_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_cannot_work_on_one_folder_and_a_killed_one_leaves_no_lock(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LoopError, match="another process"), project_lock(tmp_path):
            pass
        holder.kill()
    with project_lock(tmp_path):
        pass


def test_the_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), project_lock(tmp_path / "new"):
        raise ZeroDivisionError
    with project_lock(tmp_path / "new"):
        pass


def test_a_claim_names_every_setting_that_differs(tmp_path):
    path = tmp_path / "run.json"
    claim(path, {"seed": 1, "profile": {"name": "fast", "members": 5}, "patch": (4, 5, 6)})
    claim(path, {"patch": [4, 5, 6], "profile": {"members": 5, "name": "fast"}, "seed": 1})
    with pytest.raises(LoopError) as caught:
        claim(path, {"seed": 2, "profile": {"name": "fast", "members": 3}, "patch": (4, 5, 6)})
    message = str(caught.value)
    assert "seed was 1, now 2" in message
    assert "profile.members was 5, now 3" in message
    assert "patch" not in message
    assert str(path) in message


def test_a_setting_that_is_new_or_gone_differs_too(tmp_path):
    claim(tmp_path / "a.json", {"old": 1})
    with pytest.raises(LoopError, match=r"new was null, now 1; old was 1, now null"):
        claim(tmp_path / "a.json", {"new": 1})


def test_settings_an_older_version_did_not_know_have_the_meaning_they_had(tmp_path):
    path = tmp_path / "run.json"
    claim(path, {"seed": 1, "profile": {"name": "fast"}})
    absent = {"overlap": 0.0, "profile": {"dropout": 0.0}}
    claim(path, {"seed": 1, "overlap": 0.0, "profile": {"name": "fast", "dropout": 0.0}}, absent)
    with pytest.raises(LoopError, match=r"overlap was 0\.0, now 0\.5; profile\.dropout was 0\.0, now 0\.1"):
        claim(path, {"seed": 1, "overlap": 0.5, "profile": {"name": "fast", "dropout": 0.1}}, absent)


def test_the_pool_leaves_out_the_test_cases(bench):
    assert pool_cases(bench.project) == bench.project.cases
    split = bench.project.root / "split.json"
    split.write_text('{"pool": ["case_3", "case_1"], "test": ["case_0"]}')
    assert pool_cases(bench.project) == ("case_3", "case_1")
    for wrong in ('{"pool": ["nobody"]}', '{"test": []}', "[]"):
        split.write_text(wrong)
        with pytest.raises(LoopError, match=r"split\.json"):
            pool_cases(bench.project)


def test_a_stage_inside_another_one_stops_its_time(tmp_path):
    file, clock = tmp_path / "costs.json", Clock()
    with clock.measure(file, "query"):
        with clock.measure(file, "predict"):
            time.sleep(0.1)
        time.sleep(0.03)
    seconds = read_costs(file)["seconds"]
    assert seconds["predict"] >= 0.1
    assert 0.03 <= seconds["query"] < seconds["predict"]


def test_time_adds_up_over_runs_also_after_an_error(tmp_path):
    file = tmp_path / "costs.json"
    with Clock().measure(file, "train"):
        time.sleep(0.03)

    def fails():
        with Clock().measure(file, "train"):
            time.sleep(0.03)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    with Clock().measure(file, "query"):
        pass
    costs = read_costs(file)
    assert costs["seconds"]["train"] >= 0.06
    assert costs["seconds"]["query"] < costs["seconds"]["train"]
    assert costs["peak_memory_bytes"] > 1_000_000


def test_time_of_a_killed_process_is_kept_from_its_last_report(tmp_path, monkeypatch):
    monkeypatch.setattr("nnactive_server.loop.clock.SAVE_SECONDS", 0.0)
    clock = Clock()
    with clock.measure(tmp_path / "costs.json", "train"):
        time.sleep(0.02)
        clock.report("train", 1, 2)
        assert read_costs(tmp_path / "costs.json")["seconds"]["train"] >= 0.02


def test_progress_and_cancel_pass_through_the_clock(recorder):
    inner = recorder()
    clock = Clock(inner)
    clock.where = "cycle 1 of 2: "
    clock.report("train", 1, 2)
    assert inner.stages == ["cycle 1 of 2: train"]
    clock.check()
    inner.cancel()
    with pytest.raises(Cancelled):
        clock.check()
    other = Monitor()
    Clock(other).cancel()
    assert other.cancelled
