"""Files that `study analyze` writes."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner, Result

from nnactive_server.cli import app
from nnactive_server.core.files import write_json
from nnactive_server.study.analysis import Analysis, analyze
from nnactive_server.study.analysis.findings import compute
from nnactive_server.study.analysis.report import report
from nnactive_server.study.analysis.results import read_study
from testkit.study_folder import add_run

FIGURES = {
    "curves_Organs_low_fast-cpu", "curves_Organs_high_fast-cpu",
    "fg_efficiency_Organs_low_fast-cpu", "fg_efficiency_Organs_high_fast-cpu",
    "classes_Organs_low_fast-cpu", "classes_Organs_high_fast-cpu",
    "ppm", "ppm_holm", "ranks",
}  # fmt: skip


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def commanded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """What the command writes and prints."""
    out = tmp_path_factory.mktemp("commanded")
    return out, invoke("study", "analyze", folder, "--out", out, "--json")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_figure_is_there_as_svg_and_png(written: tuple[Path, Analysis]) -> None:
    folder = written[0] / "figures"
    assert {path.stem for path in folder.glob("*.png")} == FIGURES
    for path in folder.glob("*.png"):
        assert imread(path)[..., :3].std() > 0.01
        assert "svg" in ElementTree.parse(path.with_suffix(".svg")).getroot().tag


def test_the_report_is_whole_in_one_file(written: tuple[Path, Analysis]) -> None:
    text = (written[0] / "report.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == len(FIGURES)
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "<script" not in text
    for words in ("Learning curves", "Who beats whom", "Does it pay?", "lesion $x$", "organs-study"):
        assert words in text
    assert "/data/of/somebody" not in text
    assert "bald, seed 1: 2 of 5 cycles are done" in text


def test_tables_hold_full_numbers(written: tuple[Path, Analysis]) -> None:
    out, analysis = written
    first, entry = rows(out / "tables/scores.csv")[0], analysis.scores[0]
    assert first["strategy"] == entry.strategy
    assert float(first["AUBC"]) == entry.aubc.mean()
    assert float(first["Final Dice sd"]) == entry.final.std(ddof=1)
    assert len(rows(out / "tables/seeds.csv")) == 32
    cycles = rows(out / "tables/rows.csv")
    assert len(cycles) == 160
    assert float(cycles[0]["dice liver"]) == pytest.approx(float(cycles[0]["dice"]) + 0.02)


def test_the_penalty_matrix_says_who_wins(written: tuple[Path, Analysis]) -> None:
    table = {row["strategy"]: row for row in rows(written[0] / "tables/ppm.csv")}
    assert float(table["clasp-pe"]["random"]) == pytest.approx(
        80
    )  # all budgets but the start, which is shared
    assert float(table["random"]["clasp-pe"]) == 0
    assert table["random"]["random"] == ""
    column = [float(table[name]["random"]) for name in ("random-fg-66", "power-pe", "clasp-pe")]
    assert float(table["mean loss"]["random"]) == pytest.approx(np.mean(column))


def test_budgets_that_were_not_enough_are_infinite(written: tuple[Path, Analysis]) -> None:
    targets = rows(written[0] / "tables/targets.csv")
    random = [row for row in targets if row["strategy"] == "random"]
    assert {row["patches, median"] for row in random} == {"inf"}
    assert {row["seeds that reach it"] for row in random} == {"0 of 4"}


def test_the_document_holds_every_table_but_the_raw_cycles(written: tuple[Path, Analysis]) -> None:
    found = json.loads((written[0] / "analysis.json").read_text())
    assert found["experiments"] == 32
    assert set(found["tables"]) == {path.stem for path in (written[0] / "tables").glob("*.csv")} - {"rows"}
    assert found["tables"]["targets"][0]["patches, median"] is None  # not reached


def test_the_savings_are_written_for_the_server(written: tuple[Path, Analysis]) -> None:
    out, analysis = written
    found = json.loads((out / "saving.json").read_text())
    assert {key: found[key] for key in ("format", "version", "study", "baseline")} == {
        "format": "nnactive-saving",
        "version": 1,
        "study": "organs-study",
        "baseline": "random-fg-66",
    }
    told = [(one["regime"], one["strategy"]) for one in found["savings"]]
    assert told == [(one.setting.regime, one.strategy) for one in analysis.savings]
    first, saving = found["savings"][0], analysis.savings[0]
    assert first["patches"] == {
        "mean": saving.patches.mean,
        "low": saving.patches.low,
        "high": saving.patches.high,
        "seeds": 4,
    }
    assert first["foreground"]["mean"] == saving.foreground.mean
    assert (first["name"], first["parameters"]) == (saving.strategy, {})
    assert "/data/of/somebody" not in json.dumps(found)


def test_the_same_study_gives_the_same_files(
    written: tuple[Path, Analysis], commanded: tuple[Path, Result]
) -> None:
    mine, theirs = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (written[0], commanded[0])
    )
    assert mine.keys() == theirs.keys()
    assert [path for path, content in mine.items() if content != theirs[path]] == []


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_strategy_with_few_seeds_and_no_classes_makes_a_report(tmp_path: Path, seeds: int) -> None:
    for seed in range(seeds):
        add_run(tmp_path, "clasp-pe", seed, [0.5, 0.6])
    found = analyze(tmp_path)
    assert found.rankings == ()
    assert (tmp_path / "analysis/report.html").exists()
    assert not (tmp_path / "analysis/figures/ppm.png").exists()


def test_more_strategies_than_colours_and_a_single_cycle_can_be_drawn(tmp_path: Path) -> None:
    for number in range(9):
        for seed in (1, 2):
            dice = [0.5 + 0.01 * number + 0.001 * seed]
            add_run(tmp_path, f"strategy-{number}", seed, dice, classes={"a": dice})
    analyze(tmp_path)
    assert (tmp_path / "analysis/figures/ranks.svg").exists()


def test_patches_that_were_asked_for_are_shown_unless_forbidden(simulated: Path, tmp_path: Path) -> None:
    analyze(simulated, tmp_path / "with")
    (montage,) = (tmp_path / "with/figures").glob("query_*.png")
    assert montage.stem == "query_Balls_low_numpy_clasp-pe"
    assert imread(montage)[..., :3].std() > 0.01
    assert "first query of clasp-pe" in (tmp_path / "with/report.html").read_text()
    analyze(simulated, tmp_path / "without", pictures_of_patients=False)
    assert not list((tmp_path / "without/figures").glob("query_*"))


def test_triage_is_told_and_its_measures_are_means(tmp_path: Path) -> None:
    for seed, value in ((1, 0.1), (2, 0.3)):
        path = add_run(tmp_path, "clasp-pe", seed, [0.5, 0.6]) / "summary.json"
        document = json.loads(path.read_text())
        for entry in document["cycles"]:
            entry["triage"] = {"pairwise_dice": {"augrc": value, "spearman": None, "cases": 5}}
        write_json(path, document)
    analyze(tmp_path)
    (row,) = rows(tmp_path / "analysis/tables/triage.csv")
    assert row["ranked by"] == "pairwise_dice"
    assert float(row["test AUGRC"]) == pytest.approx(0.2)
    assert row["test Spearman"] == row["pool AUGRC"] == ""


def test_analyze_prints_one_document(commanded: tuple[Path, Result]) -> None:
    out, said = commanded
    assert said.exit_code == 0, said.stderr
    assert json.loads(said.stdout)["report"] == str(out / "report.html")


def test_cost_answers_in_words_or_as_a_document(folder: Path) -> None:
    words = ("--strategy", "clasp-pe", "--seconds-per-patch", 60, "--clinician-hour", 90)
    said = invoke("study", "cost", folder, *words, "--json")
    assert [cost["strategy"] for cost in json.loads(said.stdout)["costs"]] == ["clasp-pe"] * 2
    said = invoke("study", "cost", folder, *words)
    assert "minutes saved" in said.stdout
    assert "One more cycle" in said.stdout


def test_the_commands_explain_what_is_wrong(tmp_path: Path) -> None:
    for command in ("analyze", "cost"):
        said = invoke("study", command, tmp_path)
        assert said.exit_code == 1
        assert "study run" in said.stderr
        assert f"Example: nnactive study {command}" in invoke("study", command, "--help").stdout


@pytest.mark.parametrize(("others", "told"), [((1, 2), False), ((1,), True)])
def test_a_report_says_when_strategies_have_different_seeds(
    tmp_path: Path, others: tuple[int, ...], told: bool
) -> None:
    for strategy, seeds in (("random", (1, 2)), ("bald", others)):
        for seed in seeds:
            add_run(tmp_path, strategy, seed, [0.5, 0.6 + 0.01 * seed])
    page = report(compute(read_study(tmp_path)), (), {})
    assert ("Not all strategies have the same seeds" in page) is told


@pytest.mark.parametrize(("lead", "told"), [(0.0, True), (0.2, False)])
def test_a_report_says_when_no_strategy_was_shown_to_be_better(
    tmp_path: Path, lead: float, told: bool
) -> None:
    for number, strategy in enumerate(("random", "bald")):
        for seed in range(4):
            noise = 0.01 * ((3 * seed + 2 * number) % 4)
            add_run(tmp_path, strategy, seed, [0.5, 0.6 + noise + lead * number])
    page = report(compute(read_study(tmp_path)), (), {})
    assert ("No strategy beats another" in page) is told
