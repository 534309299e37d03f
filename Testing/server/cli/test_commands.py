"""Commands as a shell sees them: one result on standard output, errors in words, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

COMMANDS = ("demo", "import", "suggest", "simulate", "query", "export", "doctor")


def test_help_is_fast_because_it_loads_no_heavy_library():
    code = """
import sys
from nnactive_server.cli import app
try:
    app(["--help"])
except SystemExit as end:
    assert end.code == 0
heavy = {"torch", "nnunetv2", "SimpleITK", "scipy", "matplotlib", "numpy"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(invoke, command):
    said = invoke(command, "--help")
    assert said.exit_code == 0
    assert f"Example: nnactive {command}" in said.stdout


def test_simulate_prints_its_summary_alone(simulated):
    out, said = simulated
    assert said.exit_code == 0, said.stderr
    summary = json.loads(said.stdout)
    assert summary == json.loads((out / "summary.json").read_text())
    assert [entry["patches"] for entry in summary["cycles"]] == [3, 6]
    assert summary["profile"] == "smoke"
    assert (out / "loop_001.json").exists()
    assert "cycle 1 of 2: train" in said.stderr


def test_the_report_is_written_and_can_be_left_out(simulated, invoke, source):
    out, _ = simulated
    assert "<html" in (out / "report.html").read_text()
    (out / "report.html").unlink()
    words = ("--patch", 4, 5, 4, "--query-size", 3, "--cycles", 2, "--profile", "smoke", "--out", out)
    said = invoke("simulate", source.root, *words, "--no-report")
    assert said.exit_code == 0
    assert "summary.json" in said.stdout
    assert not (out / "report.html").exists()


def test_another_seed_in_the_same_folder_is_one_clear_line(simulated, invoke, source):
    out, _ = simulated
    words = ("--patch", 4, 5, 4, "--query-size", 3, "--cycles", 2, "--profile", "smoke", "--out", out)
    said = invoke("simulate", source.root, *words, "--seed", 99)
    assert said.exit_code == 1
    assert said.stdout == ""
    assert said.stderr.count("\n") == 1
    assert "seed was 12345, now 99" in said.stderr


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ("members=3", 1, "profile.members was 2, now 3"),
        ("ensemble=folds", 1, 'profile.ensemble was "chain", now "folds"'),
        ("speed=3", 1, "no such setting: speed"),
        ("beta=3", 1, "no such setting: beta"),
        ("members", 2, "needs a name, '=' and a value"),
    ],
)
def test_settings_of_the_profile_can_be_changed(simulated, invoke, source, change, code, told):
    out, _ = simulated
    words = ("--patch", 4, 5, 4, "--query-size", 3, "--cycles", 2, "--profile", "smoke", "--out", out)
    said = invoke("simulate", source.root, *words, "--set", change)
    assert said.exit_code == code
    assert told in " ".join(said.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ("alpha=0.5", 1, "strategy_parameters.alpha was null, now 0.5"),
        ("members=3", 1, "clasp-pe has no parameters ['members']"),
        ("alpha", 2, "needs a name, '=' and a value"),
    ],
)
def test_parameters_of_the_strategy_can_be_changed(simulated, invoke, source, change, code, told):
    words = ("--patch", 4, 5, 4, "--query-size", 3, "--cycles", 2, "--profile", "smoke")
    said = invoke("simulate", source.root, *words, "--out", simulated[0], "--with", change)
    assert said.exit_code == code
    assert told in " ".join(said.stderr.replace("│", " ").split())


def test_stride_and_overlap_are_settings_of_a_run(simulated, invoke, source):
    words = ("--patch", 4, 5, 4, "--query-size", 3, "--cycles", 2, "--profile", "smoke")
    more = ("--stride", 2, 2, 2, "--overlap", 0.25)
    said = invoke("simulate", source.root, *words, "--out", simulated[0], *more)
    assert said.exit_code == 1
    assert "overlap was 0.0, now 0.25; stride was [1, 1, 1], now [2, 2, 2]" in said.stderr


def test_an_error_is_one_json_document_too(simulated, invoke, source):
    words = ("--patch", 4, 5, 4, "--query-size", 3, "--profile", "smoke", "--strategy", "guess")
    said = invoke("simulate", source.root, *words, "--out", simulated[0], "--json")
    assert said.exit_code == 1
    assert "clasp-pe" in json.loads(said.stdout)["error"]
    assert "random-fg-66" in said.stderr


def test_an_unknown_profile_lists_the_known_ones(invoke, source, tmp_path):
    words = ("--patch", 4, 5, 4, "--query-size", 3, "--profile", "quick", "--out", tmp_path)
    said = invoke("simulate", source.root, *words)
    assert said.exit_code == 1
    assert "fast-cpu" in said.stderr


def test_a_folder_without_a_data_set_is_named(invoke, tmp_path):
    words = ("--patch", 4, 5, 4, "--query-size", 3, "--profile", "smoke", "--out", tmp_path / "out")
    said = invoke("simulate", tmp_path / "nothing", *words)
    assert said.exit_code == 1
    assert "nothing/dataset.json" in said.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "data", "--query-size", "3", "--out", "x"),
        ("simulate", "data", "--patch", "4", "5", "--query-size", "3", "--out", "x"),
        ("simulate", "data", "--patch", "4", "5", "4", "--query-size", "0", "--out", "x"),
        ("unknown",),
        ("import", "src", "dest", "--label", "liver"),
        ("import", "src", "dest", "--label", "liver=one"),
        ("suggest", "project", "--box", "liver=1,2"),
    ],
)
def test_wrong_usage_exits_with_2(invoke, words):
    assert invoke(*words).exit_code == 2


def test_export_writes_a_model_folder(simulated, invoke, tmp_path):
    said = invoke("export", simulated[0], tmp_path / "dest", "--json")
    assert said.exit_code == 0, said.stderr
    written = json.loads(said.stdout)
    assert written["cycle"] == 1
    assert (tmp_path / "dest" / "model" / "fold_1" / "checkpoint_final.pth").exists()
    assert (tmp_path / "dest" / "patches.csv").read_text().count("\n") == 7
    again = invoke("export", simulated[0], tmp_path / "dest")
    assert again.exit_code == 1
    assert "not empty" in again.stderr


def test_import_and_suggest_begin_a_project(invoke, source, tmp_path):
    said = invoke("import", source.root, tmp_path / "project", "--json")
    assert said.exit_code == 0, said.stderr
    made = json.loads(said.stdout)
    assert made["cases"] == made["labelled"] == [f"case_{i}" for i in range(5)]
    assert (tmp_path / "project" / "dataset.json").exists()
    said = invoke("suggest", tmp_path / "project", "--variable", "small", "--json")
    found = json.loads(said.stdout)
    assert len(found["patch_size"]) == 3
    assert set(found["reasons"]) == {"patch_size", "query_size", "cycles"}
    text = invoke("suggest", tmp_path / "project", "--box", "large=8,9,9", "--box", "small=4,5,5").stdout
    assert "Patch size (z, y, x)" in text
    again = invoke("import", source.root, tmp_path / "project")
    assert again.exit_code == 1


def test_unlabelled_volumes_need_class_names(invoke, source, tmp_path):
    volumes = tmp_path / "volumes"
    volumes.mkdir()
    for path in (source.root / "imagesTr").iterdir():
        (volumes / path.name.replace("_0000", "")).write_bytes(path.read_bytes())
    assert invoke("import", volumes, tmp_path / "a").exit_code == 1
    words = ("--label", "large=1", "--label", "small=2", "--channel", "MR", "--json")
    said = invoke("import", volumes, tmp_path / "a", *words)
    assert said.exit_code == 0, said.stderr
    made = json.loads(said.stdout)
    assert made["labels"] == {"background": 0, "large": 1, "small": 2, "ignore": 3}
    assert made["channels"] == ["MR"]


def test_doctor_says_what_it_found(invoke, tmp_path):
    said = invoke("doctor", "--path", tmp_path / "not" / "yet", "--json")
    document = json.loads(said.stdout)
    assert document["ok"] is (said.exit_code == 0) is True
    checks = {check["name"]: check for check in document["checks"]}
    assert {"python", "torch", "nnunetv2", "processor", "memory", "disk"} <= set(checks)
    assert str(tmp_path) in checks["disk"]["found"]
    assert all(check["advice"] for check in document["checks"] if check["status"] == "failed")


def test_doctor_fails_when_something_is_missing(invoke, monkeypatch):
    from nnactive_server.cli import doctor

    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.9.1")
    said = invoke("doctor")
    assert said.exit_code == 1
    assert "use Python 3.11 or 3.12" in said.stdout


def test_control_c_stops_where_it_is_safe_and_exits_with_130(source, tmp_path):
    words = ["--patch", "4", "5", "4", "--query-size", "2", "--cycles", "9", "--profile", "smoke"]
    command = [sys.executable, "-m", "nnactive_server.cli", "simulate", str(source.root), *words]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "train" in line:
                running.send_signal(signal.SIGINT)
                break
        out, errors = running.communicate(timeout=120)
    assert running.returncode == 130
    assert out == ""
    assert "Stopped: stopped as asked; run the same command again" in errors
    assert "Traceback" not in errors
