from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import write_json
from nnactive_server.study.analysis import Setting, StudyResults, read_study
from testkit.study_folder import add_full, add_run

LOW = Setting("Organs", "low", "fast-cpu")


def test_rows_hold_what_the_summaries_say(results: StudyResults) -> None:
    assert len(results.units) == 2 * 4 * 4
    assert len(list(results.rows)) == 2 * 4 * 4 * 5
    unit = results.of(LOW, "clasp-pe")[2]
    told = json.loads((unit.folder / "summary.json").read_text())
    row, entry = unit.rows[3], told["cycles"][3]
    assert (unit.seed, row.seed, row.strategy, row.setting) == (3, 3, "clasp-pe", LOW)
    assert (row.patches, row.dice) == (entry["patches"], entry["mean_dice"])
    assert (row.annotated_voxels, row.foreground_voxels) == (
        entry["annotated_voxels"],
        entry["foreground_voxels"],
    )
    assert row.foreground_fraction == entry["foreground_fraction"]
    assert row.per_class == entry["dice_per_class"]
    assert row.seconds == entry["seconds"]
    assert (unit.patch, unit.query_size) == ((8, 8, 8), 10)


def test_small_budgets_come_first_and_random_strategies_before_others(results: StudyResults) -> None:
    assert [setting.regime for setting in results.settings] == ["low", "high"]
    assert results.strategies(LOW) == ("random", "random-fg-66", "clasp-pe", "power-pe")


def test_all_labels_are_the_mean_of_their_seeds(results: StudyResults) -> None:
    assert results.full_dice(LOW) == pytest.approx(0.91)
    assert math.isnan(results.full_dice(Setting("Organs", "low", "paper")))


def test_what_is_unfinished_is_named_and_left_out(results: StudyResults) -> None:
    assert "bald" not in results.strategies()
    assert results.left_out == (
        "Organs, low, fast-cpu, badge, seed 1: no results yet",
        "Organs, low, fast-cpu, bald, seed 1: 2 of 5 cycles are done",
        "Organs, low, fast-cpu, clasp-pe, seed 5: not begun",
    )


def test_the_plan_is_read_without_paths_of_the_machine(results: StudyResults) -> None:
    assert results.plan["datasets"] == ["Organs"]


def test_seeds_are_aligned_across_strategies(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        add_run(tmp_path, "random", seed, [0.1 * seed, 0.2 * seed])
    add_run(tmp_path, "bald", 2, [0.5, 0.6])
    found = read_study(tmp_path)
    table = found.aligned(found.settings[0])
    assert table["random"] == pytest.approx(np.array([[0.1, 0.2], [0.2, 0.4], [0.3, 0.6]]))
    assert np.isnan(table["bald"][[0, 2]]).all()
    assert table["bald"][1] == pytest.approx([0.5, 0.6])


def test_a_cycle_without_dice_leaves_the_experiment_out(tmp_path: Path) -> None:
    add_run(tmp_path, "bald", 1, [0.5, math.nan])
    found = read_study(tmp_path)
    assert found.units == ()
    assert "no Mean Dice" in found.left_out[0]


def test_experiments_of_one_regime_must_be_of_one_length(tmp_path: Path) -> None:
    add_run(tmp_path, "bald", 1, [0.5, 0.6])
    add_run(tmp_path, "random", 1, [0.5, 0.6, 0.7])
    with pytest.raises(LoopError, match="same number"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [([], "one JSON object"), ({}, "cycles must be a list"), ({"cycles": [3]}, "has no number")],
)
def test_damaged_summaries_are_named(tmp_path: Path, content: object, told: str) -> None:
    path = tmp_path / "runs/D/low/smoke/bald/seed-1/summary.json"
    write_json(path, content)
    with pytest.raises(LoopError, match=told) as problem:
        read_study(tmp_path)
    assert str(path) in str(problem.value)


def test_a_folder_that_is_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoopError, match="study run"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    "document",
    [{"final_dice": 0.8}, {"mean_dice": 0.8}, {"cycles": [{"mean_dice": 0.8}], "final_dice": None}],
)
def test_the_dice_of_all_labels_is_found_wherever_it_is_told(tmp_path: Path, document: dict) -> None:
    add_run(tmp_path, "bald", 1, [0.5, 0.6])
    write_json(tmp_path / "full/Organs/fast-cpu/seed-1/summary.json", document)
    assert read_study(tmp_path).full == {("Organs", "fast-cpu"): (0.8,)}


def test_all_labels_that_are_not_trained_yet_are_named(tmp_path: Path) -> None:
    add_run(tmp_path, "bald", 1, [0.5, 0.6])
    add_full(tmp_path, 0.8, seed=1)
    (tmp_path / "full/Organs/fast-cpu/seed-2").mkdir(parents=True)
    found = read_study(tmp_path)
    assert found.full == {("Organs", "fast-cpu"): (0.8,)}
    assert "all labels, seed-2" in found.left_out[0]


def test_what_simulate_writes_is_read(simulated: Path) -> None:
    (unit,) = read_study(simulated).units
    told = json.loads((unit.folder / "summary.json").read_text())
    assert [row.dice for row in unit.rows] == [entry["mean_dice"] for entry in told["cycles"]]
    assert unit.rows[1].patches == 8
    assert unit.rows[1].foreground_voxels > 0
    assert 0 < unit.rows[1].foreground_fraction < 1
    assert "augrc" in unit.rows[0].triage["pairwise_dice"]
