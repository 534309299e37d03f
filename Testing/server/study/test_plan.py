"""Plans of studies: what they mean, and errors that say the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnactive_server.core.errors import LoopError
from nnactive_server.study.plan import read_plan
from nnactive_server.study.units import Unit

STUDIES = Path(__file__).parents[2] / "studies"
PLAN = """\
datasets:
  made:
    phantoms: {cases: 4}
    patch: [4, 5, 6]
    regimes:
      low: 3
      high: {query_size: 6, start_size: 4, cycles: 3}
strategies:
  - random
  - {name: power-pe, label: sharp, with: {beta: 5}}
seeds: [7, 8]
profiles:
  - smoke
  - {name: smoke, label: three, with: {members: 3}}
cycles: 2
full: [8]
workers: 2
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "plan.yaml"
        path.write_text(text)
        return path

    return write


def test_every_combination_is_an_experiment(written):
    plan = read_plan(written(PLAN))
    names = [unit.name for unit in plan.units]
    assert len(names) == len(set(names)) == 2 * 2 * 2 * 2 + 2
    assert "runs/made/high/three/sharp/seed-8" in names
    assert [name for name in names if "full" in name] == ["full/made/smoke/seed-8", "full/made/three/seed-8"]
    assert (plan.name, plan.workers, plan.keep_all) == ("plan", 2, False)


def test_settings_arrive_where_they_belong(written):
    units = {unit.name: unit for unit in read_plan(written(PLAN)).units}
    low = units["runs/made/low/three/sharp/seed-7"].settings()
    assert (low.strategy, low.strategy_parameters, low.profile.members) == ("power-pe", {"beta": 5}, 3)
    assert (low.patch, low.query_size, low.first_size, low.cycles, low.seed) == ((4, 5, 6), 3, 3, 2, 7)
    high = units["runs/made/high/smoke/random/seed-7"].settings()
    assert (high.query_size, high.first_size, high.cycles, high.profile.members) == (6, 4, 3, 2)


def test_the_reference_gets_as_many_trainings_as_a_strategy_that_goes_on_from_cycle_to_cycle(written):
    text = PLAN.replace("label: three, with: {members: 3}", "label: three, with: {warm_start: false}")
    text = text.replace("low: 3", "low: {query_size: 3, cycles: 4}")
    units = {unit.name: unit for unit in read_plan(written(text)).units}
    warm, cold = units["full/made/smoke/seed-8"], units["full/made/three/seed-8"]
    assert (warm.cycles, cold.cycles) == (4, 1)
    assert warm.settings().all_labels
    assert cold.settings().all_labels


def test_experiments_of_a_seed_stand_together(written):
    seeds = [unit.seed for unit in read_plan(written(PLAN)).units]
    assert seeds == sorted(seeds)


def test_an_experiment_survives_json(written):
    for unit in read_plan(written(PLAN)).units:
        assert Unit.from_json(unit.to_json()) == unit


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("cycles: 2", "cycels: 2"), 15, "did you mean 'cycles'"),
        (("cycles: 2", "cycles: 0"), 15, "at least 1"),
        (("cycles: 2", "cycles: true"), 15, "whole number"),
        (("cycles: 2", "cycles: 2\ncycles: 3"), 16, "twice"),
        (("cycles: 2", "cycles: [2"), 16, "no valid YAML"),
        (("cycles: 2", "test_fraction: 1"), 15, "below 1"),
        (("cycles: 2", "overlap: -1"), 15, "from 0"),
        (("cycles: 2", "keep: some"), 15, "results, all"),
        (("seeds: [7, 8]", "seeds: [7, 7]"), 11, "'7' is there twice"),
        (("seeds: [7, 8]", "seeds: []"), 11, "at least one"),
        (("seeds: [7, 8]", "seeds: [7, eight]"), 11, "'eight'"),
        (("  - random", "  - rondam"), 9, "'rondam' is unknown"),
        (("with: {beta: 5}", "with: {bete: 5}"), 10, "no parameters"),
        (("label: sharp", "label: random"), 9, "there twice"),
        (("label: sharp", "label: ../up"), 10, "names a folder"),
        (("  - smoke\n", "  - smokey\n"), 13, "unknown profile 'smokey'"),
        (("members: 3", "members: 0"), 14, "members = 0"),
        (("[4, 5, 6]", "[4, 5]"), 4, "three numbers"),
        (("      low: 3", "      low: no"), 6, "whole number"),
        (("query_size: 6, ", ""), 7, "'query_size' is missing"),
        (("    phantoms: {cases: 4}\n", ""), 3, "either 'path' or 'phantoms'"),
        (("phantoms: {cases: 4}", "path: nowhere"), 3, "no folder"),
        (("full: [8]", "full: [9]"), 16, "none of the study's seeds"),
        (("full: [8]", "full: sometimes"), 16, "true or false"),
        (("workers: 2", "workers: 0"), 17, "at least 1"),
        (("seeds: [7, 8]\n", ""), 1, "'seeds' is missing"),
    ],
)
def test_an_error_tells_its_line(written, change, line, words):
    assert change[0] in PLAN
    path = written(PLAN.replace(*change))
    with pytest.raises(LoopError) as caught:
        read_plan(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(("text", "words"), [("", "is empty"), ("a: \x00", "no valid YAML")])
def test_a_file_that_is_no_plan_is_refused(written, text, words):
    with pytest.raises(LoopError, match=words):
        read_plan(written(text))
    with pytest.raises(LoopError, match="cannot be read"):
        read_plan(Path("nowhere.yaml"))


def test_the_plans_that_come_with_the_project_are_valid(written):
    assert len(read_plan(STUDIES / "smoke.yaml").units) == 3 * 2 + 2
    text = (STUDIES / "hippocampus.yaml").read_text()
    written("").with_name("data").mkdir()
    plan = read_plan(written(text.replace("../../../shared/data/Dataset004_Hippocampus", "data")))
    assert len(plan.units) == 7 * 3 + 3
    assert {unit.cycles for unit in plan.units} == {5}
