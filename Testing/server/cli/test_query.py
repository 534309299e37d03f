"""`nnactive query` on a finished run of nnU-Net."""

from __future__ import annotations

import json

import pytest

from nnactive_server.query import strategy_names


@pytest.fixture(scope="session")
def ask(simulated, invoke):
    return lambda *words: invoke("query", simulated[0], *words)


def test_the_cycles_own_strategy_gives_its_proposal_again(simulated, ask):
    own = json.loads((simulated[0] / "cycle_000" / "queries.json").read_text())
    said = ask("--strategy", "clasp-pe", "--cycle", 0, "--json")
    assert said.exit_code == 0, said.stderr
    document = json.loads(said.stdout)
    assert document["queries"] == own
    assert document["cycle"] == 0
    assert document["query_size"] == 3
    assert document["parameters"]["alpha"] == 0.66
    assert document["computed_cases"] == 0
    assert "predict" not in said.stderr


@pytest.mark.parametrize("strategy", strategy_names())
def test_every_strategy_answers_for_the_newest_cycle(simulated, ask, strategy):
    said = ask("--strategy", strategy, "--json")
    assert said.exit_code == 0, said.stderr
    document = json.loads(said.stdout)
    assert document["strategy"] == strategy
    assert document["cycle"] == 1
    assert len(document["queries"]) + document["missing"] == 3
    test_cases = json.loads((simulated[0] / "split.json").read_text())["test"]
    assert not {entry["case"] for entry in document["queries"]} & set(test_cases)
    again = json.loads(ask("--strategy", strategy, "--json").stdout)
    assert again["computed_cases"] == 0
    assert again["queries"] == document["queries"]


def test_people_get_a_table_and_shortages_in_words(ask):
    said = ask("--strategy", "clasp-pe", "--query-size", 300, "--with", "alpha=0.5", "--seed", 3)
    assert said.exit_code == 0, said.stderr
    assert "clasp-pe after cycle 2 (cycle_001)" in said.stdout
    first = next(line.split() for line in said.stdout.splitlines() if line.split()[:1] == ["1"])
    assert first[1].startswith("case_")
    assert any("class-1 large" in line and "background" in line for line in said.stdout.splitlines())
    assert "mm" in said.stdout
    assert "Note: class-2 (small): only" in said.stdout
    assert "of 75 patches found a free place" in said.stdout


def test_the_document_can_be_kept(ask, tmp_path):
    said = ask("--strategy", "random", "--patch", 3, 3, 3, "--out", tmp_path / "new" / "q.json", "--json")
    document = json.loads((tmp_path / "new" / "q.json").read_text())
    assert document == json.loads(said.stdout)
    assert {tuple(entry["size"]) for entry in document["queries"]} == {(3, 3, 3)}


def test_a_cycle_without_stored_maps_is_predicted_with_progress(simulated, ask):
    maps = simulated[0] / "cycle_000" / "maps"
    case = sorted(maps.iterdir())[0]
    hidden = case / "prediction.b2nd"
    kept = hidden.read_bytes()
    hidden.unlink()
    try:
        said = ask("--strategy", "bald", "--cycle", 0, "--json")
        assert json.loads(said.stdout)["computed_cases"] == 1
        assert f"predict: 1 of 1, {case.name}" in said.stderr
        assert not hidden.exists()
    finally:
        hidden.write_bytes(kept)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--strategy", "guess"), 1, "'guess' is unknown; choose among"),
        (("--strategy", "bald", "--with", "gamma=1"), 1, "no parameters ['gamma']"),
        (("--strategy", "bald", "--with", "beta=0"), 1, "beta"),
        (("--strategy", "bald", "--with", "beta"), 2, "'beta' needs a name"),
        (("--strategy", "bald", "--query-size", "-3"), 1, "query_size -3"),
        (("--strategy", "bald", "--patch", 0, 4, 4), 1, "(0, 4, 4)"),
        (("--strategy", "bald", "--patch", 4, 4), 2, "--patch"),
        (("--strategy", "bald", "--stride", 0, 1, 1), 1, "stride (0, 1, 1)"),
        (("--strategy", "bald", "--overlap", 1), 1, "overlap 1.0"),
        (("--strategy", "bald", "--cycle", 8), 1, "cycle 8 is not trained"),
        ((), 2, "--strategy"),
    ],
)
def test_wrong_questions_are_one_clear_line_and_write_nothing(ask, tmp_path, words, code, told):
    said = ask(*words, "--out", tmp_path / "q.json")
    assert said.exit_code == code
    assert said.stdout == ""
    assert told in " ".join(said.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_trained_cycle_is_named(invoke, source, tmp_path):
    said = invoke("query", source.root, "--strategy", "bald")
    assert said.exit_code == 1
    assert "no cycle has finished training" in said.stderr
    said = invoke("query", tmp_path / "nothing", "--strategy", "bald")
    assert "nothing/dataset.json" in said.stderr
    assert not (tmp_path / "nothing").exists()
