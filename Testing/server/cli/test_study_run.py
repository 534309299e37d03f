"""`nnactive study run` as a shell sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STUDIES = Path(__file__).parents[2] / "studies"


def test_a_dry_run_tells_what_it_would_do_and_starts_nothing(invoke, tmp_path):
    said = invoke("study", "run", STUDIES / "smoke.yaml", "--out", tmp_path, "--dry-run", "--workers", 2)
    assert said.exit_code == 0, said.stderr
    assert "8 experiments, 0 of them done; 24 trainings to go, 2 at a time" in said.stdout
    assert "are free in" in said.stdout
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "units").exists()


def test_a_mistake_in_the_plan_is_one_line_with_its_place(invoke, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text((STUDIES / "smoke.yaml").read_text().replace("clasp-pe", "clasp"))
    said = invoke("study", "run", plan, "--out", tmp_path / "out")
    assert said.exit_code == 1
    assert said.stderr.count("\n") == 1
    line = 1 + plan.read_text().split("strategies:")[0].count("\n")
    assert f"{plan}:{line}: strategies[2]: strategy 'clasp' is unknown" in said.stderr
    assert not (tmp_path / "out").exists()


def test_help_has_an_example(invoke):
    said = invoke("study", "run", "--help")
    assert "Example: nnactive study run Testing/studies/smoke.yaml" in said.stdout


@pytest.mark.slow
def test_the_smoke_study_runs_with_nnunet_and_can_be_analysed(tmp_path):
    def nnactive(*words):
        command = [sys.executable, "-m", "nnactive_server.cli", *map(str, words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    result, said = nnactive("study", "run", STUDIES / "smoke.yaml", "--out", tmp_path, "--workers", 2)
    assert [unit["state"] for unit in result["units"]] == ["done"] * 8
    assert "24 trainings to go, 2 at a time" in said
    assert "trainings: 24 of 24" in said
    again, said = nnactive("study", "run", STUDIES / "smoke.yaml", "--out", tmp_path)
    assert again["units"] == result["units"]
    assert "8 of them done; 0 trainings to go" in said
    nnactive("study", "analyze", tmp_path)
    assert (tmp_path / "analysis" / "report.html").exists()
